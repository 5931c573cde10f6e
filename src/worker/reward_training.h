#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/progress.h"
#include "base/result.h"
#include "formats/preferences.h"
#include "lm/encoder_reward.h"
#include "lm/reward_features.h"
#include "lm/reward_head.h"
#include "lm/reward_tuning.h"
#include "lm/text_encoder.h"
#include "worker/reward_examples.h"

namespace candor {

// A reward model, trained on labelled texts (logistic), on preference pairs (Bradley-Terry) or on
// both in one objective, and judged on examples it has not seen, beside a judge that sees only
// their length. Either a head on a frozen sentence encoder (convex), or a whole model.
inline constexpr NumberRange kHeadL2 = {1e-12, 1e6};
struct RewardTraining {
  ExampleChoice examples = {};
  double l2 = 1e-3;
  RewardLayout layout = RewardLayout::kCompletion;
};

struct RewardTrainingResult {
  RewardHead head;  // of a frozen encoder
  Json tuning;      // of a whole model: reward-tuning/1; null else
  std::vector<Json> log;
  int64_t train_count = 0;  // labelled texts
  int64_t train_pair_count = 0;
  int64_t blank_count = 0;  // blank texts and pairs with one, left out
  int64_t equal_count = 0;  // pairs of equal texts, left out
  HeldOutJudgement judged;
};

// `evaluation`: held out in place of a share of `data`. The bias of a head trained on pairs alone
// centres its rewards: the mean logit of the training texts is 0.
// Errors: too few examples on a side, one class only, not converged.
Result<RewardTrainingResult> train_reward(const TextEncoder& encoder, RewardData data,
                                          std::optional<RewardData> evaluation,
                                          const RewardTraining& training,
                                          const ProgressSink& progress);

// The same for a whole model, trained in place. A tenth of the training examples, split off by
// prompt, decides when training stops (with early stopping), so that what is held out judges a
// model it had no part in choosing. Examples with a text longer than max_length are left out and
// counted ("too_long"); of those held out, what is longer than the model reads.
// Errors: as above; tune_reward's.
inline constexpr double kValidationShare = 0.1;
struct RewardTuningJob {
  ExampleChoice examples = {};
  RewardTuning tuning = {};
  std::optional<RewardCheckpoints> checkpoints = {};
};
Result<RewardTrainingResult> tune_reward_model(const TrainableReward& model, RewardData data,
                                               std::optional<RewardData> evaluation,
                                               const RewardTuningJob& job,
                                               const ProgressSink& progress);

// The same for the encoder in `folder` and a head on it: the head is fitted on the frozen encoder
// first, with `l2`, on what the model is then trained on.
struct EncoderTuningJob {
  std::filesystem::path folder;
  EncoderRewardOptions options = {};
  RewardTuningJob tuning = {};
  double l2 = 1e-3;
};
struct TunedEncoder {
  EncoderReward model;
  RewardTrainingResult result;
};
Result<TunedEncoder> tune_encoder_reward(RewardData data, std::optional<RewardData> evaluation,
                                         const EncoderTuningJob& job, const ProgressSink& progress);

// Any finished reward judged on other labelled texts or pairs (an independent evaluation set).
// `scorer` gives logits, one per text.
using RewardScorer =
    std::function<Result<std::vector<double>>(std::span<const PromptedText>, const ProgressSink&)>;
Result<RewardTrainingResult> judge_reward(const RewardScorer& scorer, RewardData data,
                                          const ProgressSink& progress);

// reward-metrics/1 (docs/formats.md).
[[nodiscard]] Json reward_metrics_json(const RewardTrainingResult& result);

// head.safetensors: weight [features], bias [1], F64; and layout [1] = 1 where the head reads the
// prompt too.
[[nodiscard]] std::string reward_head_bytes(const RewardHead& head);
// `width`: the encoder's. Errors: another number of weights, not finite, an unknown layout.
Result<RewardHead> load_reward_head(const std::filesystem::path& file, int64_t width);

}  // namespace candor
