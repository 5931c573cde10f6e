#include "core/divergence.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <variant>
#include <vector>

#include "core/divergence_law.h"

namespace candor {
namespace {

const double kInfinity = std::numeric_limits<double>::infinity();

// The laws that every generator obeys; a new divergence is tested by one more line below.
void check_laws(const Divergence& divergence) {
  SCOPED_TRACE(divergence_name(divergence.kind) + " " + std::to_string(divergence.alpha));
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
                1e-11 * ratio);
    // Fenchel: equality at t = f'(r), inequality elsewhere.
    const double t = generator_slope(divergence, ratio);
    const double size = 1 + std::abs(t * ratio) + std::abs(generator(divergence, ratio));
    EXPECT_NEAR(conjugate(divergence, t), t * ratio - generator(divergence, ratio), 1e-11 * size);
    for (const double other : {0.0, 0.5, 3.0}) {
      EXPECT_GE(conjugate(divergence, t) + 1e-12 * size, t * other - generator(divergence, other));
    }
  }
  const double at_zero = slope_at_zero(divergence);
  if (std::isfinite(at_zero)) {
    EXPECT_EQ(inverse_slope(divergence, at_zero - 1), 0.0);
    EXPECT_NEAR(generator_slope(divergence, 1e-300), at_zero, 1e-6);
  } else {
    EXPECT_LT(generator_slope(divergence, 1e-300), -100 * divergence.regularization);
  }
  const double at_infinity = slope_at_infinity(divergence);
  if (std::isfinite(at_infinity)) {
    EXPECT_NEAR(generator_slope(divergence, 1e200), at_infinity, 1e-9 * (1 + at_infinity));
    EXPECT_EQ(inverse_slope(divergence, at_infinity + 1), kInfinity);
    EXPECT_EQ(conjugate(divergence, at_infinity + 1), kInfinity);
  }
}

// What solvers use of a law: differences and Bregman divergences keep every digit, near 1 and far.
void check_law(const Divergence& divergence) {
  SCOPED_TRACE(divergence_name(divergence.kind) + " " + std::to_string(divergence.alpha));
  std::visit(
      [&](const auto& law) {
        for (const double from : {0.02, 0.7, 1.0, 40.0}) {
          for (const double step : {1e-9, 1e-5, 0.01, 0.049, 0.051, 0.11, 0.5, 2.0}) {
            for (const double sign : {-0.4, 1.0}) {
              const double d = sign * step * from;
              const double to = from + d;
              // Extended precision sum of a fine quadrature of (to - r) f''(r).
              long double integral = 0;
              static constexpr int kSteps = 2000;
              for (int k = 0; k < kSteps; ++k) {
                const long double h = (k + 0.5L) / kSteps;
                integral +=
                    (1 - h) *
                    static_cast<long double>(law.curvature(from + static_cast<double>(h) * d)) /
                    kSteps;
              }
              const auto expected = static_cast<double>(integral * d * d);
              EXPECT_NEAR(law.bregman(to, from, d), expected, 2e-5 * expected) << from << " " << d;
              const double u = law.depth(from) - law.depth(to);
              if (step < 0.01) continue;
              EXPECT_NEAR(law.difference(law.at(law.depth(from)), u), d, 1e-10 * std::abs(d));
            }
          }
          // First order exactly where both are tiny.
          const double u = 1e-12;
          EXPECT_NEAR(law.difference(law.at(law.depth(from)), u * law.curvature(from)) / from,
                      u / from, 1e-9 * u / from);
        }
      },
      law_of(divergence));
}

std::vector<Divergence> every_smooth_divergence(double lambda) {
  std::vector<Divergence> all;
  for (const auto kind :
       {DivergenceKind::kKl, DivergenceKind::kChi2, DivergenceKind::kReverseKl, DivergenceKind::kJs,
        DivergenceKind::kHellinger, DivergenceKind::kJeffreys}) {
    all.push_back({kind, lambda, 2});
  }
  for (const double order : {-1.5, 0.3, 0.95, 1.5, 2.5}) {
    all.push_back({DivergenceKind::kAlpha, lambda, order});
  }
  return all;
}

TEST(Divergence, Laws) {
  for (const double lambda : {0.1, 1.0, 7.0}) {
    for (const Divergence& divergence : every_smooth_divergence(lambda)) {
      check_laws(divergence);
      check_law(divergence);
    }
  }
}

TEST(Divergence, TotalVariation) {
  const Divergence tv{DivergenceKind::kTv, 2, 2};
  EXPECT_EQ(generator(tv, 0.25), 1.5);
  EXPECT_EQ(generator_slope(tv, 0.5), -2);
  EXPECT_EQ(inverse_slope(tv, -2.5), 0);
  EXPECT_EQ(inverse_slope(tv, 1), 1);
  EXPECT_EQ(inverse_slope(tv, 2.5), kInfinity);
  EXPECT_EQ(conjugate(tv, -3), -2);
  EXPECT_EQ(conjugate(tv, 1), 1);
  EXPECT_EQ(conjugate(tv, 2.5), kInfinity);
  EXPECT_NEAR(block_divergence(tv, std::vector<double>{0.75, 0.25}, std::vector<double>{0.5, 0.5}),
              1.0, 1e-15);
}

// omega + log omega = z, over the whole line.
TEST(Divergence, WrightOmega) {
  for (double z = -690; z < 2000; z += z < 50 ? 0.37 : 37) {
    const double w = law_detail::wright_omega(z);
    ASSERT_NEAR(w + std::log(w), z, 4e-16 * (1 + std::abs(z)) + 2e-16 * w) << z;
  }
}

TEST(Divergence, OfABlock) {
  const std::vector<double> p = {0.5, 0.5, 0.0};
  const std::vector<double> q = {0.25, 0.5, 0.25};
  EXPECT_NEAR(block_divergence({DivergenceKind::kKl, 2.0, 2.0}, p, q), 2 * 0.5 * std::log(2.0),
              1e-15);
  EXPECT_NEAR(block_divergence({DivergenceKind::kChi2, 2.0, 2.0}, p, q), 2 * (0.25 + 0.25), 1e-15);
  EXPECT_EQ(block_divergence({DivergenceKind::kKl, 1.0, 2.0}, q, q), 0.0);
  // Nearly equal: second order, where a plain sum of p log(p/q) keeps no digit.
  const double h = 1e-9;
  const std::vector<double> near = {0.25 + h, 0.5 - h, 0.25};
  EXPECT_NEAR(block_divergence({DivergenceKind::kKl, 1.0, 2.0}, near, q) / (h * h * (2.0 + 1.0)),
              1.0, 1e-6);
}

}  // namespace
}  // namespace candor
