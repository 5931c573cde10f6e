#include "base/fixed_point.h"

#include <algorithm>
#include <cmath>

#include "base/strings.h"

namespace candor {

Result<int64_t> to_fixed_point(double value) {
  static constexpr double kLimit = 0x1.0p30;
  if (!std::isfinite(value) || std::abs(value) >= kLimit) {
    return invalid_argument(
        str_cat("found ", value, "; a settled value must be finite and smaller than 2^30 in size"));
  }
  return static_cast<int64_t>(std::nearbyint(value * 0x1.0p32));  // the product is exact
}

double from_fixed_point(Int128 units) { return static_cast<double>(units) * 0x1.0p-32; }

std::string to_string(Int128 value) {
  if (value == 0) return "0";
  const bool negative = value < 0;
  auto rest = static_cast<Uint128>(value);
  if (negative) rest = -rest;
  std::string digits;
  while (rest != 0) {
    digits += static_cast<char>('0' + static_cast<int>(rest % 10));
    rest /= 10;
  }
  if (negative) digits += '-';
  std::reverse(digits.begin(), digits.end());
  return digits;
}

Result<Int128> parse_int128(std::string_view text) {
  const auto refuse = [&] {
    return invalid_argument(str_cat(
        "found ", quote(text), "; expected a whole number in decimal digits, at most 37 of them"));
  };
  static constexpr size_t kMaxDigits = 37;  // 10^37 < 2^127
  const bool negative = text.starts_with('-');
  const std::string_view digits = text.substr(negative ? 1 : 0);
  if (digits.empty() || digits.size() > kMaxDigits) return refuse();
  if (digits[0] == '0' && (digits.size() > 1 || negative)) return refuse();
  Int128 value = 0;
  for (const char digit : digits) {
    if (digit < '0' || digit > '9') return refuse();
    value = value * 10 + (digit - '0');
  }
  return negative ? -value : value;
}

}  // namespace candor
