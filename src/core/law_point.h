#pragma once

#include <cmath>
#include <limits>

namespace candor {

// Where slopes are measured from. A slope t = f'(r) is given by its depth e = top - t:
//   kOne    top = 0, the slope at r = 1: e keeps its digits where all ratios are near 1
//   kPole   top = f'(inf), where that is finite: e keeps its digits where a ratio is large
enum class Anchor { kOne, kPole };

// One outcome's ratio at some depth, with what solving needs beside it.
struct LawPoint {
  double ratio = 0;   // r = (f')^{-1}(top - e); infinity at and beyond the pole
  double excess = 0;  // r - 1, to full relative accuracy under Anchor::kOne
  // 1/(r f''(r)), minus the derivative of log r in e; 0 where r is clipped at 0. Not of r: that can
  // overflow where p0 r does not.
  double reach = 0;
};

// r_to - r_from, from whichever of the two keeps its digits.
inline double ratio_change(const LawPoint& to, const LawPoint& from) {
  const bool near = std::abs(to.excess) < 0.5 && std::abs(from.excess) < 0.5;
  return near ? to.excess - from.excess : to.ratio - from.ratio;
}

namespace law_detail {

inline constexpr double kInfinity = std::numeric_limits<double>::infinity();

// (e^{bx} - 1)/b, and x at b = 0: the Box-Cox power of e^x.
inline double box_cox(double x, double b) { return b == 0 ? x : std::expm1(b * x) / b; }

// Its inverse in x: log(1 + b y)/b; -+infinity where 1 + b y <= 0.
inline double inverse_box_cox(double y, double b) {
  if (b == 0) return y;
  if (1 + b * y <= 0) return b > 0 ? -kInfinity : kInfinity;
  return std::log1p(b * y) / b;
}

// expm1(-y) + y >= 0 without cancellation.
inline double phi(double y) {
  if (std::abs(y) > 1e-2) return std::expm1(-y) + y;
  // y^2/2 - y^3/6 + ...: seven terms leave 1e-18 of the first at |y| = 1e-2.
  double term = y * y / 2;
  double sum = 0;
  for (int k = 3; k <= 9; ++k) {
    sum += term;
    term *= -y / k;
  }
  return sum;
}

// e^x and e^x - 1 by one call.
struct ExpPair {
  double value, excess;
};
inline ExpPair exp_pair(double x) {
  if (std::abs(x) < 0.3) {
    const double excess = std::expm1(x);
    return {1 + excess, excess};
  }
  const double value = std::exp(x);
  return {value, value - 1};
}

// The Bregman divergence of order a between q and 1 at unit strength, q > 0, d = q - 1:
//   (q^a - 1 - a d) / (a (a-1)),   q log q - d at a = 1,   d - log q at a = 0.
[[nodiscard]] double unit_bregman(double q, double d, double order);

// Wright's omega on the real line: w + log w = z.
[[nodiscard]] double wright_omega(double z);

}  // namespace law_detail

}  // namespace candor
