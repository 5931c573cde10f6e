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

// a * b exactly.
inline DoubleDouble exact_product(double a, double b) {
  const double product = a * b;
  return {product, std::fma(a, b, -product)};
}

inline DoubleDouble operator+(const DoubleDouble& a, const DoubleDouble& b) {
  const DoubleDouble high = exact_sum(a.high, b.high);
  const DoubleDouble low = exact_sum(a.low, b.low);
  const DoubleDouble first = exact_sum(high.high, high.low + low.high);
  return exact_sum(first.high, first.low + low.low);
}
inline DoubleDouble operator-(const DoubleDouble& a) { return {-a.high, -a.low}; }
inline DoubleDouble operator-(const DoubleDouble& a, const DoubleDouble& b) { return a + -b; }
inline bool operator<(const DoubleDouble& a, const DoubleDouble& b) {
  return a.high < b.high || (a.high == b.high && a.low < b.low);
}

}  // namespace candor
