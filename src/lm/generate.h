#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/progress.h"
#include "base/result.h"
#include "lm/language_model.h"
#include "lm/sampler.h"

namespace candor {

struct GenerateRequest {
  std::vector<int32_t> prompt_ids;  // at least one
  uint32_t prompt_index = 0;        // keys the random numbers, with `sample`
  uint32_t sample = 0;
  // One coefficient per row adapter of the model (LoadOptions::row_adapters); none: the base model.
  std::vector<float> adapter_weights = {};
};

struct GenerateOptions {
  int64_t max_new_tokens = 128;
  double temperature = 1.0;  // 0: greedy
  double top_p = 1.0;        // 1: off
  int64_t top_k = 0;         // 0: off
  uint64_t seed = 1;
  uint32_t stream = 0;       // separates banks drawn with one seed
  int64_t batch = 32;        // sequences decoded together; finished rows are refilled
  bool ignore_stop = false;  // every reply has max_new_tokens: for measurements
};

[[nodiscard]] inline SamplingOptions sampling_of(const GenerateOptions& options) {
  return {.temperature = options.temperature, .top_p = options.top_p, .top_k = options.top_k};
}

enum class FinishReason { kStop, kLength };

struct Generation {
  std::vector<int32_t> token_ids;     // includes the end token when it stopped
  std::vector<float> token_logprobs;  // natural log, of the untempered, untruncated model
  double logprob = 0;                 // their sum
  FinishReason finish_reason = FinishReason::kLength;
};

// Samples one continuation of every request, in the order of `requests`. The draw at position t of
// (prompt, sample) depends on (seed, stream, prompt, sample, t) only; one prompt's prefill is
// shared by its samples. Errors: a prompt that leaves no room in the context, a token id out of
// range, kInterrupted. Cost: one read of the weights per step for `batch` rows.
Result<std::vector<Generation>> generate(const LanguageModel& model,
                                         std::span<const GenerateRequest> requests,
                                         const GenerateOptions& options,
                                         const ProgressSink& progress = {});

}  // namespace candor
