#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace candor {

// Sequences side by side. Attention never crosses from one to another; positions start at 0.
//
// A sequence may end in branches: continuations of its beginning that do not see one another, such
// as the replies to one prompt. They lie one after the other behind what they share; a branch's
// tokens see what is shared and their own past, and count positions from its end, so every branch
// is computed as if it stood alone behind the beginning, whose cost is paid once.
struct PackedSequences {
  std::vector<int32_t> token_ids;  // [T]
  std::vector<int64_t> offsets;    // [S + 1], 0 .. T, ascending
  // [S], or empty where no sequence has branches: where each branch starts, counted from its
  // sequence's first token, ascending and above 0; the first start is the length of what is shared.
  std::vector<std::vector<int64_t>> branches = {};

  [[nodiscard]] bool branched(size_t sequence) const {
    return !branches.empty() && !branches[sequence].empty();
  }
};

// What token i of its sequence sees: tokens 0 .. shared - 1 and begin .. i of the same sequence.
struct VisibleTokens {
  int64_t shared = 0;
  int64_t begin = 0;
  [[nodiscard]] int64_t position(int64_t token) const { return shared + token - begin; }
};
// Of every token of a sequence of `length` tokens with these branches. Cost: O(length).
[[nodiscard]] std::vector<VisibleTokens> visible_tokens(int64_t length,
                                                        const std::vector<int64_t>& branches);

}  // namespace candor
