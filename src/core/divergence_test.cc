#include "core/divergence.h"

#include <gtest/gtest.h>

#include <cmath>

namespace candor {
namespace {

// The laws that every generator obeys; a new divergence is tested by one more line below.
void check_laws(const Divergence& divergence) {
  SCOPED_TRACE(divergence_name(divergence.kind));
  EXPECT_EQ(generator(divergence, 1.0), 0.0);
  for (const double ratio : {0.01, 0.3, 0.999, 1.0, 1.7, 25.0}) {
    const double h = 1e-5 * ratio;
    const double slope =
        (generator(divergence, ratio + h) - generator(divergence, ratio - h)) / (2 * h);
    EXPECT_NEAR(generator_slope(divergence, ratio), slope, 1e-6 * (1 + std::abs(slope)));
    const double curvature =
        (generator_slope(divergence, ratio + h) - generator_slope(divergence, ratio - h)) / (2 * h);
    EXPECT_NEAR(generator_curvature(divergence, ratio), curvature, 1e-6 * (1 + curvature));
    EXPECT_GT(generator_curvature(divergence, ratio), 0);
    EXPECT_NEAR(inverse_slope(divergence, generator_slope(divergence, ratio)), ratio,
                1e-12 * ratio);
    // Fenchel: equality at t = f'(r), inequality elsewhere.
    const double t = generator_slope(divergence, ratio);
    EXPECT_NEAR(conjugate(divergence, t), t * ratio - generator(divergence, ratio),
                1e-11 * (1 + std::abs(t * ratio)));
    for (const double other : {0.0, 0.5, 3.0}) {
      EXPECT_GE(conjugate(divergence, t) + 1e-12, t * other - generator(divergence, other));
    }
  }
  const double at_zero = slope_at_zero(divergence);
  if (std::isfinite(at_zero)) {
    EXPECT_EQ(inverse_slope(divergence, at_zero - 1), 0.0);
  } else {
    EXPECT_LT(generator_slope(divergence, 1e-300), -100 * divergence.regularization);
  }
}

TEST(Divergence, Laws) {
  for (const double lambda : {0.1, 1.0, 7.0}) {
    check_laws({DivergenceKind::kKl, lambda});
    check_laws({DivergenceKind::kChi2, lambda});
  }
}

TEST(Divergence, OfABlock) {
  const std::vector<double> p = {0.5, 0.5, 0.0};
  const std::vector<double> q = {0.25, 0.5, 0.25};
  EXPECT_NEAR(block_divergence({DivergenceKind::kKl, 2.0}, p, q), 2 * 0.5 * std::log(2.0), 1e-15);
  EXPECT_NEAR(block_divergence({DivergenceKind::kChi2, 2.0}, p, q), 2 * (0.25 + 0.25), 1e-15);
  EXPECT_EQ(block_divergence({DivergenceKind::kKl, 1.0}, q, q), 0.0);
  // Nearly equal: second order, where a plain sum of p log(p/q) keeps no digit.
  const double h = 1e-9;
  const std::vector<double> near = {0.25 + h, 0.5 - h, 0.25};
  EXPECT_NEAR(block_divergence({DivergenceKind::kKl, 1.0}, near, q) / (h * h * (2.0 + 1.0)), 1.0,
              1e-6);
}

}  // namespace
}  // namespace candor
