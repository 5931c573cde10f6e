#pragma once

#include <cstddef>

#include "core/double_double.h"

namespace candor::reward {

// The vectorised inner loops of TotalReward; compiled for several instruction sets, the best one is
// chosen at run time. Every outcome is computed by itself and nothing is contracted: the same bits
// on all of them, those of double_double.h.

// What one group adds to the total reward: w rm(x) and w times the rest of it.
struct Stakes {
  double size = 0;
  const double* reward = nullptr;  // [count], of size below 2^990, like `size`
  const double* rest = nullptr;    // [count], or none
};
// Numbers to 106 bits, or what is written over them.
struct Numbers {
  double* high;
  double* low;
};
struct ConstNumbers {
  const double* high;
  const double* low;
};

// Adds the stakes to `totals`. Returns whether every low part is 0, of stakes and totals.
[[nodiscard]] bool add_stakes(const Stakes& stakes, size_t count, const Numbers& totals);

// Writes `totals` less the stakes to `others`.
void subtract_stakes(const Stakes& stakes, size_t count, const ConstNumbers& totals,
                     const Numbers& others);

// The highest of some numbers. REQUIRES: count >= 1.
[[nodiscard]] DoubleDouble highest(size_t count, const Numbers& numbers);

// Turns numbers into what they lie below `top`. Returns whether every low part is 0, of numbers and
// differences.
[[nodiscard]] bool subtract_from(const DoubleDouble& top, size_t count, const Numbers& numbers);

}  // namespace candor::reward
