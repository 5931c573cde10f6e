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
#include "lm/reward_tuning_settings.h"
#include "lm/train_identity.h"
#include "lm/trainable_reward.h"

namespace candor {

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

  static constexpr auto fields() {
    using S = RewardSums;
    constexpr NumberRange kCount = {0, 0x1.0p53};
    return std::tuple(field(&S::loss, {.name = "loss"}), field(&S::correct, {.name = "correct"}),
                      field(&S::margin, {.name = "margin"}),
                      field(&S::examples, {.name = "examples", .range = kCount}),
                      field(&S::pairs, {.name = "pairs", .range = kCount}),
                      field(&S::min_reward, {.name = "min_reward"}),
                      field(&S::mean_reward, {.name = "mean_reward"}),
                      field(&S::max_reward, {.name = "max_reward"}),
                      field(&S::batches, {.name = "batches", .range = kCount}),
                      field(&S::tokens, {.name = "tokens", .range = kCount}));
  }
};
static_assert(lists_every_member<RewardSums>());

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
  // Digests of what is read ("model", "data", ..) and whatever else a checkpoint must share besides
  // the tuning and the model's settings().
  TrainInputs inputs;
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
