#include "core/divergence.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"
#include "base/strings.h"
#include "core/divergence_law.h"
#include "core/sum.h"

namespace candor {

namespace law_detail {

// Lawrence, Corless and Jeffrey, "Complex double-precision evaluation of the Wright omega
// function", ACM TOMS 38(3), 2012: a first guess by region, then their fourth-order correction,
// twice.
double wright_omega(double z) {
  if (z < -700) return std::exp(z);
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

}  // namespace law_detail

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

double JeffreysLaw::difference(double ratio, double u) const {
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

DivergenceLaw law_of(const Divergence& divergence) {
  const double strength = divergence.regularization;
  switch (divergence.kind) {
    case DivergenceKind::kKl:
      return PowerLaw(1, strength);
    case DivergenceKind::kChi2:
      return PowerLaw(2, 2 * strength);
    case DivergenceKind::kReverseKl:
      return PowerLaw(0, strength);
    case DivergenceKind::kJs:
      return JensenShannonLaw(strength);
    case DivergenceKind::kHellinger:
      return PowerLaw(0.5, strength / 2);
    case DivergenceKind::kJeffreys:
      return JeffreysLaw(strength);
    case DivergenceKind::kAlpha:
      return PowerLaw(divergence.alpha, strength);
    case DivergenceKind::kTv:
      break;
  }
  CANDOR_CHECK(false, "tv has no strictly convex generator");
}

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// The generator of MATH 2 is the law's plus this multiple of r - 1.
double tilt(const Divergence& divergence) {
  if (divergence.kind == DivergenceKind::kKl) return divergence.regularization;
  if (divergence.kind == DivergenceKind::kReverseKl) return -divergence.regularization;
  return 0;
}

template <typename Function>
auto with_law(const Divergence& divergence, Function function) {
  return std::visit(function, law_of(divergence));
}

bool is_tv(const Divergence& divergence) { return divergence.kind == DivergenceKind::kTv; }

}  // namespace

double generator(const Divergence& divergence, double ratio) {
  const double strength = divergence.regularization;
  if (is_tv(divergence)) return strength * std::abs(ratio - 1);
  if (divergence.kind == DivergenceKind::kKl) {
    return ratio == 0 ? 0.0 : strength * ratio * std::log(ratio);
  }
  return with_law(divergence, [&](const auto& law) { return law.bregman(ratio, 1, ratio - 1); }) +
         tilt(divergence) * (ratio - 1);
}

double generator_slope(const Divergence& divergence, double ratio) {
  if (is_tv(divergence)) {
    return ratio == 1 ? 0 : std::copysign(divergence.regularization, ratio - 1);
  }
  return with_law(divergence, [&](const auto& law) { return law.top() - law.depth(ratio); }) +
         tilt(divergence);
}

double generator_curvature(const Divergence& divergence, double ratio) {
  if (is_tv(divergence)) return 0;
  return with_law(divergence, [&](const auto& law) { return law.curvature(ratio); });
}

double inverse_slope(const Divergence& divergence, double slope) {
  if (is_tv(divergence)) {
    if (slope < -divergence.regularization) return 0;
    return slope > divergence.regularization ? kInfinity : 1;
  }
  return with_law(divergence, [&](const auto& law) {
    return law.ratio(law.top() - (slope - tilt(divergence)));
  });
}

double slope_at_zero(const Divergence& divergence) {
  if (is_tv(divergence)) return -divergence.regularization;
  return with_law(divergence, [](const auto& law) { return law.top() - law.zero_depth(); });
}

double slope_at_infinity(const Divergence& divergence) {
  const double strength = divergence.regularization;
  switch (divergence.kind) {
    case DivergenceKind::kReverseKl:
      return 0;
    case DivergenceKind::kJs:
      return strength / 2 * std::log(2.0);
    case DivergenceKind::kHellinger:
    case DivergenceKind::kTv:
      return strength;
    case DivergenceKind::kAlpha:
      return divergence.alpha < 1 ? strength / (1 - divergence.alpha) : kInfinity;
    case DivergenceKind::kKl:
    case DivergenceKind::kChi2:
    case DivergenceKind::kJeffreys:
      break;
  }
  return kInfinity;
}

double conjugate(const Divergence& divergence, double slope) {
  if (slope > slope_at_infinity(divergence)) return kInfinity;
  if (is_tv(divergence)) return std::max(slope, -divergence.regularization);
  const double ratio = inverse_slope(divergence, slope);
  return with_law(divergence, [&](const auto& law) { return law.conjugate_at(ratio); }) +
         tilt(divergence);
}

double block_divergence(const Divergence& divergence, std::span<const double> model,
                        std::span<const double> initial) {
  CANDOR_CHECK(model.size() == initial.size());
  Sum sum;
  const auto add = [&](const auto& value) {
    for (size_t x = 0; x < model.size(); ++x) {
      sum.add(initial[x] * value(model[x] / initial[x], (model[x] - initial[x]) / initial[x]));
    }
  };
  if (is_tv(divergence)) {
    add([&](double, double d) { return divergence.regularization * std::abs(d); });
  } else {
    with_law(divergence, [&](const auto& law) {
      add([&](double ratio, double d) { return law.bregman(ratio, 1, d); });
    });
  }
  return sum.value();
}

Status check_divergence(const Divergence& divergence) {
  const double lambda = divergence.regularization;
  if (!(std::isfinite(lambda) && lambda > 0)) {
    return invalid_argument(
        str_cat("divergence.lambda: found ", lambda, "; expected a finite number above 0"));
  }
  const double order = divergence.alpha;
  const bool usable = std::isfinite(order) && order != 0 && order != 1;
  if (divergence.kind == DivergenceKind::kAlpha && !usable) {
    return invalid_argument(str_cat("divergence.alpha: found ", order,
                                    "; expected a finite number other than 0 and 1 (these limits "
                                    "are reverse_kl and kl)"));
  }
  return {};
}

const std::vector<std::string>& divergence_names() {
  static const std::vector<std::string> kNames = {"kl",        "chi2",     "reverse_kl", "js",
                                                  "hellinger", "jeffreys", "alpha",      "tv"};
  return kNames;
}

const std::string& divergence_name(DivergenceKind kind) {
  return divergence_names()[static_cast<size_t>(kind)];
}

}  // namespace candor
