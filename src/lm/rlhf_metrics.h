#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "base/json.h"
#include "lm/rlhf_rollout.h"
#include "lm/rlhf_step.h"

namespace candor {

// One line of metrics.jsonl, under TRL's names where TRL has one (docs/formats.md). A value that is
// not finite becomes null, and `invalid` names it.
struct StepFacts {
  int64_t step = 0;  // from 1
  double learning_rate = 0;
  double kl_coefficient = 0;
  const RlhfSettings* settings = nullptr;
  const Rollout* rollout = nullptr;
  const Scores* scores = nullptr;
  const Scores* judged = nullptr;  // of the judge alone; null: none
  UpdateReport update;
};
struct StepMetrics {
  Json line;
  std::optional<std::string> invalid;
};
[[nodiscard]] StepMetrics step_metrics(const StepFacts& facts);

}  // namespace candor
