#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/progress.h"
#include "base/result.h"
#include "lm/health.h"
#include "lm/rlhf_rollout.h"
#include "lm/rlhf_settings.h"
#include "lm/train_identity.h"

namespace candor {

class TrainableDecoder;

// RLHF of a policy for one reward or a weighted sum of several (MATH 8):
//
//   maximise  E_{q, x ~ theta(.|q)} [ sum_i w_i rm_i(q, x) / sum_i w_i - b KL(theta || theta_init)
//   ]
//
// with the rewards in [0, 1] that are priced and b = L / sum_i w_i held fixed, which makes the
// optimum SW-Max of these groups. The gradient is that of REINFORCE with a leave-one-out baseline
// (rloo), or PPO's with a value head.
//
// One source of log-probabilities enters the losses: the training engine's. The sampler's, which
// come from packed weights and other kernels, are compared with them at every step.
struct RlhfJob {
  std::vector<RlhfPrompt> prompts;
  std::vector<RlhfReward> rewards;
  std::optional<RlhfReward> judge;  // measured and reported, never trained on
  RlhfSettings settings;
  uint64_t seed = 1;
  // For full fine-tuning: the frozen initial model. With LoRA: absent, it is the policy without
  // its factors.
  const TrainableDecoder* reference = nullptr;
  // A folder for checkpoints; empty: none. A run goes on from the latest one there, to the same
  // bytes as without a break. With one `inputs` names what is read: digests of "model" and
  // "prompts", the specs of "rewards" and of a "judge".
  std::filesystem::path checkpoints;
  TrainInputs inputs;
};

// What one step took; never part of metrics.jsonl, whose bytes are the run's alone.
struct StepTimes {
  double sample_s = 0;  // snapshot and decoding
  double reward_s = 0;
  double update_s = 0;  // reference, old and new log-probabilities, gradients, optimiser
  [[nodiscard]] double total_s() const { return sample_s + reward_s + update_s; }
};
struct StepReport {
  int64_t step = 0;  // from 1
  const Json* metrics = nullptr;
  StepTimes times;
};
using StepSink = std::function<Status(const StepReport&)>;

struct RlhfResult {
  std::vector<Json> metrics;            // one object a step: TRL's names (docs/formats.md)
  std::vector<HealthWarning> warnings;  // the first of each kind
  double kl_coefficient = 0;            // the last one; changes under a preset only
};

// Trains `policy` in place.
// Errors   kInvalidArgument: settings or rewards that do not go together, a prompt that leaves no
//          room, a checkpoint of another run; a metric, loss or gradient that is not finite (the
//          policy is then as the last step left it). Those of rewards and sampler; kInterrupted.
// Cost     per step: one decoding of all replies, a forward of the reference and a forward and
//          backward of the policy over them (another forward where a step is updated on twice).
Result<RlhfResult> train_rlhf(TrainableDecoder& policy, const RlhfJob& job,
                              const StepSink& on_step = {});

// metrics.jsonl, warnings.json of a result.
[[nodiscard]] std::string metrics_lines(const std::vector<Json>& metrics);
[[nodiscard]] Json warnings_json(const std::vector<HealthWarning>& warnings);
// What health reads of the steps of metrics.jsonl.
[[nodiscard]] std::vector<HealthPoint> health_points(const std::vector<Json>& metrics);

}  // namespace candor
