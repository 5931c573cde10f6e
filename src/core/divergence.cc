#include "core/divergence.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"
#include "core/sum.h"

namespace candor {

double generator(const Divergence& divergence, double ratio) {
  const double strength = divergence.regularization;
  switch (divergence.kind) {
    case DivergenceKind::kKl:
      return ratio == 0 ? 0.0 : strength * ratio * std::log(ratio);
    case DivergenceKind::kChi2:
      return strength * (ratio - 1) * (ratio - 1);
  }
  CANDOR_CHECK(false, "unknown divergence");
}

double generator_slope(const Divergence& divergence, double ratio) {
  const double strength = divergence.regularization;
  switch (divergence.kind) {
    case DivergenceKind::kKl:
      return strength * (std::log(ratio) + 1);
    case DivergenceKind::kChi2:
      return 2 * strength * (ratio - 1);
  }
  CANDOR_CHECK(false, "unknown divergence");
}

double generator_curvature(const Divergence& divergence, double ratio) {
  const double strength = divergence.regularization;
  switch (divergence.kind) {
    case DivergenceKind::kKl:
      return strength / ratio;
    case DivergenceKind::kChi2:
      return 2 * strength;
  }
  CANDOR_CHECK(false, "unknown divergence");
}

double inverse_slope(const Divergence& divergence, double slope) {
  const double strength = divergence.regularization;
  switch (divergence.kind) {
    case DivergenceKind::kKl:
      return std::exp(slope / strength - 1);
    case DivergenceKind::kChi2:
      return std::max(0.0, 1 + slope / (2 * strength));
  }
  CANDOR_CHECK(false, "unknown divergence");
}

double slope_at_zero(const Divergence& divergence) {
  switch (divergence.kind) {
    case DivergenceKind::kKl:
      return -std::numeric_limits<double>::infinity();
    case DivergenceKind::kChi2:
      return -2 * divergence.regularization;
  }
  CANDOR_CHECK(false, "unknown divergence");
}

double conjugate(const Divergence& divergence, double slope) {
  const double strength = divergence.regularization;
  switch (divergence.kind) {
    case DivergenceKind::kKl:
      return strength * std::exp(slope / strength - 1);
    case DivergenceKind::kChi2:
      if (slope <= -2 * strength) return -strength;
      return slope + slope * slope / (4 * strength);
  }
  CANDOR_CHECK(false, "unknown divergence");
}

double block_divergence(const Divergence& divergence, std::span<const double> model,
                        std::span<const double> initial) {
  CANDOR_CHECK(model.size() == initial.size());
  Sum sum;
  for (size_t x = 0; x < model.size(); ++x) {
    const double ratio = model[x] / initial[x];
    if (divergence.kind == DivergenceKind::kKl && ratio > 0) {
      // sum p log r - p + p0 = sum p0 (r log r - r + 1): every term >= 0, nothing cancels.
      const double excess = (model[x] - initial[x]) / initial[x];
      const double term = std::abs(excess) < 1e-4
                              ? excess * excess * (0.5 - excess * (1.0 / 6 - excess / 12))
                              : ratio * std::log(ratio) - excess;
      sum.add(initial[x] * divergence.regularization * term);
    } else if (divergence.kind == DivergenceKind::kKl) {
      sum.add(initial[x] * divergence.regularization);
    } else {
      sum.add(initial[x] * generator(divergence, ratio));
    }
  }
  return sum.value();
}

std::string divergence_name(DivergenceKind kind) {
  return kind == DivergenceKind::kKl ? "kl" : "chi2";
}

}  // namespace candor
