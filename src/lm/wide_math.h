#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace candor {

// exp and log of doubles without branches, so that loops over them vectorise: relative errors below
// 4e-16 (exp) and 3e-16 (log, absolute near 1). Internal to lm: callers are loops that the compiler
// makes several versions of (CANDOR_WIDE_CLONES).
#define CANDOR_WIDE_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))

namespace wide_detail {

inline constexpr double kLn2High = 6.93147180369123816490e-01;
inline constexpr double kLn2Low = 1.90821492927058770002e-10;

}  // namespace wide_detail

// e^x; 0 below -708 and about 1e308 above 709.
inline double wide_exp(double x) {
  static constexpr double kRound =
      6755399441055744.0;  // 1.5 * 2^52: adding it rounds to an integer
  const double clamped = std::max(std::min(x, 709.0), -708.0);  // NaN stays
  const double shifted = clamped * 1.44269504088896340736 + kRound;
  const double n = shifted - kRound;
  const double r = (clamped - n * wide_detail::kLn2High) - n * wide_detail::kLn2Low;
  double p = 1.0 / 6227020800.0;  // Taylor to r^13, |r| <= ln 2 / 2
  p = p * r + 1.0 / 479001600;
  p = p * r + 1.0 / 39916800;
  p = p * r + 1.0 / 3628800;
  p = p * r + 1.0 / 362880;
  p = p * r + 1.0 / 40320;
  p = p * r + 1.0 / 5040;
  p = p * r + 1.0 / 720;
  p = p * r + 1.0 / 120;
  p = p * r + 1.0 / 24;
  p = p * r + 1.0 / 6;
  p = p * r + 0.5;
  p = p * r * r + r;
  const auto exponent =
      std::bit_cast<uint64_t>(shifted) - std::bit_cast<uint64_t>(kRound) + uint64_t{1023};
  const double scale = std::bit_cast<double>(exponent << 52);
  return x < -708 ? 0.0 : scale + scale * p;
}

// log x for normal x > 0; -infinity for 0 and below.
inline double wide_log(double x) {
  // x = 2^k m with m in [sqrt(1/2), sqrt(2)), and log m = 2 atanh((m-1)/(m+1)).
  static constexpr uint64_t kRootHalf = 0x3fe6a09e00000000ULL;
  static constexpr uint64_t kOne = 0x3ff0000000000000ULL;
  static constexpr uint64_t kMantissa = 0x000fffffffffffffULL;
  const uint64_t shifted = std::bit_cast<uint64_t>(x) + (kOne - kRootHalf);
  const double k = std::bit_cast<double>((shifted >> 52) | 0x4330000000000000ULL) -
                   (4503599627370496.0 + 1023.0);
  const double m = std::bit_cast<double>((shifted & kMantissa) + kRootHalf);
  const double s = (m - 1) / (m + 1);
  const double z = s * s;
  double p = 2.0 / 21;
  p = p * z + 2.0 / 19;
  p = p * z + 2.0 / 17;
  p = p * z + 2.0 / 15;
  p = p * z + 2.0 / 13;
  p = p * z + 2.0 / 11;
  p = p * z + 2.0 / 9;
  p = p * z + 2.0 / 7;
  p = p * z + 2.0 / 5;
  p = p * z + 2.0 / 3;
  const double log_m = 2 * s + s * z * p;
  const double result = k * wide_detail::kLn2High + (log_m + k * wide_detail::kLn2Low);
  return x >= std::numeric_limits<double>::min() ? result
                                                 : -std::numeric_limits<double>::infinity();
}

// log(1 + y) for y >= 0 and e^x - 1, by Kahan's corrections of the rounded sums.
inline double wide_log1p(double y) {
  const double u = 1 + y;
  const double rounded = u - 1;
  return rounded == 0 ? y : wide_log(u) * (y / rounded);
}
inline double wide_expm1(double x) {
  const double u = wide_exp(x);
  const double difference = u - 1;
  const double log_u = wide_log(u);
  return difference == 0 ? x : u < 1e-300 ? -1.0 : difference * (x / log_u);
}

// Sums in eight lanes and a fixed order, so that a result does not depend on the vector width.
inline constexpr int64_t kWideLanes = 8;

}  // namespace candor
