#pragma once

#include <algorithm>
#include <cmath>
#include <variant>

#include "core/divergence.h"
#include "core/double_double.h"
#include "core/law_point.h"

namespace candor {

// The strictly convex generators of MATH 2 in the form that solvers use: shifted by a multiple of
// r - 1 so that f(1) = f'(1) = 0, which changes neither D_f nor any optimum. Every law has
//
//   top(), has_pole()     where depth is measured from
//   depth(r)              top - f'(r), r > 0
//   zero_depth()          top - f'(0+): from here on the ratio is 0; infinity where it never is
//   at(e), ratio(e)       the ratio at a depth, a double or, where exact_depth(), to 106 bits
//   curvature(r)          f''(r), r > 0
//   conjugate(at(e), e)   f*(top - e) = r f'(r) - f(r); of r = 0: -f(0)
//   conjugate_scale()     s: rounding adds at most a few units of s |r - 1| (s max(1, r) under
//                         kPole) and of |f*| to it
//   steep_at_zero()       whether f*(f'(r)) is unbounded at r -> 0 like a power of r
//   by_power()            whether r comes from a power or an exponential of a quotient
//   moment_bound(a)       a bound of sum p0 r^2 f''(r) over a model of mass about 1,
//                         a = sum p0 |f*|
//   difference(p, u)      (f')^{-1}(f'(r) + u) - r to full relative accuracy, r > 0
//   bregman(to, from, d)  f(to) - f(from) - f'(from)(to - from), d = to - from given accurately
//                         (also where from = 0 is clipped)
//   bregman_at_zero(to, e)  the same where `from` is clipped or has underflowed, at its depth e
//   safe_step(p)          slopes that differ by less leave r within a factor of two and short of
//                         the pole

// f = L (r^a - a r - (1-a)) / (a (a-1)) with its limits at a = 1 and 0:
// kl (a = 1), chi2 (a = 2, twice the strength), reverse_kl (a = 0), hellinger (a = 1/2, half the
// strength) and alpha. f' = L box_cox(log r, a-1). With w = r^{a-1} = 1 - (a-1)e/L (kOne) or e/top
// (kPole) nothing but r itself needs a power.
class PowerLaw {
 public:
  PowerLaw(double order, double strength, Anchor anchor)
      : order_(order),
        strength_(strength),
        top_(anchor == Anchor::kPole ? strength / (1 - order) : 0),
        pole_(anchor == Anchor::kPole) {}

  [[nodiscard]] bool has_pole() const { return pole_; }
  [[nodiscard]] double top() const { return top_; }
  [[nodiscard]] double depth(double ratio) const {
    if (pole_) return top_ * std::pow(ratio, order_ - 1);
    return -strength_ * law_detail::box_cox(std::log(ratio), order_ - 1);
  }
  [[nodiscard]] double zero_depth() const {
    return order_ > 1 ? strength_ / (order_ - 1) : law_detail::kInfinity;
  }
  [[nodiscard]] LawPoint at(double depth) const { return pole_ ? at_pole(depth) : at_one(depth); }
  // For a > 2 small ratios depend on 1 - (a-1)e/L far below its rounding.
  [[nodiscard]] bool exact_depth() const { return order_ > 2; }
  [[nodiscard]] LawPoint at(const DoubleDouble& depth) const {
    return exact_depth() ? at_edge(depth) : at(depth.high);
  }
  [[nodiscard]] double ratio(double depth) const { return at(depth).ratio; }
  [[nodiscard]] double curvature(double ratio) const {
    if (order_ == 2) return strength_;
    return strength_ * std::pow(ratio, order_ - 2);
  }
  [[nodiscard]] double conjugate(const LawPoint& point, double depth) const {
    if (order_ == 1) return strength_ * point.excess;
    if (order_ == 2) return strength_ / 2 * point.excess * (point.ratio + 1);
    if (point.ratio == 0 && order_ > 0) return -strength_ / order_;
    if (std::abs(order_) < kNearZero) {
      const double log = depth == 0 ? std::log(point.ratio) : log_of(depth);
      return strength_ * law_detail::box_cox(log, order_);
    }
    if (pole_) return strength_ / order_ * (point.ratio * (depth / top_) - 1);
    const double lift = (1 - order_) * depth / strength_;  // r^{a-1} - 1
    return strength_ / order_ * (point.excess + lift * point.ratio);
  }
  [[nodiscard]] double conjugate_scale() const {
    return strength_ / std::max(std::abs(order_), kNearZero);
  }
  [[nodiscard]] bool steep_at_zero() const { return order_ < 0; }
  [[nodiscard]] bool by_power() const {
    return order_ != 0 && order_ != 0.5 && order_ != 1 && order_ != 2;
  }
  // r^2 f'' = L r^a = L + a f*.
  [[nodiscard]] double moment_bound(double conjugates) const {
    return strength_ + std::abs(order_) * conjugates;
  }
  [[nodiscard]] double difference(const LawPoint& point, double u) const {
    if (order_ == 1) return point.ratio * std::expm1(u / strength_);
    if (order_ == 2) return std::max(-point.ratio, u / strength_);
    const double log_change = law_detail::inverse_box_cox(u * point.reach, order_ - 1);
    return point.ratio * std::expm1(log_change);
  }
  [[nodiscard]] double bregman(double to, double from, double d) const;
  [[nodiscard]] double bregman_at_zero(double to, double depth) const;
  [[nodiscard]] double safe_step(const LawPoint& point) const {
    if (point.ratio == 0) return 0;
    return 0.25 / (point.reach * (1 + std::abs(order_)));
  }

 private:
  static constexpr double kNearZero = 0.1;  // closer to a = 0 a power of r cancels against 1

  // log r.
  [[nodiscard]] double log_of(double depth) const {
    if (pole_) return std::log(top_ / depth) / (1 - order_);
    return law_detail::inverse_box_cox(-depth / strength_, order_ - 1);
  }
  [[nodiscard]] LawPoint at_one(double depth) const {
    const double slope = -depth / strength_;
    if (order_ == 1) {
      const auto [value, excess] = law_detail::exp_pair(slope);
      return {value, excess, 1 / strength_};
    }
    if (order_ == 2) {
      if (!(slope > -1)) return beyond();
      return {1 + slope, slope, 1 / ((1 + slope) * strength_)};
    }
    const double lift = (order_ - 1) * slope;  // r^{a-1} - 1
    const double power = 1 + lift;
    if (power <= 0) return beyond();
    if (order_ == 0) return {1 / power, -lift / power, 1 / (power * strength_)};
    if (order_ == 0.5) {
      const double square = power * power;
      return {1 / square, -lift * (2 + lift) / square, 1 / (power * strength_)};
    }
    const auto [value, excess] = law_detail::exp_pair(std::log1p(lift) / (order_ - 1));
    return {value, excess, 1 / (strength_ * power)};
  }
  [[nodiscard]] LawPoint at_edge(const DoubleDouble& depth) const;
  [[nodiscard]] LawPoint at_pole(double depth) const {
    if (!(depth > 0)) return beyond();
    const double inverse = top_ / depth;  // r^{1-a}
    const double ratio = order_ == 0     ? inverse
                         : order_ == 0.5 ? inverse * inverse
                                         : std::pow(inverse, 1 / (1 - order_));
    return {ratio, ratio - 1, inverse / strength_};
  }
  // Clipped at 0 (a > 1), or at the pole and beyond (a < 1).
  [[nodiscard]] LawPoint beyond() const {
    if (order_ > 1) return {0, -1, 0};
    return {law_detail::kInfinity, law_detail::kInfinity, law_detail::kInfinity};
  }

  double order_;
  double strength_;
  double top_;
  bool pole_;
};

// f = (L/2)[r log r - (r+1) log((r+1)/2)], f' = (L/2) log(2r/(r+1)): pole (L/2) log 2.
class JensenShannonLaw {
 public:
  JensenShannonLaw(double strength, Anchor anchor)
      : half_(strength / 2),
        top_(anchor == Anchor::kPole ? half_ * std::log(2.0) : 0),
        pole_(anchor == Anchor::kPole) {}

  [[nodiscard]] bool has_pole() const { return pole_; }
  [[nodiscard]] double top() const { return top_; }
  [[nodiscard]] double depth(double ratio) const {
    if (pole_) return half_ * std::log1p(1 / ratio);
    return half_ * std::log1p((1 - ratio) / (2 * ratio));
  }
  [[nodiscard]] double zero_depth() const { return law_detail::kInfinity; }
  [[nodiscard]] LawPoint at(double depth) const {
    if (pole_) {
      if (!(depth > 0)) return beyond();
      const double ratio = 1 / std::expm1(depth / half_);
      return {ratio, ratio - 1, (1 + ratio) / half_};
    }
    const auto [value, excess] = law_detail::exp_pair(-depth / half_);
    const double rest = 1 - excess;  // 2 - e^{t/half}
    if (!(rest > 0)) return beyond();
    const double ratio = value / rest;
    return {ratio, 2 * excess / rest, (1 + ratio) / half_};
  }
  [[nodiscard]] bool exact_depth() const { return false; }
  [[nodiscard]] LawPoint at(const DoubleDouble& depth) const { return at(depth.high); }
  [[nodiscard]] double ratio(double depth) const { return at(depth).ratio; }
  [[nodiscard]] double curvature(double ratio) const { return half_ / (ratio * (1 + ratio)); }
  [[nodiscard]] double conjugate(const LawPoint& point, double /*depth*/) const {
    return half_ * std::log1p(point.excess / 2);
  }
  [[nodiscard]] double conjugate_scale() const { return half_; }
  [[nodiscard]] bool steep_at_zero() const { return false; }
  [[nodiscard]] bool by_power() const { return false; }
  [[nodiscard]] double moment_bound(double /*conjugates*/) const { return half_; }
  [[nodiscard]] double difference(const LawPoint& point, double u) const;
  [[nodiscard]] double bregman(double to, double from, double d) const;
  [[nodiscard]] double bregman_at_zero(double to, double depth) const;
  [[nodiscard]] double safe_step(const LawPoint& point) const { return 0.25 / point.reach; }

 private:
  static LawPoint beyond() {
    return {law_detail::kInfinity, law_detail::kInfinity, law_detail::kInfinity};
  }

  double half_;
  double top_;
  bool pole_;
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
  [[nodiscard]] LawPoint at(double depth) const;
  [[nodiscard]] bool exact_depth() const { return false; }
  [[nodiscard]] LawPoint at(const DoubleDouble& depth) const { return at(depth.high); }
  [[nodiscard]] double ratio(double depth) const { return at(depth).ratio; }
  [[nodiscard]] double curvature(double ratio) const {
    return strength_ * (1 / ratio + 1 / (ratio * ratio));
  }
  [[nodiscard]] double conjugate(const LawPoint& point, double depth) const;
  [[nodiscard]] double conjugate_scale() const { return 2 * strength_; }
  [[nodiscard]] bool steep_at_zero() const { return false; }
  [[nodiscard]] bool by_power() const { return false; }
  [[nodiscard]] double moment_bound(double /*conjugates*/) const { return 3 * strength_; }
  [[nodiscard]] double difference(const LawPoint& point, double u) const;
  [[nodiscard]] double bregman(double to, double from, double d) const;
  [[nodiscard]] double bregman_at_zero(double to, double depth) const;
  [[nodiscard]] double safe_step(const LawPoint& point) const { return 0.25 / point.reach; }

 private:
  double strength_;
};

using DivergenceLaw = std::variant<PowerLaw, JensenShannonLaw, JeffreysLaw>;

// REQUIRES: not tv, which has no strictly convex generator. kPole means kOne for a law without one.
// Without an anchor: the pole where there is one close by, for all ratios alike.
[[nodiscard]] DivergenceLaw law_of(const Divergence& divergence, Anchor anchor);
[[nodiscard]] DivergenceLaw law_of(const Divergence& divergence);

// The anchor that keeps the digits of a problem in which no slope exceeds `largest_slope` >= 0 and
// no ratio `largest_ratio`.
[[nodiscard]] Anchor anchor_for(const Divergence& divergence, double largest_slope,
                                double largest_ratio);

}  // namespace candor
