#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/progress.h"
#include "base/result.h"
#include "formats/records.h"
#include "lm/reward_head.h"
#include "lm/text_encoder.h"

namespace candor {

// A reward model: a logistic head on a frozen sentence encoder, trained on labelled texts and
// judged on texts it has not seen, beside a judge that sees only their length.
struct RewardTraining {
  int64_t max_texts = 0;        // 0: all
  bool balance = true;          // as many texts of either class
  double held_out_share = 0.2;  // split by the text itself: duplicates never straddle it
  uint64_t seed = 1;
  double l2 = 1e-3;
};

struct RewardTrainingResult {
  RewardHead head;
  int64_t train_count = 0;
  int64_t blank_count = 0;  // blank texts, left out
  Judgement held_out;
  Judgement length_baseline;
  std::vector<CalibrationBin> calibration;
};

Result<RewardTrainingResult> train_reward(const TextEncoder& encoder,
                                          std::vector<LabelledText> texts,
                                          const RewardTraining& training,
                                          const ProgressSink& progress);

// reward-metrics/1 (docs/formats.md).
[[nodiscard]] Json reward_metrics_json(const RewardTrainingResult& result);

// head.safetensors: weight [width], bias [1], F64.
[[nodiscard]] std::string reward_head_bytes(const RewardHead& head);
Result<RewardHead> load_reward_head(const std::filesystem::path& file, int64_t width);

}  // namespace candor
