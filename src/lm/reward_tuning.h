#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/progress.h"
#include "base/result.h"
#include "lm/adamw.h"
#include "lm/learning_rate.h"
#include "lm/trainable_reward.h"

namespace candor {

// Training of a whole reward model, or of its LoRA factors. Names, defaults and meanings are TRL's
// RewardConfig's, but for early stopping, which is on.
struct RewardTuning {
  double learning_rate = 1e-4;
  int64_t per_device_train_batch_size = 8;  // pairs and labelled texts
  int64_t gradient_accumulation_steps = 1;
  double num_train_epochs = 3;
  int64_t max_steps = 0;      // 0: as the epochs say
  int64_t max_length = 1024;  // examples with a longer text are left out, as TRL does
  Schedule lr_scheduler_type = Schedule::kLinear;
  double warmup_ratio = 0;
  double weight_decay = 0;
  double max_grad_norm = 1;  // 0: no clipping
  double center_rewards_coefficient = 0;
  int64_t logging_steps = 10;
  int64_t save_steps = 0;  // 0: no checkpoints but the one of a run that is interrupted
  int64_t eval_steps = 0;  // 0: after every epoch
  // Evaluations without a lower loss before training ends. The parameters of the lowest loss are
  // kept, those before the first step among them. 0: all steps are made and the last parameters
  // stay.
  int64_t early_stopping_patience = 3;
  uint64_t seed = 1;
};
// Errors: kInvalidArgument for a value out of range, by name.
Status check_reward_tuning(const RewardTuning& tuning);
[[nodiscard]] Json json_of(const RewardTuning& tuning);

// One row of the loss. Of a pair chosen over rejected (Bradley-Terry), of a labelled text logistic:
//
//   pair      - log sigmoid(r_chosen - r_rejected - margin) + c (r_chosen + r_rejected)^2
//   labelled  - log sigmoid(r) for label 1, - log sigmoid(-r) for label 0
//
// with c the centring coefficient (Eisenstein et al. 2023, Eq. 2). Source: TRL's RewardTrainer.
struct RewardExample {
  std::vector<int32_t> text;      // the chosen one of a pair
  std::vector<int32_t> rejected;  // empty: a labelled text
  int label = 1;
  double margin = 0;
  [[nodiscard]] bool is_pair() const { return !rejected.empty(); }
};

// TRL's metrics of some batches: sums to be divided by the number of examples, of pairs or batches.
struct RewardSums {
  double loss = 0;     // over the examples, before gradients are averaged
  double correct = 0;  // pairs with r_chosen > r_rejected, texts on their label's side of 0
  double margin = 0;   // over the pairs
  int64_t examples = 0;
  int64_t pairs = 0;
  // Of all rewards of a batch, summed over the batches.
  double min_reward = 0, mean_reward = 0, max_reward = 0;
  int64_t batches = 0;
  int64_t tokens = 0;
};

struct RewardStepOptions {
  double learning_rate = 0;
  double max_grad_norm = 1;
  double center_rewards_coefficient = 0;
  uint64_t first_forward = 0;  // ForwardOptions::step of the first batch; one more for each
};
struct RewardStep {
  RewardSums sums;
  double grad_norm = 0;  // before clipping
};
using RewardBatch = std::vector<const RewardExample*>;
// One optimiser step over the accumulated batches: the loss is the mean over all their examples
// together. (TRL takes the mean of the batches' means: the same where they are equally large.)
// Errors: kInvalidArgument where loss or gradient stop being finite; parameters are left as they
// were.
Result<RewardStep> reward_step(const TrainableReward& model, AdamW& optimizer,
                               std::span<const RewardBatch> batches,
                               const RewardStepOptions& options);
// Sums without gradient or dropout.
[[nodiscard]] RewardSums reward_evaluate(const TrainableReward& model,
                                         std::span<const RewardBatch> batches,
                                         double center_rewards_coefficient);

// What training did: "reward-tuning/1" (docs/formats.md) and TRL's log, a line per logging or
// evaluation.
struct RewardTuningResult {
  Json summary;
  std::vector<Json> log;
};
// Where a run keeps what it needs to go on after a stop: FOLDER/reward.safetensors, the folder made
// where it is missing. A checkpoint that is there is gone on from.
struct RewardCheckpoints {
  std::filesystem::path folder;
  std::string identity;  // of settings, data, model, machine: what a checkpoint must share
};
// Trains `model` in place. `validation` decides when to stop; it may be empty only without early
// stopping. A pure function of its arguments at fixed threads, resumed or not.
// Errors: settings; no example; reward_step's; another run's checkpoint; kInterrupted, after a
// checkpoint.
Result<RewardTuningResult> tune_reward(const TrainableReward& model, const RewardTuning& tuning,
                                       std::span<const RewardExample> training,
                                       std::span<const RewardExample> validation,
                                       const ProgressSink& progress,
                                       const std::optional<RewardCheckpoints>& checkpoints = {});

}  // namespace candor
