#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/progress.h"
#include "base/result.h"
#include "lm/reward_head.h"
#include "lm/support_features.h"
#include "lm/text_encoder.h"

namespace candor {

// A reply and what it answers.
struct PromptedText {
  std::string prompt;
  std::string completion;
};

// The features that a reward head weighs, of an encoder of width W:
//
//   kCompletion        e(c)                                                    [W]
//   kPromptCompletion  e(c); sqrt(W) e(p) * e(c) entry by entry; cosines;      [2 W + 4 + 8]
//                      support_features(p, c)
//
// e(p) is the unit-length mean of the embeddings of the prompt's chunks (sentences joined to 40
// words; 16 chunks at most), so an article longer than the encoder's window is read nearly whole.
// The cosines: e(c) with e(p); the nearest chunk to e(c); for the sentences of c (8 at most), the
// mean and the least of the cosine with each one's nearest chunk.
[[nodiscard]] int64_t reward_feature_count(RewardLayout layout, int64_t width);

// Features [N, reward_feature_count], row-major. Equal prompts are embedded once.
Result<std::vector<float>> reward_features(const TextEncoder& encoder, RewardLayout layout,
                                           std::span<const PromptedText> texts,
                                           const ProgressSink& progress = {});

}  // namespace candor
