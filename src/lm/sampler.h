#pragma once

#include <cstdint>
#include <span>

#include "base/rng.h"

namespace candor {

// How a token is drawn from logits, in this order: temperature, top-k, top-p.
struct SamplingOptions {
  double temperature = 1.0;  // 0: greedy
  double top_p = 1.0;        // 1: off
  int64_t top_k = 0;         // 0: off
};

// Draws one token: the inverse distribution function at random_uniform(key).
//
//   q(v) ~ exp(logits[v] / temperature) on the shortlist, 0 elsewhere
//
// Shortlist: the top_k most likely tokens; of them the fewest most likely whose mass reaches top_p
// of theirs. Equal logits: the lower id counts as the more likely, for greedy choice too. A logit
// 87 temperatures or more below the largest (also minus infinity) is never drawn. Weights are f32:
// each probability is within 1e-6, relatively, of the formula.
// REQUIRES: at least one logit, the largest finite, none NaN; temperature >= 0, 0 < top_p <= 1,
// top_k >= 0.
// Cost: two passes over the logits; with top-k or top-p also a sort of the shortlist. Allocates
// nothing after a thread's first call.
[[nodiscard]] int32_t sample_token(std::span<const float> logits, const SamplingOptions& options,
                                   const RandomKey& key);

}  // namespace candor
