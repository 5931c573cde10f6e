#include "study/study.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "base/cpu.h"
#include "base/strings.h"
#include "study/divergence_spec.h"
#include "study/merge_patch.h"
#include "study/money_files.h"
#include "study/yaml_file.h"

namespace candor {

namespace {

void read_menu_group(JsonReader& group, StudyGroup& entry) {
  if (group.has("judge")) entry.judge = read_reward_source(group, "judge");
  if (!group.has("expert")) return;
  JsonReader expert = group.object("expert");
  entry.adapter = expert.text("adapter");
  // Whoever brings a model chose it: scaled by 0.75, one halved its owner's payment.
  entry.adapter_made_by = expert.text_or("made_by", entry.name);
  group.adopt(expert.finish());
}

void read_groups(JsonReader& in, Study& study) {
  std::set<std::string> names;
  for (JsonReader& group : in.objects("groups")) {
    StudyGroup entry;
    entry.name = group.text("name");
    const bool sizes_given = study.menu.has_value() && !study.menu->sizes.empty();
    const size_t place = study.groups.size();
    if (sizes_given && !group.has("size")) {
      // A vector that is too short is reported with `sizes`.
      const std::vector<int64_t>& first = study.menu->sizes[0];
      entry.size = place < first.size() ? first[place] : 1;
    } else {
      entry.size = group.integer("size", 1, study.max_size);
    }
    entry.reward = read_reward_source(group, "reward");
    if (study.menu.has_value()) read_menu_group(group, entry);
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

Json resolve(const Study& study) {
  Json groups = Json::array();
  for (const StudyGroup& group : study.groups) {
    Json entry = {
        {"name", group.name}, {"size", group.size}, {"reward", reward_source_json(group.reward)}};
    if (group.judge.has_value()) entry["judge"] = reward_source_json(*group.judge);
    if (!group.adapter.empty()) {
      entry["expert"] = {{"adapter", group.adapter}, {"made_by", group.adapter_made_by}};
    }
    groups.push_back(std::move(entry));
  }
  const BankSettings& bank = study.bank;
  Json out = {
      {"candor", "study/1"},
      {"name", study.name},
      {"level", study.menu.has_value() ? "menu" : "sampled"},
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
      {"unit_price", study.unit_price.text()},
      {"currency", study.currency.code},
      {"exponent", study.currency.exponent}};
  if (study.max_prompts > 0) out["max_prompts"] = study.max_prompts;
  if (!study.instruction_set.empty()) out["instruction_set"] = study.instruction_set;
  if (!study.menu.has_value()) return out;
  add_menu_settings(*study.menu, out);
  out["target_epsilon"] = study.target_epsilon;
  return out;
}

// What a menu cannot be priced from: banks of a cut sampler, whose divergence from the initial
// model is not the one that its log-probabilities give, and mixtures of a law without an inverse
// slope.
void check_menu_bank(JsonReader& in, const Study& study) {
  if (study.bank.top_p != 1) {
    in.fail("bank.top_p", str_cat("found ", study.bank.top_p,
                                  "; a menu's bank is drawn without top-p (1): the divergence of "
                                  "what top-p leaves over is not known"));
  }
  if (study.bank.top_k != 0) {
    in.fail("bank.top_k", str_cat("found ", study.bank.top_k,
                                  "; a menu's bank is drawn without top-k (0): the divergence of "
                                  "what top-k leaves over is not known"));
  }
  if (study.divergence.kind == DivergenceKind::kTv && study.menu->menu.mixtures > 0) {
    in.fail("menu.mixtures", str_cat("found ", study.menu->menu.mixtures,
                                     "; the divergence tv has no inverse slope, so no decoding "
                                     "mixture belongs to it: expected 0, or another divergence"));
  }
}

// The level's own keys that come before groups, and what they ask of the groups.
void read_level(JsonReader& in, Study& study) {
  static const std::vector<std::string> kLevels = {"sampled", "menu", "trained"};
  const std::string level = in.choice("level", kLevels);
  if (level == "trained") {
    in.fail("level",
            "found \"trained\", which is not supported yet; \"sampled\" and \"menu\" are (a menu "
            "may hold trained models: menu.trained, menu.leave_one_out)");
  }
  study.max_size = in.integer_or("max_size", study.max_size, 1, study.max_size);
  if (level == "menu") {
    study.menu = read_menu_settings(in, study.max_size);
    check_menu_bank(in, study);
  }
  read_groups(in, study);
  if (!study.menu.has_value()) return;
  std::vector<std::string> names;
  std::vector<bool> given;
  for (const StudyGroup& group : study.groups) {
    names.push_back(group.name);
    given.push_back(!group.adapter.empty());
  }
  check_menu_settings(in, *study.menu, names, given);
}

void read_instruction_set(JsonReader& in, Study& study) {
  study.instruction_set = in.text_or("instruction_set", "");
  if (!study.instruction_set.empty()) {
    const Result<InstructionSet> known = instruction_set_of(study.instruction_set);
    if (!known.ok()) in.fail("instruction_set", known.error().message);
  }
}

// --target-epsilon stands above the study's own.
Status apply_target(double target, Study& study) {
  if (target == 0) return {};
  if (!(target > 0 && target <= 1)) {
    return usage_error(str_cat("--target-epsilon: found ", target,
                               "; expected an error of rewards in [0, 1]: above 0, at most 1"));
  }
  if (!study.menu.has_value()) {
    return usage_error("--target-epsilon: only studies of level: menu have a table to estimate");
  }
  study.target_epsilon = target;
  return {};
}

}  // namespace

namespace {

Result<Study> read_study(const YamlDocument& document, const std::string& path,
                         const StudyOptions& options) {
  JsonReader in(document.json, path, "$", document.lines);
  static const std::vector<std::string> kFormat = {"study/1"};
  static const std::vector<std::string> kNormalizations = {"min_max", "max"};
  Study study;
  study.folder = std::filesystem::absolute(path).parent_path();
  study.budget = options.budget;
  in.choice("candor", kFormat);
  study.name = in.text("name");
  if (study.name.find('/') != std::string::npos) in.fail("name", "must not hold a slash");
  read_model(in, study);
  study.prompts = in.text("prompts");
  study.max_prompts = in.integer_or("max_prompts", 0, 2, INT64_MAX);
  study.divergence = read_divergence(in);
  study.normalization = in.choice_or("normalization", study.normalization, kNormalizations);
  read_bank(in, study);
  read_level(in, study);
  read_sweeps(in, study);
  study.resamples = in.integer_or("resamples", study.resamples, 1, 1 << 20);
  study.confidence = in.number_or("confidence", study.confidence, 0.5, 0.9999);
  if (study.menu.has_value()) {
    study.target_epsilon = in.number_or("target_epsilon", 0, 0, 1);
  }
  CANDOR_RETURN_IF_ERROR(apply_target(options.target_epsilon, study));
  study.seed = static_cast<uint64_t>(in.integer_or("seed", 1, 0, INT64_MAX));
  read_instruction_set(in, study);
  study.unit_price = read_unit_price(in, document);
  study.currency = read_currency(in);
  CANDOR_RETURN_IF_ERROR(in.finish());
  study.resolved = resolve(study);
  if (!study.budget.empty()) study.resolved["budget"] = study.budget;
  // --instruction-set stands above the study's own, as --threads does: of the machine, not the
  // study.
  if (!options.instruction_set.empty()) study.instruction_set = options.instruction_set;
  return study;
}

}  // namespace

Result<Study> load_study(const std::string& path, const StudyOptions& options) {
  CANDOR_TRY(const YamlDocument whole, read_yaml_file(path));
  CANDOR_TRY(const YamlDocument document, apply_budget(whole, path, options.budget));
  return read_study(document, path, options);
}

namespace {

// A resolved study writes settings that nobody made as empty texts, and of a preference reward that
// positive is good, which pairs leave no choice about.
void erase_unmade_settings(Json& json) {
  if (!json.is_structured()) return;
  if (json.is_object() && json.value("kind", Json()) == "preference") {
    json.erase("positive_is_good");
  }
  for (auto item = json.begin(); item != json.end();) {
    if (json.is_object() && *item == "") {
      item = json.erase(item);
    } else {
      erase_unmade_settings(*item);
      ++item;
    }
  }
}

}  // namespace

Result<Study> load_resolved_study(const std::string& path) {
  CANDOR_TRY(YamlDocument document, read_yaml_file(path));
  StudyOptions options;
  if (document.json.is_object() && document.json.contains("budget")) {
    JsonReader in(document.json, path, "$", document.lines);
    options.budget = in.text("budget");
    CANDOR_RETURN_IF_ERROR(in.status());
    document.json.erase("budget");
  }
  erase_unmade_settings(document.json);
  return read_study(document, path, options);
}

std::vector<std::vector<int64_t>> size_vectors(const Study& study) {
  if (study.menu.has_value() && !study.menu->sizes.empty()) return study.menu->sizes;
  std::vector<int64_t> own;
  for (const StudyGroup& group : study.groups) own.push_back(group.size);
  return {own};
}

}  // namespace candor
