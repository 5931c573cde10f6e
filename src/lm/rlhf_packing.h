#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "lm/packed_sequences.h"
#include "lm/rlhf_rollout.h"

namespace candor {

// Internal to lm: some replies behind their prompts, ready for one forward pass. Neighbouring
// replies to one prompt are branches of one sequence, so that the prompt is read once. [m] tokens
// of the replies.
struct PackedReplies {
  PackedSequences sequences;
  std::vector<int64_t> rows;     // [m] rows of the hidden states that predict the replies' tokens
  std::vector<int32_t> targets;  // [m] those tokens
  std::vector<int64_t> offsets;  // [replies + 1] into rows and targets
};

// A sequence with branches has at most so many tokens (its attention takes the square of that).
inline constexpr int64_t kLongestBranched = 1024;

// `chosen`: indices into `replies`, none of them without a token.
[[nodiscard]] PackedReplies pack_replies(std::span<const RlhfReply> replies,
                                         std::span<const RlhfPrompt> prompts,
                                         std::span<const size_t> chosen);

}  // namespace candor
