#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <variant>

#include "core/divergence.h"

namespace candor {

// The strictly convex generators of MATH 2 in the form that solvers use: shifted by a multiple of
// r - 1 so that f(1) = f'(1) = 0, which changes neither D_f nor any optimum. A slope t is given by
// its depth e = top - t below `top`, which is the pole f'(inf) where there is one (1 + t/L would
// lose its digits there) and 0 elsewhere. Every law has
//
//   top(), has_pole()           where depth is measured from
//   depth(r)                    top - f'(r), r > 0
//   zero_depth()                top - f'(0+): from here on the ratio is 0; infinity where it never
//   is ratio(e)                    (f')^{-1}(top - e); infinity at and beyond the pole curvature(r)
//   f''(r), r > 0 conjugate_at(r)             f*(f'(r)); of r = 0: -f(0) difference(r, u)
//   (f')^{-1}(f'(r) + u) - r to full relative accuracy, r > 0 bregman(to, from, d)        f(to) -
//   f(from) - f'(from)(to - from), d = to - from given accurately
//                               (also where from = 0 is clipped)

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

// The Bregman divergence of order a between q and 1 at unit strength, q > 0, d = q - 1:
//   (q^a - 1 - a d) / (a (a-1)),   q log q - d at a = 1,   d - log q at a = 0.
inline double unit_bregman(double q, double d, double order) {
  if (std::abs(d) * std::max(2.0, std::abs(order - 2)) < 0.1) {
    // sum_k binomial(a-2, k) d^{k+2} / ((k+1)(k+2)): no cancellation.
    double power = d * d;
    double sum = 0;
    for (int k = 0; k < 40; ++k) {
      const double term = power / ((k + 1.0) * (k + 2.0));
      sum += term;
      if (std::abs(term) <= 1e-18 * std::abs(sum)) break;
      power *= d * (order - 2 - k) / (k + 1.0);
    }
    return sum;
  }
  const double x = d < -0.5 ? std::log(q) : std::log1p(d);
  if (std::abs(order - 1) <= std::abs(order)) {
    return (q * box_cox(x, order - 1) - d) / order;
  }
  return (box_cox(x, order) - d) / (order - 1);
}

// Wright's omega on the real line: w + log w = z.
[[nodiscard]] double wright_omega(double z);

}  // namespace law_detail

// f = L (r^a - a r - (1-a)) / (a (a-1)) with its limits at a = 1 and 0:
// kl (a = 1), chi2 (a = 2, twice the strength), reverse_kl (a = 0), hellinger (a = 1/2, half the
// strength) and alpha. f' = L box_cox(log r, a-1).
class PowerLaw {
 public:
  PowerLaw(double order, double strength) : order_(order), strength_(strength) {}

  // Close to a = 1 the pole L/(1-a) is so far away that measuring from it would cost digits.
  [[nodiscard]] bool has_pole() const { return order_ < 0.9; }
  [[nodiscard]] double top() const { return has_pole() ? strength_ / (1 - order_) : 0; }
  [[nodiscard]] double depth(double ratio) const {
    if (has_pole()) return top() * std::pow(ratio, order_ - 1);
    return -strength_ * law_detail::box_cox(std::log(ratio), order_ - 1);
  }
  [[nodiscard]] double zero_depth() const {
    return order_ > 1 ? strength_ / (order_ - 1) : law_detail::kInfinity;
  }
  [[nodiscard]] double ratio(double depth) const {
    if (order_ == 2) return std::max(0.0, 1 - depth / strength_);
    if (!has_pole()) {
      return std::exp(law_detail::inverse_box_cox(-depth / strength_, order_ - 1));
    }
    if (!(depth > 0)) return law_detail::kInfinity;
    const double relative = top() / depth;  // r^{1-a}
    if (order_ == 0) return relative;
    if (order_ == 0.5) return relative * relative;
    return std::pow(relative, 1 / (1 - order_));
  }
  [[nodiscard]] double curvature(double ratio) const {
    if (order_ == 2) return strength_;
    return strength_ * std::pow(ratio, order_ - 2);
  }
  [[nodiscard]] double conjugate_at(double ratio) const {
    if (ratio == 0) return order_ > 0 ? -strength_ / order_ : -law_detail::kInfinity;
    return strength_ * law_detail::box_cox(std::log(ratio), order_);
  }
  [[nodiscard]] double difference(double ratio, double u) const {
    const double scaled = u / (strength_ * std::pow(ratio, order_ - 1));
    return ratio * std::expm1(law_detail::inverse_box_cox(scaled, order_ - 1));
  }
  [[nodiscard]] double bregman(double to, double from, double d) const {
    if (from == 0) return strength_ * std::pow(to, order_) / (order_ * (order_ - 1));  // a > 1
    if (to == 0) {
      return order_ > 0 ? strength_ * std::pow(from, order_) / order_ : law_detail::kInfinity;
    }
    return strength_ * std::pow(from, order_) *
           law_detail::unit_bregman(to / from, d / from, order_);
  }

 private:
  double order_;
  double strength_;
};

// f = (L/2)[r log r - (r+1) log((r+1)/2)], f' = (L/2) log(2r/(r+1)): pole (L/2) log 2.
class JensenShannonLaw {
 public:
  explicit JensenShannonLaw(double strength) : half_(strength / 2) {}

  [[nodiscard]] bool has_pole() const { return true; }
  [[nodiscard]] double top() const { return half_ * std::log(2.0); }
  [[nodiscard]] double depth(double ratio) const { return half_ * std::log1p(1 / ratio); }
  [[nodiscard]] double zero_depth() const { return law_detail::kInfinity; }
  [[nodiscard]] double ratio(double depth) const {
    return depth > 0 ? 1 / std::expm1(depth / half_) : law_detail::kInfinity;
  }
  [[nodiscard]] double curvature(double ratio) const { return half_ / (ratio * (1 + ratio)); }
  [[nodiscard]] double conjugate_at(double ratio) const {
    return half_ * std::log1p((ratio - 1) / 2);
  }
  [[nodiscard]] double difference(double ratio, double u) const {
    const double lift = std::expm1(u / half_);
    const double rest = 1 - ratio * lift;
    return rest > 0 ? ratio * (1 + ratio) * lift / rest : law_detail::kInfinity;
  }
  [[nodiscard]] double bregman(double to, double from, double d) const;

 private:
  double half_;
};

// f = L (r-1) log r, f' = L (log r + 1 - 1/r). No pole: the inverse slope is 1/omega(1 - t/L).
class JeffreysLaw {
 public:
  explicit JeffreysLaw(double strength) : strength_(strength) {}

  [[nodiscard]] bool has_pole() const { return false; }
  [[nodiscard]] double top() const { return 0; }
  [[nodiscard]] double depth(double ratio) const {
    return -strength_ * (std::log(ratio) + 1 - 1 / ratio);
  }
  [[nodiscard]] double zero_depth() const { return law_detail::kInfinity; }
  [[nodiscard]] double ratio(double depth) const {
    return 1 / law_detail::wright_omega(1 + depth / strength_);
  }
  [[nodiscard]] double curvature(double ratio) const {
    return strength_ * (1 / ratio + 1 / (ratio * ratio));
  }
  [[nodiscard]] double conjugate_at(double ratio) const {
    return strength_ * (ratio - 1 + std::log(ratio));
  }
  [[nodiscard]] double difference(double ratio, double u) const;
  [[nodiscard]] double bregman(double to, double from, double d) const {
    if (to == 0 || from == 0) return law_detail::kInfinity;
    return strength_ * (from * law_detail::unit_bregman(to / from, d / from, 1) +
                        law_detail::unit_bregman(to / from, d / from, 0));
  }

 private:
  double strength_;
};

// Ratios below this have lost digits, or all of them; their slopes have not.
inline constexpr double kRatioUnderflow = 1e-280;

// f(to) - f(from) - t (to - from), where t = top - depth_from is the slope that `from` solves: it
// lies below f'(0) where `from` is clipped, and tells more than `from` where that underflows.
// `d` = to - from, given accurately. >= 0.
template <typename Law>
double bregman_at_depth(const Law& law, double to, double from, double d, double depth_from) {
  if (from > kRatioUnderflow) return law.bregman(to, from, d);
  if (to == 0) return 0;
  if (std::isfinite(law.zero_depth())) {
    return law.bregman(to, 0, to) + std::max(0.0, depth_from - law.zero_depth()) * to;
  }
  return law.bregman(to, 1, to - 1) - law.bregman(0, 1, -1) + (depth_from - law.top()) * to;
}

using DivergenceLaw = std::variant<PowerLaw, JensenShannonLaw, JeffreysLaw>;

// REQUIRES: not tv, which has no strictly convex generator.
[[nodiscard]] DivergenceLaw law_of(const Divergence& divergence);

}  // namespace candor
