#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

#include "base/result.h"

namespace candor {

// The one reader of numbers that come from outside as text (flags, "FOLDER=WEIGHT", columns of a
// file), and the words for what is allowed, which every other reader of numbers shares.

// Finite numbers from `low` to `high`; without `low` itself where `above_low`.
struct NumberRange {
  double low = -std::numeric_limits<double>::max();
  double high = std::numeric_limits<double>::max();
  bool above_low = false;

  [[nodiscard]] constexpr bool holds(double value) const {
    return (above_low ? value > low : value >= low) && value <= high;  // never of NaN
  }
  // "a number from 0 to 100", "a number above 0", "a finite number".
  [[nodiscard]] std::string text() const;
};

// Finite numbers above 0.
inline constexpr NumberRange kPositive = {.low = 0, .above_low = true};
// 0 and above.
inline constexpr NumberRange kNotNegative = {.low = 0};

// Steps, records, bytes: counts that need only some bound; exact in a double.
inline constexpr double kLargestCount = 0x1.0p40;

// "a whole number from 1 to 1024".
[[nodiscard]] std::string whole_range_text(int64_t low, int64_t high);

// Seeds of random numbers are whole numbers from 0 to this: what files and stages can hold too.
inline constexpr int64_t kLargestSeed = std::numeric_limits<int64_t>::max();

// The whole text as one decimal number: no spaces, no "nan" or "inf", nothing that a double
// rounds to infinity or, other than zero, to 0. -0 is 0.
// Errors: kInvalidArgument: "found TEXT; expected RANGE".
Result<double> parse_number(std::string_view text, const NumberRange& range = {});
// The same of digits with a sign at most. REQUIRES: low <= high.
Result<int64_t> parse_whole(std::string_view text, int64_t low, int64_t high);

}  // namespace candor
