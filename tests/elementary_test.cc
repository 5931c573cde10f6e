// What the error bounds of the solvers take for granted, against 60 digits: the elementary
// functions of the C library and the compensated sum.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <limits>
#include <vector>

#include "base/rng.h"
#include "core/sum.h"
#include "real.h"

namespace candor {
namespace {

constexpr double kUnit = 0x1p-53;
constexpr int kDraws = 20000;  // of each kind of argument

// The spacing of doubles at `value`; 2^-1074 where results are subnormal.
double ulp_at(const Real& value) {
  const double size = std::abs(value.to_double());
  if (!std::isfinite(size)) return 0x1p971;
  return size < 0x1p-1021 ? 0x1p-1074 : std::ldexp(1.0, std::ilogb(size) - 52);
}

double ulps_off(double computed, const Real& truth) {
  return (abs(Real(computed) - truth) / Real(ulp_at(truth))).to_double();
}

struct Worst {
  double ulps = 0;
  double x = 0;
  double y = 0;

  void see(double found, double at, double second = 0) {
    if (!(found <= ulps)) *this = {found, at, second};
  }
};

double power_of_ten_draw(RandomStream& random, double low, double high) {
  return std::pow(10.0, low + (high - low) * random.uniform());
}
double sign(RandomStream& random) { return random.below(2) == 0 ? -1 : 1; }

using Draw = std::function<double(RandomStream&)>;

// The largest error of a function of one variable over all kinds of arguments, which it prints.
Worst sweep(const char* name, double (*function)(double), Real (*exact)(const Real&),
            const std::vector<Draw>& draws) {
  const Real::Precision precision(60);
  RandomStream random({.seed = 1, .stream = 0x656c656d});
  Worst worst;
  for (const Draw& draw : draws) {
    for (int i = 0; i < kDraws; ++i) {
      const double x = draw(random);
      worst.see(ulps_off(function(x), exact(Real(x))), x);
    }
  }
  std::printf("%s: at most %.4f ulp found, at %.17g\n", name, worst.ulps, worst.x);
  return worst;
}

Draw between(double low, double high) {
  return [=](RandomStream& random) { return low + (high - low) * random.uniform(); };
}
// Both signs, by powers of ten.
Draw around_zero(double low, double high) {
  return [=](RandomStream& random) { return sign(random) * power_of_ten_draw(random, low, high); };
}
Draw near_one(double low, double high) {
  return
      [=](RandomStream& random) { return 1 + sign(random) * power_of_ten_draw(random, low, high); };
}

// Bounds that the solvers may rely on. Found with 60000 draws of each kind of argument (glibc 2.36,
// x86-64 with fused multiply-add): exp .504, log .516, expm1 .807, log1p .768, pow .506, sqrt .5.
constexpr double kExpUlps = 1;
constexpr double kLogUlps = 1;
constexpr double kExpm1Ulps = 2;
constexpr double kLog1pUlps = 2;
constexpr double kPowUlps = 1;
constexpr double kSqrtUlps = 0.5;

TEST(Elementary, ExpIsWithinItsBoundSubnormalResultsToo) {
  const Worst worst = sweep("exp", std::exp, [](const Real& x) { return exp(x); },
                            {between(-745.1, 709.7), between(-1, 1), between(-745.1, -707),
                             between(700, 709.78), around_zero(-30, 2), around_zero(-320, -10)});
  EXPECT_LE(worst.ulps, kExpUlps);
  EXPECT_EQ(std::exp(0.0), 1);
  EXPECT_EQ(std::exp(-746.0), 0);
}

TEST(Elementary, LogIsWithinItsBoundNearOneToo) {
  const Worst worst = sweep("log", std::log, [](const Real& x) { return log(x); },
                            {between(0.5, 2), near_one(-16, -0.5), near_one(-4, -1),
                             [](RandomStream& r) { return power_of_ten_draw(r, -307, 308); },
                             [](RandomStream& r) { return power_of_ten_draw(r, -323, -307); }});
  EXPECT_LE(worst.ulps, kLogUlps);
  EXPECT_EQ(std::log(1.0), 0);
}

TEST(Elementary, Expm1IsWithinItsBound) {
  const Worst worst = sweep("expm1", std::expm1, [](const Real& x) { return expm1(x); },
                            {between(-60, 709.7), between(-2, 2), between(-0.7, 0.7),
                             between(-1e4, -30), around_zero(-30, 2), around_zero(-320, -10)});
  EXPECT_LE(worst.ulps, kExpm1Ulps);
  EXPECT_EQ(std::expm1(-1e9), -1);
}

TEST(Elementary, Log1pIsWithinItsBoundNearMinusOneToo) {
  const Draw near_minus_one = [](RandomStream& r) { return power_of_ten_draw(r, -16, -0.1) - 1; };
  const Worst worst = sweep(
      "log1p", std::log1p, [](const Real& x) { return log1p(x); },
      {between(-0.99, 3), between(-0.45, 0.45), near_minus_one, around_zero(-30, -0.4),
       around_zero(-320, -10), [](RandomStream& r) { return power_of_ten_draw(r, -2, 308); }});
  EXPECT_LE(worst.ulps, kLog1pUlps);
}

TEST(Elementary, SqrtIsCorrectlyRounded) {
  const Worst worst =
      sweep("sqrt", std::sqrt, [](const Real& x) { return sqrt(x); },
            {between(0, 4), [](RandomStream& r) { return power_of_ten_draw(r, -323, 308); }});
  EXPECT_LE(worst.ulps, kSqrtUlps);
}

// Ratios to powers a - 1, a, 1/(a - 1): small and huge bases, exponents of 1e-15 to 1e15.
TEST(Elementary, PowIsWithinItsBoundForEveryExponent) {
  const Real::Precision precision(60);
  RandomStream random({.seed = 2, .stream = 0x656c656d});
  Worst worst;
  const auto see = [&](double base, double exponent) {
    const double reach = exponent * std::log(base);
    if (!(reach > -745.1 && reach < 709.7)) return false;
    worst.see(ulps_off(std::pow(base, exponent), pow(Real(base), Real(exponent))), base, exponent);
    return true;
  };
  const std::vector<std::function<std::pair<double, double>()>> draws = {
      [&] {
        return std::pair(power_of_ten_draw(random, -307, 308),
                         sign(random) * power_of_ten_draw(random, -15, 1.7));
      },
      [&] {
        return std::pair(1 + sign(random) * power_of_ten_draw(random, -15, -0.5),
                         sign(random) * power_of_ten_draw(random, 0, 15));
      },
      [&] {
        return std::pair(power_of_ten_draw(random, -3, 3), sign(random) * 50 * random.uniform());
      },
      [&] {  // subnormal results
        const double base = power_of_ten_draw(random, -20, -0.01);
        return std::pair(base, (-708 - 37 * random.uniform()) / std::log(base));
      }};
  for (const auto& draw : draws) {
    for (int i = 0; i < kDraws;) {
      const auto [base, exponent] = draw();
      i += see(base, exponent) ? 1 : 0;
    }
  }
  std::printf("pow: at most %.4f ulp found, at %.17g to the %.17g\n", worst.ulps, worst.x, worst.y);
  EXPECT_LE(worst.ulps, kPowUlps);
}

// Terms of both signs over many orders of magnitude, and sums that cancel to almost nothing.
std::vector<double> draw_terms(RandomStream& random, size_t count) {
  std::vector<double> terms;
  const double span = 40 * random.uniform();
  const uint64_t kind = random.below(4);
  for (size_t k = 0; k < count; ++k) {
    double term = power_of_ten_draw(random, -span, 0);
    if (kind != 0) term *= sign(random);
    if (kind == 2 && k % 2 == 1) term = -terms.back() * (1 + 0x1p-50 * random.normal());
    terms.push_back(term);
  }
  if (kind == 3) {  // what is left is the rounding of the sum itself
    double sum = 0;
    for (const double term : terms) sum += term;
    terms.push_back(-sum);
  }
  return terms;
}

// Neumaier 1974: |error| <= 2u |S| + n^2 u^2 sum |terms|.
TEST(CompensatedSum, ErrorIsWithinNeumaiersBound) {
  const Real::Precision precision(700);
  RandomStream random({.seed = 3, .stream = 0x656c656d});
  double largest = 0;
  double most_units = 0;
  for (int trial = 0; trial < 3000; ++trial) {
    const auto count = static_cast<size_t>(power_of_ten_draw(random, 0, trial < 2990 ? 2.5 : 5));
    const std::vector<double> terms = draw_terms(random, count);
    Sum sum;
    Real exact(0);
    Real size(0);
    for (const double term : terms) {
      sum.add(term);
      exact += Real(term);
      size += abs(Real(term));
    }
    const Real error = abs(Real(sum.value()) - exact);
    const auto n = static_cast<double>(terms.size());
    const Real bound = Real(2 * kUnit) * abs(exact) + Real(n * n * kUnit * kUnit) * size;
    largest = std::max(largest, (error / bound).to_double());
    EXPECT_TRUE(error <= bound) << terms.size() << " terms, trial " << trial;
    if (error > Real(2 * kUnit) * abs(exact)) {
      most_units = std::max(most_units, (error / (Real(n * kUnit * kUnit) * size)).to_double());
    }
  }
  std::printf("sum: error at most %.3f of the bound; beyond 2u|S| at most %.3f n u^2 sum|terms|\n",
              largest, most_units);
}

}  // namespace
}  // namespace candor
