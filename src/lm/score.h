#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/progress.h"
#include "base/result.h"
#include "lm/language_model.h"

namespace candor {

struct ScoreRequest {
  std::vector<int32_t> prompt_ids;      // the condition; may be empty only with a BOS in completion
  std::vector<int32_t> completion_ids;  // at least one
  // One coefficient per row adapter of the model (LoadOptions::row_adapters); none: the base model.
  std::vector<float> adapter_weights = {};
};

// Natural-log probabilities of every completion token given what precedes it: teacher forcing, one
// forward over prompt and completion. Shapes: result[r] has completion_ids.size() entries.
// Errors: as `generate`; a request without any condition for its first token.
Result<std::vector<std::vector<float>>> score(const LanguageModel& model,
                                              std::span<const ScoreRequest> requests,
                                              const ProgressSink& progress = {});

// Logits [T, V] (row-major) of every position of one sequence; for parity tests and small models.
Result<std::vector<float>> logits(const LanguageModel& model, std::span<const int32_t> token_ids);

}  // namespace candor
