#include "lm/packed_sequences.h"

namespace candor {

std::vector<VisibleTokens> visible_tokens(int64_t length, const std::vector<int64_t>& branches) {
  std::vector<VisibleTokens> out(static_cast<size_t>(length));
  for (size_t b = 0; b < branches.size(); ++b) {
    const int64_t end = b + 1 < branches.size() ? branches[b + 1] : length;
    for (int64_t i = branches[b]; i < end; ++i) {
      out[static_cast<size_t>(i)] = {branches.front(), branches[b]};
    }
  }
  return out;
}

}  // namespace candor
