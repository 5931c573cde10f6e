#include <optional>
#include <utility>

#include "base/strings.h"
#include "lm/trainable_decoder.h"
#include "worker/rlhf_files.h"
#include "worker/stage.h"

namespace candor {

namespace {

struct RlhfSpec {
  RlhfJob job;
  int threads = 1;
};

// Reward i of the spec finds its files under "reward_I_NAME", the judge under "judge_NAME".
RewardPaths paths_with(const StageRequest& request, const std::string& prefix) {
  return [&request, prefix](const std::string& name) { return request.path(prefix + name); };
}

Status read_rewards(const StageRequest& request, JsonReader& spec, RlhfSpec& out) {
  std::vector<JsonReader> rewards = spec.objects("rewards");
  CANDOR_RETURN_IF_ERROR(spec.status());
  for (size_t i = 0; i < rewards.size(); ++i) {
    const std::string name = str_cat("reward_", i);
    CANDOR_TRY(RlhfReward reward,
               read_rlhf_reward(rewards[i], name, paths_with(request, name + "_"), out.threads));
    CANDOR_RETURN_IF_ERROR(rewards[i].finish());
    out.job.rewards.push_back(std::move(reward));
  }
  if (!spec.has("judge")) return {};
  JsonReader judge = spec.object("judge");
  CANDOR_TRY(RlhfReward watched,
             read_rlhf_reward(judge, "judge", paths_with(request, "judge_"), out.threads));
  CANDOR_RETURN_IF_ERROR(judge.finish());
  out.job.judge = std::move(watched);
  return {};
}

Result<RlhfSpec> read_spec(const StageRequest& request) {
  JsonReader spec(request.spec, request.source, "$.spec");
  RlhfSpec out;
  out.job.inputs = {{"model", spec.text("model_digest")},
                    {"prompts", spec.text("prompts_digest")},
                    {"rewards", spec.any("rewards")}};
  if (spec.has("judge")) out.job.inputs["judge"] = spec.any("judge");
  out.threads = read_machine(spec);
  out.job.seed = static_cast<uint64_t>(spec.integer("seed", 0, INT64_MAX));
  const bool bf16 = dtype_of(spec.choice("dtype", dtype_names())) == Dtype::kBf16;
  JsonReader settings = spec.object("settings");
  CANDOR_RETURN_IF_ERROR(spec.status());
  out.job.settings = read_rlhf_settings(settings);
  if (!settings.has("bf16")) out.job.settings.bf16 = bf16;
  if (!settings.has("sampler_bf16")) out.job.settings.sampler_bf16 = bf16;
  CANDOR_RETURN_IF_ERROR(settings.finish());
  if (const Status status = check_rlhf_settings(out.job.settings); !status.ok()) {
    return settings.error_at("", status.error().message);
  }
  CANDOR_RETURN_IF_ERROR(read_rewards(request, spec, out));
  CANDOR_RETURN_IF_ERROR(spec.finish());
  return out;
}

}  // namespace

// A stage that is started again goes on from its checkpoints, to the same artifact.
Status run_rlhf_stage(const StageRequest& request, const ProgressSink& progress) {
  CANDOR_TRY(RlhfSpec spec, read_spec(request));
  CANDOR_TRY(const std::filesystem::path model_path, request.path("model"));
  CANDOR_TRY(const std::filesystem::path prompts_path, request.path("prompts"));
  if (!request.checkpoints.empty()) {
    spec.job.checkpoints = request.checkpoints;
  }
  TrainableOptions options = trainable_options(spec.job.settings, spec.threads, spec.job.seed);
  CANDOR_TRY(TrainableDecoder policy, TrainableDecoder::load(model_path, options));
  std::optional<TrainableDecoder> reference;
  if (!spec.job.settings.use_peft) {
    CANDOR_TRY(reference, TrainableDecoder::load(model_path, options));
    spec.job.reference = &*reference;
  }
  {
    CANDOR_TRY(const LanguageModel model, policy.sampler_model(Dtype::kBf16));
    CANDOR_TRY(spec.job.prompts, read_rlhf_prompts(model, prompts_path));
  }
  const auto total = static_cast<uint64_t>(spec.job.settings.total_steps);
  const auto on_step = [&](const StepReport& report) -> Status {
    progress(static_cast<uint64_t>(report.step), total,
             str_cat("reward ", format_short(report.metrics->value("objective/scores", 0.0), 3),
                     ", KL ", format_short(report.metrics->value("objective/kl", 0.0), 3)));
    return {};
  };
  CANDOR_TRY(const RlhfResult result, train_rlhf(policy, spec.job, on_step));
  return write_rlhf_result(policy, {&spec.job, &result}, request.output);
}

}  // namespace candor
