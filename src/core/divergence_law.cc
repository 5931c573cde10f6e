#include "core/divergence_law.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace candor {

namespace law_detail {

// Lawrence, Corless and Jeffrey, "Complex double-precision evaluation of the Wright omega
// function", ACM TOMS 38(3), 2012: a first guess by region, then their fourth-order correction,
// twice.
double wright_omega(double z) {
  if (z < -700) return std::exp(z);
  if (z > 1e30) return z - std::log(z);  // the correction below squares z
  double w = z < -2 ? std::exp(z) : z > 1 + 3.141592653589793 ? z - std::log(z) : 0.0;
  if (w == 0) {  // Taylor around z = 1, where omega = 1
    const double x = z - 1;
    w = 1 + x / 2 + x * x / 16 - x * x * x / 192;
    w = std::max(w, 1e-3);
  }
  for (int step = 0; step < 3; ++step) {
    const double residual = z - w - std::log(w);
    const double slope = 1 + w;
    const double inner = 2 * slope * (slope + 2 * residual / 3);
    w *= 1 + residual / slope * (inner - residual) / (inner - 2 * residual);
  }
  return w;
}

double unit_bregman(double q, double d, double order) {
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

}  // namespace law_detail

LawPoint PowerLaw::at_edge(const DoubleDouble& depth) const {
  // 1 - (a-1)e/L, every step but the last exact.
  const double factor = order_ - 1;
  DoubleDouble product = exact_product(factor, depth.high);
  product.low += factor * depth.low;
  const double quotient = product.high / strength_;
  const double rest = (std::fma(-quotient, strength_, product.high) + product.low) / strength_;
  const DoubleDouble power = exact_sum(1, -quotient);
  const double value = power.high + (power.low - rest);
  if (value <= 0) return beyond();
  const double x = std::abs(quotient) < 0.5 ? std::log1p(-quotient - rest) : std::log(value);
  const auto [ratio, excess] = law_detail::exp_pair(x / factor);
  return {ratio, excess, 1 / (strength_ * value)};
}

double PowerLaw::bregman(double to, double from, double d) const {
  if (order_ == 2) return strength_ / 2 * d * d;
  if (from == 0) return bregman_at_zero(to, zero_depth());
  if (to == 0) {
    return order_ > 0 ? strength_ * std::pow(from, order_) / order_ : law_detail::kInfinity;
  }
  return strength_ * std::pow(from, order_) * law_detail::unit_bregman(to / from, d / from, order_);
}

// f(to) - f(0) - t to at the slope t = top - depth, which lies below f'(0) where 0 is clipped and
// above it where r has underflowed. Two ways to write it: around f'(0) = -L/(a-1), which is far
// away where a is close to 1, and by a f(r) = r f'(r) - L (r - 1).
double PowerLaw::bregman_at_zero(double to, double depth) const {
  if (to == 0) return 0;
  static constexpr double kFarZero = 1.5;
  if (order_ >= kFarZero) {
    return strength_ * std::pow(to, order_) / (order_ * (order_ - 1)) + (depth - zero_depth()) * to;
  }
  const double slope_to = top_ - this->depth(to);
  const double slope = top_ - depth;
  return std::max(0.0, to * ((slope_to - strength_) / order_ - slope));
}

double JensenShannonLaw::difference(const LawPoint& point, double u) const {
  const double ratio = point.ratio;
  const double lift = std::expm1(u / half_);
  const double rest = 1 - ratio * lift;
  return rest > 0 ? ratio * (1 + ratio) * lift / rest : law_detail::kInfinity;
}

double JensenShannonLaw::bregman_at_zero(double to, double depth) const {
  if (to == 0) return 0;
  return bregman(to, 1, to - 1) - bregman(0, 1, -1) + (depth - top_) * to;
}

double JensenShannonLaw::bregman(double to, double from, double d) const {
  if (from == 0) return to == 0 ? 0 : law_detail::kInfinity;
  if (std::abs(d) < 0.1 * from) {
    // d^2 int_0^1 (1-h) f''(from + h d) dh by Gauss's five points: the pole is 20 half-widths away.
    static constexpr double kNodes[] = {0.046910077030668004, 0.23076534494715845, 0.5,
                                        0.7692346550528415, 0.953089922969332};
    static constexpr double kWeights[] = {0.11846344252809454, 0.23931433524968324,
                                          0.28444444444444444, 0.23931433524968324,
                                          0.11846344252809454};
    double sum = 0;
    for (int i = 0; i < 5; ++i) {
      sum += kWeights[i] * (1 - kNodes[i]) * curvature(from + kNodes[i] * d);
    }
    return d * d * sum;
  }
  const double mass_change = std::log1p(d / (1 + from));
  if (to == 0) return -half_ * mass_change;
  const double log_ratio =
      std::abs(d) < 0.5 * from ? std::log1p(d / from) : std::log(to) - std::log(from);
  return half_ * (to * (log_ratio - mass_change) - mass_change);
}

LawPoint JeffreysLaw::at(double depth) const {
  const double slope = -depth / strength_;
  if (std::abs(slope) < 0.5) {
    // x + 1 - e^{-x} = slope, x = log r: the series of x, then Newton; everything vanishes with it.
    double x = slope * (0.5 + slope / 16);
    for (int step = 0; step < 3; ++step) {
      const double fall = std::expm1(-x);
      x += (slope - x + fall) / (2 + fall);
    }
    const double excess = std::expm1(x);
    const double ratio = 1 + excess;
    return {ratio, excess, ratio / (strength_ * (1 + ratio))};
  }
  const double ratio = 1 / law_detail::wright_omega(1 - slope);
  return {ratio, ratio - 1, ratio / (strength_ * (1 + ratio))};
}

double JeffreysLaw::conjugate(const LawPoint& point, double /*depth*/) const {
  const double log =
      std::abs(point.excess) < 0.5 ? std::log1p(point.excess) : std::log(point.ratio);
  return strength_ * (point.excess + log);
}

double JeffreysLaw::bregman(double to, double from, double d) const {
  if (to == 0 || from == 0) return law_detail::kInfinity;
  return strength_ * (from * law_detail::unit_bregman(to / from, d / from, 1) +
                      law_detail::unit_bregman(to / from, d / from, 0));
}

// A ratio 1/omega only underflows where its depth overflows.
double JeffreysLaw::bregman_at_zero(double to, double /*depth*/) const {
  return bregman(to, 0, to);
}

double JeffreysLaw::difference(const LawPoint& point, double u) const {
  const double ratio = point.ratio;
  // x + (1 - e^{-x})/r = u/L. The left side is concave and increasing, so after one step Newton
  // comes from below monotonically.
  const double target = u / strength_;
  double x = target >= 0 ? target / (1 + 1 / ratio) : -std::log1p(-target * ratio / (1 + ratio));
  for (int step = 0; step < 60; ++step) {
    const double slope = 1 + std::exp(-x) / ratio;
    const double move = (target - x + std::expm1(-x) / ratio) / slope;
    x += move;
    if (std::abs(move) <= 1e-16 * std::abs(x)) break;
  }
  return ratio * std::expm1(x);
}

namespace {

// Where to measure depth from when nothing is known of the ratios: near a = 1 the pole L/(1-a) is
// too far away.
Anchor default_anchor(const Divergence& divergence) {
  static constexpr double kFarPole = 0.9;
  const bool close = divergence.kind != DivergenceKind::kAlpha || divergence.alpha < kFarPole;
  return std::isfinite(slope_at_infinity(divergence)) && close ? Anchor::kPole : Anchor::kOne;
}

}  // namespace

DivergenceLaw law_of(const Divergence& divergence) {
  return law_of(divergence, default_anchor(divergence));
}

DivergenceLaw law_of(const Divergence& divergence, Anchor anchor) {
  const double strength = divergence.regularization;
  switch (divergence.kind) {
    case DivergenceKind::kKl:
      return PowerLaw(1, strength, Anchor::kOne);
    case DivergenceKind::kChi2:
      return PowerLaw(2, 2 * strength, Anchor::kOne);
    case DivergenceKind::kReverseKl:
      return PowerLaw(0, strength, anchor);
    case DivergenceKind::kJs:
      return JensenShannonLaw(strength, anchor);
    case DivergenceKind::kHellinger:
      return PowerLaw(0.5, strength / 2, anchor);
    case DivergenceKind::kJeffreys:
      return JeffreysLaw(strength);
    case DivergenceKind::kAlpha:
      return PowerLaw(divergence.alpha, strength, divergence.alpha < 1 ? anchor : Anchor::kOne);
    case DivergenceKind::kTv:
      break;
  }
  CANDOR_CHECK(false, "tv has no strictly convex generator");
}

Anchor anchor_for(const Divergence& divergence, double largest_slope, double largest_ratio) {
  const auto slope_of = [&](const auto& law) { return -law.depth(largest_ratio); };
  const double by_ratio = std::visit(slope_of, law_of(divergence, Anchor::kOne));
  // The law's slopes count from f'(1) = 0.
  const double pole =
      std::visit([](const auto& law) { return law.top(); }, law_of(divergence, Anchor::kPole));
  return pole > 0 && std::min(largest_slope, by_ratio) > pole / 2 ? Anchor::kPole : Anchor::kOne;
}

}  // namespace candor
