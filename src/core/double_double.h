#pragma once

#include <cmath>

namespace candor {

// A number as the unevaluated sum of two doubles, |low| <= half a unit in the last place of high:
// 106 bits. For totals of rewards, whose differences decide a model where sizes are large.
//
// Errors of the operations relative to the result's larger operand: 2^-104 for add and subtract,
// 2^-105 for the product of two doubles, which is exact where it neither over- nor underflows.
struct DoubleDouble {
  double high = 0;
  double low = 0;

  [[nodiscard]] double value() const { return high + low; }
};

// a + b exactly (Knuth 1969).
inline DoubleDouble exact_sum(double a, double b) {
  const double sum = a + b;
  const double shadow = sum - a;
  return {sum, (a - (sum - shadow)) + (b - shadow)};
}

// Two halves of 26 bits (Veltkamp 1968). REQUIRES: |a| < kLargestHalved.
inline constexpr double kLargestHalved = 0x1p990;
inline DoubleDouble halves(double a) {
  const double wide = (0x1p27 + 1) * a;
  const double high = wide - (wide - a);
  return {high, a - high};
}

// a * b exactly, of numbers below kLargestHalved, with the halves of a.
inline DoubleDouble product_by_halves(double a, const DoubleDouble& a_halves, double b) {
  const double product = a * b;
  const DoubleDouble b_halves = halves(b);
  return {product, (((a_halves.high * b_halves.high - product) + a_halves.high * b_halves.low) +
                    a_halves.low * b_halves.high) +
                       a_halves.low * b_halves.low};
}

// a * b exactly. By halves (Dekker 1971): a fused product is a call where the build has no
// instruction for it.
inline DoubleDouble exact_product(double a, double b) {
  const double product = a * b;
  if (!(std::abs(a) < kLargestHalved && std::abs(b) < kLargestHalved)) {
    return {product, std::fma(a, b, -product)};
  }
  return product_by_halves(a, halves(a), b);
}

inline DoubleDouble operator+(const DoubleDouble& a, const DoubleDouble& b) {
  const DoubleDouble high = exact_sum(a.high, b.high);
  const DoubleDouble low = exact_sum(a.low, b.low);
  const DoubleDouble first = exact_sum(high.high, high.low + low.high);
  return exact_sum(first.high, first.low + low.low);
}
inline DoubleDouble operator-(const DoubleDouble& a) { return {-a.high, -a.low}; }
inline DoubleDouble operator-(const DoubleDouble& a, const DoubleDouble& b) { return a + -b; }
// Sums whose low part is not brought below the high one's last place, for a third of the work: off
// by 2^-103 of the largest operand and, after k of them, by k 2^-105 more. Never to be compared.
inline DoubleDouble loose_sum(const DoubleDouble& a, const DoubleDouble& b) {
  const DoubleDouble high = exact_sum(a.high, b.high);
  return {high.high, high.low + (a.low + b.low)};
}
inline bool operator<(const DoubleDouble& a, const DoubleDouble& b) {
  return a.high < b.high || (a.high == b.high && a.low < b.low);
}

}  // namespace candor
