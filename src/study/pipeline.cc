#include "study/pipeline.h"

#include "base/cpu.h"
#include "base/file.h"
#include "base/strings.h"
#include "core/divergence.h"
#include "formats/gguf.h"
#include "formats/npy.h"
#include "formats/records.h"
#include "formats/safetensors.h"
#include "receipt/canonical_json.h"
#include "study/source.h"

namespace candor {

namespace {

namespace fs = std::filesystem;

constexpr uint32_t kPricingStream = 0;
constexpr uint32_t kReferenceStream = 1;  // the reference bank is disjoint from the pricing bank

Status find_source(const std::string& source, const fs::path& folder, fs::path& path,
                   std::string& digest) {
  if (source.empty()) return {};
  CANDOR_TRY(path, resolve_source(source, folder));
  CANDOR_TRY(digest, digest_of_source(path));
  return {};
}

Status check_prompts(const std::vector<Json>& prompts, const fs::path& path) {
  if (prompts.empty()) return invalid_argument(str_cat(path.string(), ": holds no prompt"));
  for (size_t i = 0; i < prompts.size(); ++i) {
    const bool prompt = prompts[i].is_object() &&
                        (prompts[i].contains("prompt") || prompts[i].contains("messages"));
    if (!prompt) {
      return invalid_argument(str_cat(path.string(), ":", i + 1,
                                      ": expected an object with \"prompt\" or \"messages\""));
    }
  }
  return {};
}

// The identity of one group's reward model; head_folder is where a trained head lies.
Result<Stage> score_stage(const Pipeline& pipeline, size_t group, const std::string& bank_digest,
                          const fs::path& bank, const fs::path& head_folder,
                          const std::string& which) {
  const RewardSource& reward = pipeline.study.groups[group].reward;
  const Pipeline::GroupSource& source = pipeline.groups[group];
  Stage stage{.kind = "score",
              .label = str_cat("score ", pipeline.study.groups[group].name, which),
              .spec = {},
              .paths = {}};
  Json spec;
  stage.paths["bank"] = bank;
  if (reward.kind == RewardSource::Kind::kBrevity) {
    spec = {{"kind", "brevity"}, {"scale_words", reward.scale_words}};
  } else if (reward.kind == RewardSource::Kind::kLexicon) {
    spec = {{"kind", "lexicon"}, {"digest", source.lexicon_digest}};
    stage.paths["lexicon"] = source.lexicon;
  } else {
    stage.paths["encoder"] = source.encoder;
    stage.paths["head"] = head_folder / "head.safetensors";
    CANDOR_TRY(const std::string head_digest, digest_of_file(stage.paths["head"].string()));
    spec = {{"kind", "head"},
            {"encoder_digest", source.encoder_digest},
            {"head_digest", head_digest},
            {"positive_is_good", reward.positive_is_good}};
  }
  stage.spec = {
      {"bank_digest", bank_digest}, {"reward", std::move(spec)}, {"threads", pipeline.threads}};
  return stage;
}

class Runner {
 public:
  Runner(const Pipeline& pipeline, const Store& store, const StageSink& sink)
      : pipeline_(pipeline), store_(store), sink_(sink) {}

  Result<PipelineResult> run() {
    out_.stages = Json::object();
    CANDOR_TRY(const fs::path bank, get(pipeline_.bank_stage(false)));
    CANDOR_TRY(const fs::path reference, get(pipeline_.bank_stage(true)));
    CANDOR_TRY(const std::string bank_digest, digest_of_file((bank / "bank.jsonl").string()));
    CANDOR_TRY(const std::string reference_digest,
               digest_of_file((reference / "bank.jsonl").string()));
    // Sealed before any group's reward is looked at.
    out_.seal = pipeline_.seal(bank_digest, reference_digest);
    CANDOR_TRY(out_.bank, read_jsonl(bank / "bank.jsonl"));
    for (const fs::path& folder : {bank, reference}) {
      CANDOR_TRY(Json metrics, read_json_file((folder / "metrics.json").string()));
      out_.bank_metrics.push_back(std::move(metrics));
    }
    std::vector<GroupScores> scores;
    for (size_t group = 0; group < pipeline_.study.groups.size(); ++group) {
      CANDOR_TRY(const fs::path head, head_of(group));
      GroupScores both;
      CANDOR_TRY(both.reference,
                 scores_of(group, reference_digest, reference, head, " on the reference bank"));
      CANDOR_TRY(both.bank, scores_of(group, bank_digest, bank, head, " on the bank"));
      out_.scores.push_back(both.bank);
      scores.push_back(std::move(both));
    }
    CANDOR_TRY(out_.bank_game, make_bank_game(pipeline_.study, scores, pipeline_.prompts.size()));
    return std::move(out_);
  }

 private:
  Result<fs::path> get(const Stage& stage) {
    out_.stages[stage.label] = store_.path_of(stage).filename().string();
    return store_.get(stage, sink_(stage.label, store_.has(stage)));
  }

  // The folder with the group's head; trains it where the study asks for that.
  Result<fs::path> head_of(size_t group) {
    const RewardSource::Kind kind = pipeline_.study.groups[group].reward.kind;
    if (kind != RewardSource::Kind::kLabelled) {
      out_.reward_metrics.emplace_back();
      return pipeline_.groups[group].head;
    }
    CANDOR_TRY(const fs::path folder, get(pipeline_.reward_stage(group)));
    CANDOR_TRY(Json metrics, read_json_file((folder / "metrics.json").string()));
    out_.reward_metrics.push_back(std::move(metrics));
    return folder;
  }

  Result<std::vector<double>> scores_of(size_t group, const std::string& bank_digest,
                                        const fs::path& bank, const fs::path& head,
                                        const std::string& which) {
    CANDOR_TRY(const Stage stage,
               score_stage(pipeline_, group, bank_digest, bank / "bank.jsonl", head, which));
    CANDOR_TRY(const fs::path folder, get(stage));
    CANDOR_TRY(const NpyFile npy, NpyFile::open(folder / "scores.npy"));
    return npy.doubles();
  }

  const Pipeline& pipeline_;
  const Store& store_;
  const StageSink& sink_;
  PipelineResult out_;
};

}  // namespace

Result<Pipeline> Pipeline::plan(const Study& study, int threads) {
  Pipeline out;
  out.study = study;
  out.threads = threads > 0 ? threads : core_count();
  CANDOR_RETURN_IF_ERROR(find_source(study.model, study.folder, out.model_path, out.model_digest));
  CANDOR_RETURN_IF_ERROR(
      find_source(study.prompts, study.folder, out.prompts_path, out.prompts_digest));
  CANDOR_TRY(out.prompts, read_jsonl(out.prompts_path));
  CANDOR_RETURN_IF_ERROR(check_prompts(out.prompts, out.prompts_path));
  if (out.prompts.size() < 2) {
    return invalid_argument(
        str_cat(out.prompts_path.string(), ": holds 1 prompt; intervals need at least 2"));
  }
  for (const StudyGroup& group : study.groups) {
    GroupSource source;
    const RewardSource& reward = group.reward;
    Status status =
        find_source(reward.encoder, study.folder, source.encoder, source.encoder_digest);
    if (status.ok())
      status = find_source(reward.data, study.folder, source.data, source.data_digest);
    if (status.ok())
      status = find_source(reward.head, study.folder, source.head, source.head_digest);
    if (status.ok())
      status = find_source(reward.lexicon, study.folder, source.lexicon, source.lexicon_digest);
    if (!status.ok()) {
      return Error{status.error().code,
                   str_cat("group ", quote(group.name), ": ", status.error().message)};
    }
    out.groups.push_back(std::move(source));
  }
  return out;
}

Stage Pipeline::bank_stage(bool reference) const {
  const BankSettings& bank = study.bank;
  return {.kind = "bank",
          .label = reference ? "reference bank" : "bank",
          .spec = {{"model_digest", model_digest},
                   {"prompts_digest", prompts_digest},
                   {"samples", reference ? study.reference_samples : bank.samples},
                   {"max_new_tokens", bank.max_new_tokens},
                   {"temperature", bank.temperature},
                   {"top_p", bank.top_p},
                   {"top_k", bank.top_k},
                   {"seed", study.seed},
                   {"stream", reference ? kReferenceStream : kPricingStream},
                   {"batch", bank.batch},
                   {"dtype", study.dtype},
                   {"threads", threads},
                   {"instruction_set", instruction_set()}},
          .paths = {{"model", model_path}, {"prompts", prompts_path}}};
}

Stage Pipeline::reward_stage(size_t group) const {
  const RewardSource& reward = study.groups[group].reward;
  return {.kind = "reward",
          .label = "reward " + study.groups[group].name,
          .spec = {{"encoder_digest", groups[group].encoder_digest},
                   {"data_digest", groups[group].data_digest},
                   {"text_field", reward.text_field},
                   {"label_field", reward.label_field},
                   {"positive_values", reward.positive_values},
                   {"max_texts", reward.max_texts},
                   {"balance", reward.balance},
                   {"held_out_share", 0.2},
                   {"seed", study.seed},
                   {"l2", reward.l2},
                   {"threads", threads}},
          .paths = {{"encoder", groups[group].encoder}, {"data", groups[group].data}}};
}

Result<int64_t> Pipeline::model_parameters() const {
  int64_t count = 0;
  if (fs::is_directory(model_path)) {
    CANDOR_TRY(const SafeTensors file, SafeTensors::open_folder(model_path));
    for (const auto& item : file.tensors()) {
      int64_t size = 1;
      for (const int64_t extent : item.second.shape) size *= extent;
      count += size;
    }
    return count;
  }
  CANDOR_TRY(const GgufFile file, GgufFile::open(model_path));
  for (const auto& item : file.tensors()) count += item.second.element_count();
  return count;
}

Json Pipeline::seal(const std::string& bank_digest, const std::string& reference_digest) const {
  Json seal = {{"candor", "seal/1"},
               {"model", model_digest},
               {"prompts", prompts_digest},
               {"bank", bank_digest},
               {"reference_bank", reference_digest},
               {"divergence", divergence_name(study.divergence.kind)},
               {"lambda", format_double(study.divergence.regularization)},
               {"normalization", study.normalization},
               {"tie_order", "larger per-agent valuations in group order, then lower index"},
               {"unit_price", format_double(study.unit_price)},
               {"currency", study.currency},
               {"max_size", study.max_size}};
  if (study.divergence.kind == DivergenceKind::kAlpha) {
    seal["alpha"] = format_double(study.divergence.alpha);
  }
  seal["digest"] = digest_of(canonical_json(seal).value());
  return seal;
}

Result<PipelineResult> run_pipeline(const Pipeline& pipeline, const Store& store,
                                    const StageSink& sink) {
  return Runner(pipeline, store, sink).run();
}

}  // namespace candor
