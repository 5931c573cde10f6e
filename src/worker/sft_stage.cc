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
  TrainedFiles files;
  TrainInputs inputs;
};

Result<SftSpec> read_spec(const StageRequest& request) {
  JsonReader spec(request.spec, request.source, "$.spec");
  SftSpec out;
  for (const char* name : {"model", "data", "eval_data", "adapter"}) {
    const std::string key = str_cat(name, "_digest");
    const bool needed = out.inputs.size() < 2;
    if (needed || spec.has(key)) out.inputs[name] = spec.text(key);
  }
  CANDOR_TRY(out.settings, read_sft_settings(spec.object("settings")));
  if (spec.has("lora")) {
    CANDOR_TRY(out.model.lora, read_lora_settings(spec.object("lora")));
    if (spec.boolean_or("merge", false)) out.files.form = TrainedForm::kMerged;
  }
  out.model.seed = static_cast<uint64_t>(spec.integer("seed", 0, INT64_MAX));
  out.settings.seed = out.model.seed;
  out.model.arithmetic = dtype_of(spec.choice("dtype", dtype_names()));
  out.files.dtype = dtype_of(spec.choice_or("model_dtype", "f32", dtype_names()));
  out.inputs["model_dtype"] = dtype_names()[static_cast<size_t>(out.files.dtype)];
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
  run.inputs = spec.inputs;
  CANDOR_TRY(const TrainableDecoder model,
             TrainableDecoder::load(model_path, spec.model, optional_path(request, "adapter")));
  SftSettings settings = spec.settings;
  // Checkpoints change no byte of the artifact; without a folder nobody could go on from them.
  if (!run.resume) settings.save_steps = 0;
  if (run.resume && settings.save_steps == 0) settings.save_steps = kCheckpointSteps;
  CANDOR_TRY(const Json summary, run_sft(model, settings, run, progress));
  CANDOR_RETURN_IF_ERROR(write_trained(model, spec.files, request.output));
  if (run.resume) {
    CANDOR_TRY(const std::string metrics, read_file(run.folder / "metrics.jsonl"));
    CANDOR_RETURN_IF_ERROR(write_artifact(request, "metrics.jsonl", metrics));
  }
  return write_artifact(request, "summary.json", to_text(summary));
}

}  // namespace candor
