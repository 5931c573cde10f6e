#pragma once

#include <cstddef>
#include <cstdint>

namespace candor::table {

// The vectorised inner loops of settle() where every sum fits 64 bits; compiled for several
// instruction sets, the best one is chosen at run time. Integers: the same result on all of them.

// totals[k] += size x row[k]. Returns false where some row[k] is outside 0..2^32.
[[nodiscard]] bool add_row(const int64_t* row, int64_t size, size_t count, int64_t* totals);

// max_k totals[k] - size x row[k]. REQUIRES: count >= 1.
[[nodiscard]] int64_t best_without_row(const int64_t* row, int64_t size, size_t count,
                                       const int64_t* totals);

}  // namespace candor::table
