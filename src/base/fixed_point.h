#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace candor {

// Money and settlement are integers in units of 2^-32 (MATH 4). Sums are 128 bits wide.
__extension__ typedef __int128 Int128;
__extension__ typedef unsigned __int128 Uint128;

inline constexpr int64_t kFixedPointOne = int64_t{1} << 32;
// Values and divergences stay below this; so sums over 2^31 agents x 2^32 fit 128 bits easily.
inline constexpr int64_t kFixedPointLimit = int64_t{1} << 62;

// `value` in units of 2^-32, rounded to nearest, ties to even.
// Errors: kInvalidArgument when not finite or at least 2^30 in size.
Result<int64_t> to_fixed_point(double value);

[[nodiscard]] double from_fixed_point(Int128 units);

[[nodiscard]] std::string to_string(Int128 value);

// A whole decimal number: optional '-', digits without leading zeros, nothing else; "-0" is
// refused. Errors: kInvalidArgument with the text found (no location: the caller adds it).
Result<Int128> parse_int128(std::string_view text);

}  // namespace candor
