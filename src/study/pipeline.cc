#include "study/pipeline.h"

#include <map>

#include "base/check.h"
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

constexpr size_t kFewPrompts = 20;
constexpr uint32_t kPricingStream = 0;
constexpr uint32_t kReferenceStream = 1;  // the reference bank is disjoint from the pricing bank

class Runner {
 public:
  Runner(const Pipeline& pipeline, const Store& store, const StageSink& sink)
      : pipeline_(pipeline), stages_(store, sink) {}

  Result<PipelineResult> run() {
    CANDOR_TRY(const fs::path bank, stages_.get(pipeline_.bank_stage(false)));
    CANDOR_TRY(const fs::path reference, stages_.get(pipeline_.bank_stage(true)));
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
      CANDOR_TRY(const fs::path trained, head_of(group));
      GroupScores both;
      CANDOR_TRY(both.reference, scores_of(group, trained,
                                           pipeline_.scored_bank(reference, reference_digest,
                                                                 " on the reference bank")));
      CANDOR_TRY(both.bank, scores_of(group, trained,
                                      pipeline_.scored_bank(bank, bank_digest, " on the bank")));
      out_.scores.push_back(both.bank);
      scores.push_back(std::move(both));
    }
    CANDOR_TRY(out_.bank_game, make_bank_game(pipeline_.study, scores, pipeline_.prompts.size()));
    out_.stages = stages_.list();
    out_.stages_digest = stages_.digest();
    return std::move(out_);
  }

 private:
  // Where the group's reward was trained; empty where it was not.
  Result<fs::path> head_of(size_t group) {
    if (!pipeline_.study.groups[group].reward.trained()) {
      out_.reward_metrics.emplace_back();
      return fs::path();
    }
    CANDOR_TRY(const fs::path folder, stages_.get(pipeline_.reward_stage(group)));
    CANDOR_TRY(Json metrics, read_json_file((folder / "metrics.json").string()));
    out_.reward_metrics.push_back(std::move(metrics));
    return folder;
  }

  Result<std::vector<double>> scores_of(size_t group, const fs::path& trained,
                                        const ScoredBank& bank) {
    const StudyGroup& entry = pipeline_.study.groups[group];
    CANDOR_TRY(const RewardSpec reward,
               reward_spec(entry.reward, pipeline_.groups[group], trained));
    CANDOR_TRY(const fs::path folder,
               stages_.get(score_stage(reward, entry.name, bank, pipeline_.machine)));
    CANDOR_TRY(const NpyFile npy, NpyFile::open(folder / "scores.npy"));
    return npy.doubles();
  }

  const Pipeline& pipeline_;
  RunStages stages_;
  PipelineResult out_;
};

}  // namespace

std::string prompt_identity(const Json& prompt) {
  return to_line(prompt.contains("messages") ? prompt["messages"] : prompt["prompt"]);
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

Result<Pipeline> Pipeline::plan(const Study& study, const Machine& machine) {
  Pipeline out;
  out.study = study;
  out.machine = machine;
  CANDOR_RETURN_IF_ERROR(find_source(study.model, study.folder, out.model_path, out.model_digest));
  CANDOR_RETURN_IF_ERROR(
      find_source(study.prompts, study.folder, out.prompts_path, out.prompts_digest));
  CANDOR_TRY(const HeldSource held, HeldSource::hold(out.prompts_path, out.prompts_digest));
  CANDOR_TRY(out.prompts, read_jsonl(out.prompts_path));
  CANDOR_RETURN_IF_ERROR(held.unchanged());
  CANDOR_RETURN_IF_ERROR(check_prompts(out.prompts, out.prompts_path));
  if (out.prompts.size() < 2) {
    return invalid_argument(
        str_cat(out.prompts_path.string(), ": holds 1 prompt; intervals need at least 2"));
  }
  out.prompts_in_file = out.prompts.size();
  if (study.max_prompts > 0) out.limit_prompts(study.max_prompts);
  for (const StudyGroup& group : study.groups) {
    const Result<RewardFiles> files = find_reward_files(group.reward, study.folder);
    if (!files.ok()) {
      return Error{files.error().code,
                   str_cat("group ", quote(group.name), ": ", files.error().message)};
    }
    out.groups.push_back(*files);
  }
  return out;
}

void Pipeline::limit_prompts(int64_t count) {
  CANDOR_CHECK(count >= 2);
  if (prompts.size() > static_cast<size_t>(count)) prompts.resize(static_cast<size_t>(count));
}

void Pipeline::add_prompt_limit(Json& spec) const {
  if (prompts.size() < prompts_in_file) spec["max_prompts"] = prompts.size();
}

ScoredBank Pipeline::scored_bank(const fs::path& folder, const std::string& digest,
                                 const std::string& label) const {
  return {.label = label,
          .file = folder / "bank.jsonl",
          .digest = digest,
          .prompts = prompts_path,
          .prompts_digest = prompts_digest};
}

Stage Pipeline::bank_stage(bool reference) const {
  const BankSettings& bank = study.bank;
  Stage stage{.kind = "bank",
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
                       {"dtype", study.dtype}},
              .inputs = {{"model", model_input()}, {"prompts", prompts_input()}}};
  add_prompt_limit(stage.spec);
  add_kernels(machine, stage.spec);
  return stage;
}

Stage Pipeline::reward_stage(size_t group) const {
  return reward_training_stage(study.groups[group].reward, groups[group], study.groups[group].name,
                               study.seed, machine);
}

std::vector<std::string> Pipeline::warnings() const {
  std::vector<std::string> out;
  std::map<std::string, size_t> times;
  for (const Json& prompt : prompts) ++times[prompt_identity(prompt)];
  if (times.size() < prompts.size()) {
    out.push_back(str_cat("Of the ", prompts.size(), " prompts ", prompts.size() - times.size(),
                          times.size() + 1 < prompts.size() ? " repeat" : " repeats",
                          " another one: intervals take them for independent and come out too "
                          "narrow."));
  }
  if (times.size() < kFewPrompts) {
    out.push_back(str_cat("There are ", times.size(),
                          " different prompts: intervals over so few (below ", kFewPrompts,
                          ") are rough."));
  }
  return out;
}

Json Pipeline::sources() const {
  Json out = {{"model", {{"source", study.model}, {"digest", model_digest}}},
              {"prompts", {{"source", study.prompts}, {"digest", prompts_digest}}}};
  for (size_t i = 0; i < groups.size(); ++i) {
    add_sources(study.groups[i].reward, groups[i], str_cat("group ", study.groups[i].name), out);
  }
  return out;
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
               {"unit_price", study.unit_price.text()},
               {"currency", study.currency.code},
               {"exponent", study.currency.exponent},
               {"max_size", study.max_size},
               {"machine", machine_json(machine)}};
  add_prompt_limit(seal);
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
