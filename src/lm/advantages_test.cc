#include "lm/advantages.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "base/rng.h"

namespace candor {
namespace {

void expect_near(const std::vector<double>& found, const std::vector<double>& expected,
                 double tolerance = 1e-12) {
  ASSERT_EQ(found.size(), expected.size());
  for (size_t i = 0; i < found.size(); ++i) EXPECT_NEAR(found[i], expected[i], tolerance) << i;
}

TEST(Advantages, LeaveOneOutByHand) {
  // 1 against (2 + 6)/2 = 4; 2 against 3.5; 6 against 1.5. Then two replies that tie.
  expect_near(leave_one_out_advantages(std::vector<double>{1, 2, 6}, 3), {-3, -1.5, 4.5});
  expect_near(leave_one_out_advantages(std::vector<double>{0.3, 0.3, 1, 0}, 2), {0, 0, 1, -1});
  // Equal rewards give exactly nothing to learn, whatever they are.
  const std::vector<double> equal(7, 0.1);
  for (const double advantage : leave_one_out_advantages(equal, 7)) EXPECT_EQ(advantage, 0);
}

// Leave-one-out is K/(K-1) of (reward - mean): another formula for the same numbers.
TEST(Advantages, LeaveOneOutAgainstTheMean) {
  RandomStream random({.seed = 5});
  for (int64_t group = 2; group <= 9; ++group) {
    std::vector<double> rewards;
    for (int64_t i = 0; i < 3 * group; ++i) rewards.push_back(random.normal());
    std::vector<double> expected;
    for (int64_t begin = 0; begin < 3 * group; begin += group) {
      double mean = 0;
      for (int64_t i = 0; i < group; ++i) {
        mean += rewards[static_cast<size_t>(begin + i)] / static_cast<double>(group);
      }
      for (int64_t i = 0; i < group; ++i) {
        expected.push_back(static_cast<double>(group) / static_cast<double>(group - 1) *
                           (rewards[static_cast<size_t>(begin + i)] - mean));
      }
    }
    expect_near(leave_one_out_advantages(rewards, group), expected);
  }
}

TEST(Advantages, GaeByHand) {
  // d = (1 + .9x2 - 1, 0 + .9x3 - 2, 4 - 3) = (1.8, .7, 1); with g l = .45:
  // A_2 = 1, A_1 = .7 + .45 = 1.15, A_0 = 1.8 + .45 x 1.15 = 2.3175.
  const AdvantagesAndReturns out = generalised_advantages(
      std::vector<double>{1, 0, 4}, std::vector<double>{1, 2, 3}, {.gamma = 0.9, .lambda = 0.5});
  expect_near(out.advantages, {2.3175, 1.15, 1});
  expect_near(out.returns, {3.3175, 3.15, 4});
}

// lambda = 1: the discounted sum of what follows, less the value. lambda = 0: one step ahead.
TEST(Advantages, GaeAtBothEnds) {
  RandomStream random({.seed = 6});
  std::vector<double> rewards;
  std::vector<double> values;
  for (int t = 0; t < 12; ++t) {
    rewards.push_back(random.normal());
    values.push_back(random.normal());
  }
  const double gamma = 0.97;
  const AdvantagesAndReturns full = generalised_advantages(rewards, values, {gamma, 1});
  const AdvantagesAndReturns one = generalised_advantages(rewards, values, {gamma, 0});
  for (size_t t = 0; t < rewards.size(); ++t) {
    double sum = 0;
    for (size_t s = t; s < rewards.size(); ++s) {
      sum += std::pow(gamma, static_cast<double>(s - t)) * rewards[s];
    }
    EXPECT_NEAR(full.advantages[t], sum - values[t], 1e-12);
    EXPECT_NEAR(full.returns[t], sum, 1e-12);
    const double next = t + 1 < values.size() ? values[t + 1] : 0;
    EXPECT_NEAR(one.advantages[t], rewards[t] + gamma * next - values[t], 1e-12);
  }
}

TEST(Advantages, Whitening) {
  std::vector<double> values = {1, 2, 3, 6};
  const double scale = 1 / std::sqrt(14.0 / 3 + 1e-8);
  whiten(values, Whitening::kShiftMean);
  expect_near(values, {-2 * scale, -1 * scale, 0, 3 * scale});
  values = {1, 2, 3, 6};
  whiten(values, Whitening::kKeepMean);
  expect_near(values, {3 - 2 * scale, 3 - 1 * scale, 3, 3 + 3 * scale});
  values = {1, 2, 3, 6};
  standardise(values);
  const double by = 1 / (std::sqrt(14.0 / 3) + 1e-4);
  expect_near(values, {-2 * by, -1 * by, 0, 3 * by});
  values = {5};
  whiten(values, Whitening::kShiftMean);
  standardise(values);
  EXPECT_EQ(values[0], 5);
}

// Over a whole distribution k1 and k3 average to the KL itself; k2 to something near it.
TEST(Advantages, KlEstimatorsAverageToTheDivergence) {
  const std::vector<double> p = {0.5, 0.3, 0.15, 0.05};
  const std::vector<double> p0 = {0.25, 0.25, 0.25, 0.25};
  double kl = 0;
  double k1 = 0;
  double k2 = 0;
  double k3 = 0;
  for (size_t x = 0; x < p.size(); ++x) {
    kl += p[x] * std::log(p[x] / p0[x]);
    k1 += p[x] * kl_estimate(KlEstimator::kK1, std::log(p[x]), std::log(p0[x]));
    k2 += p[x] * kl_estimate(KlEstimator::kK2, std::log(p[x]), std::log(p0[x]));
    const double positive = kl_estimate(KlEstimator::kK3, std::log(p[x]), std::log(p0[x]));
    EXPECT_GE(positive, 0);
    k3 += p[x] * positive;
  }
  EXPECT_NEAR(k1, kl, 1e-12);
  EXPECT_NEAR(k3, kl, 1e-12);
  EXPECT_NEAR(k2, kl, 0.15);
  EXPECT_DOUBLE_EQ(kl_estimate(KlEstimator::kK2, 0.5, 0.1), 0.08);
}

TEST(Advantages, TokenRewards) {
  expect_near(token_rewards(std::vector<double>{-1, -2}, std::vector<double>{-1.5, -1},
                            {.kl_coefficient = 0.1, .score = 0.7}),
              {-0.05, 0.1 + 0.7});
}

TEST(Advantages, Normalisation) {
  EXPECT_DOUBLE_EQ(normalised_reward(3, 1, 5), 0.5);
  EXPECT_EQ(normalised_reward(0.5, 1, 5), 0);
  EXPECT_EQ(normalised_reward(6, 1, 5), 1);
}

TEST(Advantages, DisagreementAndWeights) {
  const Disagreement same = disagreement(std::vector<double>{-1, -2}, std::vector<double>{-1, -2});
  EXPECT_EQ(same.mean_abs, 0);
  EXPECT_EQ(same.kl, 0);
  const Disagreement off =
      disagreement(std::vector<double>{-1, -2}, std::vector<double>{-1.1, -1.7});
  EXPECT_NEAR(off.mean_abs, 0.2, 1e-12);
  EXPECT_NEAR(off.max_abs, 0.3, 1e-12);
  // d = log q - log p of the sampled tokens: .1 and -.3.
  EXPECT_NEAR(off.kl, (std::exp(-0.1) - 1 + 0.1 + std::exp(0.3) - 1 - 0.3) / 2, 1e-12);
  EXPECT_DOUBLE_EQ(truncated_weight(0.1, 2), std::exp(0.1));
  EXPECT_EQ(truncated_weight(5, 2), 2);
}

// Truncation is the only bias: below the cap, weighted draws of one model have the mean of another.
TEST(Advantages, WeightsCorrectTheSampler) {
  const std::vector<double> sampler = {0.5, 0.3, 0.2};
  const std::vector<double> trainer = {0.4, 0.25, 0.35};
  const std::vector<double> value = {1, 5, -2};
  double mean = 0;
  double weighted = 0;
  for (size_t x = 0; x < value.size(); ++x) {
    mean += trainer[x] * value[x];
    weighted += sampler[x] * truncated_weight(std::log(trainer[x] / sampler[x]), 2) * value[x];
  }
  EXPECT_NEAR(weighted, mean, 1e-12);
}

TEST(Advantages, AdaptiveCoefficient) {
  EXPECT_DOUBLE_EQ(adapted_coefficient(0.2, 6.6, 256, {}), 0.2 * (1 + 0.1 * 256 / 10000));
  EXPECT_DOUBLE_EQ(adapted_coefficient(0.2, 60, 256, {}), 0.2 * (1 + 0.2 * 256 / 10000));
  EXPECT_DOUBLE_EQ(adapted_coefficient(0.2, -1, 256, {}), 0.2 * (1 - 0.2 * 256 / 10000));
}

}  // namespace
}  // namespace candor
