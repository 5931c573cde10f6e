#include "study/study.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "base/strings.h"
#include "study/divergence_spec.h"
#include "study/yaml_file.h"

namespace candor {

namespace {

const std::vector<std::string> kRewardKinds = {"labelled", "head", "brevity", "lexicon"};
const std::vector<std::string> kUnsupportedRewardKinds = {"checkpoint", "preference", "remote"};

RewardSource read_reward(JsonReader& group) {
  JsonReader in = group.object("reward");
  RewardSource out;
  const std::string kind = in.text("kind");
  if (std::ranges::find(kUnsupportedRewardKinds, kind) != kUnsupportedRewardKinds.end()) {
    in.fail("kind", str_cat("found ", quote(kind),
                            ", which is not supported yet; labelled, head, "
                            "brevity and lexicon are"));
    group.adopt(in.status());
    return out;
  }
  const std::string known = in.choice("kind", kRewardKinds);
  out.kind = static_cast<RewardSource::Kind>(std::ranges::find(kRewardKinds, known) -
                                             kRewardKinds.begin());
  if (known == "labelled" || known == "head") {
    out.encoder = in.text("encoder");
    out.positive_is_good = in.boolean_or("positive_is_good", true);
  }
  if (known == "head") out.head = in.text("head");
  if (known == "labelled") {
    out.data = in.text("data");
    out.text_field = in.text_or("text_field", "text");
    out.label_field = in.text_or("label_field", "label");
    out.positive_values =
        in.has("positive_values") ? in.texts("positive_values") : std::vector<std::string>{"1"};
    out.max_texts = in.integer_or("max_texts", 0, 0, INT64_MAX);
    out.balance = in.boolean_or("balance", true);
    out.l2 = in.number_or("l2", 1e-3, 1e-12, 1e6);
  }
  if (known == "brevity") out.scale_words = in.number_or("scale_words", 20, 1e-3, 1e9);
  if (known == "lexicon") out.lexicon = in.text("lexicon");
  group.adopt(in.finish());
  return out;
}

void read_groups(JsonReader& in, Study& study) {
  std::set<std::string> names;
  for (JsonReader& group : in.objects("groups")) {
    StudyGroup entry;
    entry.name = group.text("name");
    entry.size = group.integer("size", 1, study.max_size);
    entry.reward = read_reward(group);
    if (!names.insert(entry.name).second) {
      group.fail("name", str_cat("found ", quote(entry.name), " a second time; names must differ"));
    }
    in.adopt(group.finish());
    study.groups.push_back(std::move(entry));
  }
  if (in.ok() && study.groups.empty()) in.fail("groups", "there is none; at least one is needed");
}

void read_model(JsonReader& in, Study& study) {
  static const std::vector<std::string> kDtypes = {"f32", "bf16"};
  JsonReader model = in.object("model");
  study.model = model.text("source");
  study.dtype = model.choice_or("dtype", study.dtype, kDtypes);
  in.adopt(model.finish());
}

void read_bank(JsonReader& in, Study& study) {
  if (in.has("bank")) {
    JsonReader bank = in.object("bank");
    BankSettings& out = study.bank;
    out.samples = bank.integer_or("samples", out.samples, 2, 1 << 20);
    out.max_new_tokens = bank.integer_or("max_new_tokens", out.max_new_tokens, 1, 1 << 20);
    out.temperature = bank.number_or("temperature", out.temperature, 0.0, 100.0);
    out.top_p = bank.number_or("top_p", out.top_p, 1e-6, 1.0);
    out.top_k = bank.integer_or("top_k", out.top_k, 0, 1 << 24);
    out.batch = bank.integer_or("batch", out.batch, 1, 4096);
    in.adopt(bank.finish());
  }
  if (in.has("reference_bank")) {
    JsonReader reference = in.object("reference_bank");
    study.reference_samples = reference.integer_or("samples", study.reference_samples, 1, 1 << 20);
    in.adopt(reference.finish());
  }
}

std::vector<double> read_parameters(JsonReader& sweeps, const std::string& key, bool positive,
                                    std::vector<double> fallback) {
  if (!sweeps.has(key)) return fallback;
  std::vector<double> out = sweeps.numbers(key);
  for (size_t i = 0; i < out.size(); ++i) {
    if (positive && !(out[i] > 0)) {
      sweeps.fail(str_cat(key, "[", i, "]"),
                  str_cat("found ", out[i], "; expected a number above 0"));
    }
  }
  if (std::ranges::find(out, 1.0) == out.end())
    out.push_back(1.0);  // the truth belongs to every sweep
  std::sort(out.begin(), out.end());
  return out;
}

void read_sweeps(JsonReader& in, Study& study) {
  std::vector<double> sizes;
  std::vector<double> mixes;
  for (int i = 1; i <= 16; ++i) sizes.push_back(0.25 * i);
  for (int i = 0; i <= 12; ++i) mixes.push_back(0.25 * i);
  const Json empty = Json::object();
  JsonReader sweeps = in.has("sweeps") ? in.object("sweeps") : JsonReader(empty, "");
  study.size_inflation = read_parameters(sweeps, "size_inflation", true, sizes);
  study.preference_mix = read_parameters(sweeps, "preference_mix", false, mixes);
  in.adopt(sweeps.finish());
}

Json resolve_reward(const RewardSource& reward) {
  Json out = {{"kind", kRewardKinds[static_cast<size_t>(reward.kind)]}};
  if (reward.kind == RewardSource::Kind::kLabelled) {
    out.update({{"data", reward.data},
                {"text_field", reward.text_field},
                {"label_field", reward.label_field},
                {"positive_values", reward.positive_values},
                {"max_texts", reward.max_texts},
                {"balance", reward.balance},
                {"l2", reward.l2}});
  }
  if (!reward.encoder.empty()) {
    out["encoder"] = reward.encoder;
    out["positive_is_good"] = reward.positive_is_good;
  }
  if (!reward.head.empty()) out["head"] = reward.head;
  if (!reward.lexicon.empty()) out["lexicon"] = reward.lexicon;
  if (reward.kind == RewardSource::Kind::kBrevity) out["scale_words"] = reward.scale_words;
  return out;
}

Json resolve(const Study& study) {
  Json groups = Json::array();
  for (const StudyGroup& group : study.groups) {
    groups.push_back(
        {{"name", group.name}, {"size", group.size}, {"reward", resolve_reward(group.reward)}});
  }
  const BankSettings& bank = study.bank;
  return {{"candor", "study/1"},
          {"name", study.name},
          {"level", "sampled"},
          {"model", {{"source", study.model}, {"dtype", study.dtype}}},
          {"prompts", study.prompts},
          {"divergence", divergence_json(study.divergence)},
          {"normalization", study.normalization},
          {"bank",
           {{"samples", bank.samples},
            {"max_new_tokens", bank.max_new_tokens},
            {"temperature", bank.temperature},
            {"top_p", bank.top_p},
            {"top_k", bank.top_k},
            {"batch", bank.batch}}},
          {"reference_bank", {{"samples", study.reference_samples}}},
          {"groups", std::move(groups)},
          {"sweeps",
           {{"size_inflation", study.size_inflation}, {"preference_mix", study.preference_mix}}},
          {"max_size", study.max_size},
          {"resamples", study.resamples},
          {"confidence", study.confidence},
          {"seed", study.seed},
          {"unit_price", study.unit_price},
          {"currency", study.currency}};
}

}  // namespace

Result<Study> load_study(const std::string& path) {
  CANDOR_TRY(const YamlDocument document, read_yaml_file(path));
  JsonReader in(document.json, path, "$", document.lines);
  static const std::vector<std::string> kFormat = {"study/1"};
  static const std::vector<std::string> kLevels = {"sampled", "menu", "trained"};
  static const std::vector<std::string> kNormalizations = {"min_max", "max"};
  Study study;
  study.folder = std::filesystem::absolute(path).parent_path();
  in.choice("candor", kFormat);
  study.name = in.text("name");
  if (const std::string level = in.choice("level", kLevels); level != "sampled") {
    in.fail("level",
            str_cat("found ", quote(level), ", which is not supported yet; \"sampled\" is"));
  }
  if (study.name.find('/') != std::string::npos) in.fail("name", "must not hold a slash");
  read_model(in, study);
  study.prompts = in.text("prompts");
  study.divergence = read_divergence(in);
  study.normalization = in.choice_or("normalization", study.normalization, kNormalizations);
  read_bank(in, study);
  study.max_size = in.integer_or("max_size", study.max_size, 1, study.max_size);
  read_groups(in, study);
  read_sweeps(in, study);
  study.resamples = in.integer_or("resamples", study.resamples, 1, 1 << 20);
  study.confidence = in.number_or("confidence", study.confidence, 0.5, 0.9999);
  study.seed = static_cast<uint64_t>(in.integer_or("seed", 1, 0, INT64_MAX));
  study.unit_price = in.number("unit_price", 0.0, 1e12);
  study.currency = in.text("currency");
  CANDOR_RETURN_IF_ERROR(in.finish());
  study.resolved = resolve(study);
  return study;
}

}  // namespace candor
