#include "base/file.h"
#include "base/strings.h"
#include "worker/sft_files.h"
#include "worker/stage.h"

namespace candor {

namespace {

namespace fs = std::filesystem;

constexpr int64_t kCheckpointSteps = 50;

struct SftSpec {
  SftSettings settings;
  TrainableOptions model;
  Dtype model_dtype = Dtype::kF32;  // of the weights of model/
  TrainedForm form = TrainedForm::kAsTrained;
};

Result<SftSpec> read_spec(const StageRequest& request) {
  static const std::vector<std::string> kDtypes = {"f32", "bf16"};
  const auto dtype = [](const std::string& name) {
    return name == "bf16" ? Dtype::kBf16 : Dtype::kF32;
  };
  JsonReader spec(request.spec, request.source, "$.spec");
  SftSpec out;
  (void)spec.text("model_digest");
  (void)spec.text("data_digest");
  if (spec.has("eval_data_digest")) (void)spec.text("eval_data_digest");
  if (spec.has("adapter_digest")) (void)spec.text("adapter_digest");
  CANDOR_TRY(out.settings, read_sft_settings(spec.object("settings")));
  if (spec.has("lora")) {
    CANDOR_TRY(out.model.lora, read_lora_settings(spec.object("lora")));
    if (spec.boolean_or("merge", false)) out.form = TrainedForm::kMerged;
  }
  out.model.seed = static_cast<uint64_t>(spec.integer("seed", 0, INT64_MAX));
  out.settings.seed = out.model.seed;
  out.model.arithmetic = dtype(spec.choice("dtype", kDtypes));
  out.model_dtype = dtype(spec.choice_or("model_dtype", "f32", kDtypes));
  out.model.gradient_checkpointing = spec.boolean_or("gradient_checkpointing", false);
  out.model.threads = read_machine(spec);
  CANDOR_RETURN_IF_ERROR(spec.finish());
  return out;
}

std::optional<fs::path> optional_path(const StageRequest& request, const std::string& name) {
  const auto found = request.paths.find(name);
  return found == request.paths.end() ? std::nullopt : std::optional(found->second);
}

}  // namespace

// A stage that is started again goes on from its checkpoints, where the request names a folder of
// them, and its artifact has the same bytes.
Status run_sft_stage(const StageRequest& request, const ProgressSink& progress) {
  CANDOR_TRY(const SftSpec spec, read_spec(request));
  CANDOR_TRY(const fs::path model_path, request.path("model"));
  SftRun run;
  CANDOR_TRY(run.data, request.path("data"));
  run.eval_data = optional_path(request, "eval_data");
  run.resume = !request.checkpoints.empty();
  run.folder = run.resume ? request.checkpoints : request.output;
  CANDOR_TRY(const TrainableDecoder model,
             TrainableDecoder::load(model_path, spec.model, optional_path(request, "adapter")));
  SftSettings settings = spec.settings;
  // Checkpoints change no byte of the artifact; without a folder nobody could go on from them.
  if (!run.resume) settings.save_steps = 0;
  if (run.resume && settings.save_steps == 0) settings.save_steps = kCheckpointSteps;
  CANDOR_TRY(const Json summary, run_sft(model, settings, run, progress));
  CANDOR_RETURN_IF_ERROR(write_trained(model, spec.model_dtype, request.output, spec.form));
  if (run.resume) {
    CANDOR_TRY(const std::string metrics, read_file(run.folder / "metrics.jsonl"));
    CANDOR_RETURN_IF_ERROR(write_artifact(request, "metrics.jsonl", metrics));
  }
  return write_artifact(request, "summary.json", to_text(summary));
}

}  // namespace candor
