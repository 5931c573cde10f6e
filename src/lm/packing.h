#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace candor {

// Sequences into bins of `capacity` tokens by best fit, longest first (Ding et al. 2024, "Fewer
// truncations"; TRL's packing_strategy "bfd"): each goes into the fullest bin that still holds it,
// among equals the one filled to that level first; a new bin where there is none.
// Returns bins of indices, in the order in which they were opened; every sequence is in one bin.
// Sequences of one length keep their order.
// REQUIRES: 1 <= length <= capacity. Cost: O(n log n).
[[nodiscard]] std::vector<std::vector<size_t>> pack_best_fit(std::span<const int64_t> lengths,
                                                             int64_t capacity);

}  // namespace candor
