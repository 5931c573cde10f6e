#include "core/divergence.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"
#include "base/strings.h"
#include "core/divergence_law.h"
#include "core/sum.h"

namespace candor {

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
  return with_law(divergence,
                  [&](const auto& law) {
                    const double depth = law.top() - (slope - tilt(divergence));
                    return law.conjugate(law.at(depth), depth);
                  }) +
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
