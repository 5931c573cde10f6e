#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/progress.h"
#include "base/result.h"
#include "formats/preferences.h"
#include "lm/reward_features.h"
#include "lm/reward_head.h"
#include "lm/text_encoder.h"

namespace candor {

// A reward model: a head on a frozen sentence encoder, trained on labelled texts (logistic), on
// preference pairs (Bradley-Terry) or on both in one convex objective, and judged on examples it
// has not seen, beside a judge that sees only their length.
struct RewardTraining {
  int64_t max_texts = 0;        // labelled texts, and pairs: at most so many of either; 0: all
  bool balance = true;          // as many labelled texts of either class
  double held_out_share = 0.2;  // split by prompt, else by text: neither straddles it
  uint64_t seed = 1;
  double l2 = 1e-3;
  RewardLayout layout = RewardLayout::kCompletion;
};

// Held-out pairs. Each is shown to the judge in one of two keyed orders, so that calibration and
// AUC mean what they do for labels; `accuracy` is the share of pairs whose chosen text wins.
struct PairJudgement {
  Judgement judgement;
  std::optional<double> reward_auc;  // chosen against rejected texts, whatever their prompt
  double longer_wins = 0;            // share of pairs whose chosen text has more words; ties half
  double margin_mean = 0,
         margin_sd = 0;  // of reward(chosen) - reward(rejected), before the sigmoid
  double margin_p10 = 0, margin_p50 = 0, margin_p90 = 0;
};

// One side of the evaluation: all held-out examples of a kind, or those of one source.
struct SourceJudgement {
  std::string kind;  // "labelled" or "pairs"
  Judgement model;
  Judgement length_baseline;
};

struct RewardTrainingResult {
  RewardHead head;
  int64_t train_count = 0;  // labelled texts
  int64_t train_pair_count = 0;
  int64_t blank_count = 0;    // blank texts and pairs with one, left out
  int64_t equal_count = 0;    // pairs of equal texts, left out
  Judgement held_out;         // of labelled texts; of pairs where there are pairs alone
  Judgement length_baseline;  // two features: log characters, log words
  std::vector<CalibrationBin> calibration;
  std::optional<PairJudgement> pairs;
  std::optional<Judgement> pair_length_baseline;
  std::map<std::string, SourceJudgement> by_source;
};

// `evaluation`: held out in place of a share of `data`. The bias of a head trained on pairs alone
// centres its rewards: the mean logit of the training texts is 0.
// Errors: too few examples on a side, one class only, not converged.
Result<RewardTrainingResult> train_reward(const TextEncoder& encoder, RewardData data,
                                          std::optional<RewardData> evaluation,
                                          const RewardTraining& training,
                                          const ProgressSink& progress);

// A finished head judged on other labelled texts or pairs (an independent evaluation set).
Result<RewardTrainingResult> judge_reward(const TextEncoder& encoder, const RewardHead& head,
                                          RewardData data, const ProgressSink& progress);

// reward-metrics/1 (docs/formats.md).
[[nodiscard]] Json reward_metrics_json(const RewardTrainingResult& result);

// head.safetensors: weight [features], bias [1], F64; and layout [1] = 1 where the head reads the
// prompt too.
[[nodiscard]] std::string reward_head_bytes(const RewardHead& head);
// `width`: the encoder's. Errors: another number of weights, not finite, an unknown layout.
Result<RewardHead> load_reward_head(const std::filesystem::path& file, int64_t width);

}  // namespace candor
