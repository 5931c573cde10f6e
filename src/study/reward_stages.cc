#include "study/reward_stages.h"

#include <utility>

#include "base/strings.h"
#include "receipt/canonical_json.h"
#include "study/source.h"

namespace candor {

namespace fs = std::filesystem;

Status find_source(const std::string& source, const fs::path& folder, fs::path& path,
                   std::string& digest) {
  if (source.empty()) return {};
  CANDOR_TRY(path, resolve_source(source, folder));
  CANDOR_TRY(digest, digest_of_source(path));
  return {};
}

Json RewardFiles::digests() const {
  Json out = Json::object();
  for (const auto& [key, digest] : {std::pair{"encoder", &encoder_digest},
                                    {"data", &data_digest},
                                    {"head", &head_digest},
                                    {"lexicon", &lexicon_digest},
                                    {"model", &model_digest},
                                    {"adapter", &adapter_digest}}) {
    if (!digest->empty()) out[key] = *digest;
  }
  return out;
}

void add_sources(const RewardSource& reward, const RewardFiles& files, const std::string& owner,
                 Json& sources) {
  const std::map<std::string, const std::string*> named = {
      {"encoder", &reward.encoder}, {"data", &reward.data},   {"head", &reward.head},
      {"lexicon", &reward.lexicon}, {"model", &reward.model}, {"adapter", &reward.adapter}};
  const Json digests = files.digests();
  for (const auto& item : digests.items()) {
    sources[str_cat(owner, ": ", item.key())] = {{"source", *named.at(item.key())},
                                                 {"digest", item.value()}};
  }
}

Result<RewardFiles> find_reward_files(const RewardSource& reward, const fs::path& folder) {
  RewardFiles out;
  CANDOR_RETURN_IF_ERROR(find_source(reward.encoder, folder, out.encoder, out.encoder_digest));
  CANDOR_RETURN_IF_ERROR(find_source(reward.data, folder, out.data, out.data_digest));
  CANDOR_RETURN_IF_ERROR(find_source(reward.head, folder, out.head, out.head_digest));
  CANDOR_RETURN_IF_ERROR(find_source(reward.lexicon, folder, out.lexicon, out.lexicon_digest));
  CANDOR_RETURN_IF_ERROR(find_source(reward.model, folder, out.model, out.model_digest));
  CANDOR_RETURN_IF_ERROR(find_source(reward.adapter, folder, out.adapter, out.adapter_digest));
  const bool alone = reward.kind == RewardSource::Kind::kCheckpoint &&
                     fs::exists(out.model / "adapter_config.json");
  if (alone) {
    return invalid_argument(str_cat(out.model.string(),
                                    ": is an adapter; a reward of kind checkpoint names it with "
                                    "\"adapter\" and its base with \"model\""));
  }
  return out;
}

Stage reward_training_stage(const RewardSource& reward, const RewardFiles& files,
                            const std::string& name, uint64_t seed, const Machine& machine) {
  Stage stage{.kind = "reward",
              .label = "reward " + name,
              .spec = {{"encoder_digest", files.encoder_digest},
                       {"data_digest", files.data_digest},
                       {"text_field", reward.text_field},
                       {"label_field", reward.label_field},
                       {"positive_values", reward.positive_values},
                       {"max_texts", reward.max_texts},
                       {"balance", reward.balance},
                       {"held_out_share", 0.2},
                       {"seed", seed},
                       {"l2", reward.l2}},
              .inputs = {{"encoder", {files.encoder, files.encoder_digest}},
                         {"data", {files.data, files.data_digest}}}};
  add_libtorch(machine, stage.spec);
  // Only where they differ from the stage's defaults: a spec is an identity.
  if (!reward.prompt_field.empty()) stage.spec["prompt_field"] = reward.prompt_field;
  if (reward.features != "completion") stage.spec["features"] = reward.features;
  return stage;
}

namespace {

RewardSpec checkpoint_spec(const RewardSource& reward, const RewardFiles& files) {
  RewardSpec out;
  out.spec = {{"kind", "checkpoint"}, {"model_digest", files.model_digest}};
  out.inputs["model"] = {files.model, files.model_digest};
  if (!reward.adapter.empty()) {
    out.spec["adapter_digest"] = files.adapter_digest;
    out.inputs["adapter"] = {files.adapter, files.adapter_digest};
  }
  out.uses_libtorch = true;
  if (!reward.positive_is_good) out.spec["positive_is_good"] = false;
  if (reward.scale != "probability") out.spec["scale"] = reward.scale;
  out.needs_prompt = true;  // the folder says whether it reads them
  return out;
}

RewardSpec remote_spec(const RewardSource& reward) {
  RewardSpec out;
  out.spec = {{"kind", "remote"},
              {"url", reward.url},
              {"version", reward.version},
              {"batch", reward.remote_batch},
              {"timeout_s", reward.timeout_s},
              {"attempts", reward.attempts}};
  out.needs_prompt = true;
  return out;
}

}  // namespace

Result<RewardSpec> reward_spec(const RewardSource& reward, const RewardFiles& files,
                               const fs::path& trained) {
  RewardSpec out;
  if (reward.kind == RewardSource::Kind::kBrevity) {
    out.spec = {{"kind", "brevity"}, {"scale_words", reward.scale_words}};
    return out;
  }
  if (reward.kind == RewardSource::Kind::kLexicon) {
    out.spec = {{"kind", "lexicon"}, {"digest", files.lexicon_digest}};
    out.inputs["lexicon"] = {files.lexicon, files.lexicon_digest};
    return out;
  }
  if (reward.kind == RewardSource::Kind::kLinearNgrams) {
    out.spec = {
        {"kind", "linear_ngrams"}, {"digest", files.model_digest}, {"class", reward.label_class}};
    out.inputs["model"] = {files.model, files.model_digest};
    return out;
  }
  if (reward.kind == RewardSource::Kind::kCheckpoint) return checkpoint_spec(reward, files);
  if (reward.kind == RewardSource::Kind::kRemote) return remote_spec(reward);
  if (!reward.trained()) {
    CANDOR_RETURN_IF_ERROR(HeldSource::hold(files.head, files.head_digest));
  }
  const fs::path head = (reward.trained() ? trained : files.head) / "head.safetensors";
  CANDOR_TRY(const std::string head_digest, digest_of_file(head.string()));
  out.inputs = {{"encoder", {files.encoder, files.encoder_digest}}, {"head", {head, head_digest}}};
  out.uses_libtorch = true;
  out.spec = {{"kind", "head"},
              {"encoder_digest", files.encoder_digest},
              {"head_digest", head_digest},
              {"positive_is_good", reward.positive_is_good}};
  if (reward.scale != "probability") out.spec["scale"] = reward.scale;
  // A head made before says itself what it reads; the prompts are there for it either way.
  out.needs_prompt = !reward.trained() || reward.features == "prompt_completion";
  return out;
}

Stage score_stage(const RewardSpec& reward, const std::string& name, const ScoredBank& bank,
                  const Machine& machine) {
  Stage stage{.kind = "score",
              .label = str_cat("score ", name, bank.label),
              .spec = {{"bank_digest", bank.digest}, {"reward", reward.spec}},
              .inputs = reward.inputs};
  stage.inputs["bank"] = {bank.file, bank.digest};
  if (reward.needs_prompt) {
    stage.spec["prompts_digest"] = bank.prompts_digest;
    stage.inputs["prompts"] = {bank.prompts, bank.prompts_digest};
  }
  if (reward.uses_libtorch) add_libtorch(machine, stage.spec);
  return stage;
}

}  // namespace candor
