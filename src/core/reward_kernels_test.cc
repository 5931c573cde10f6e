#include "core/reward_kernels.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

namespace candor {
namespace {

std::vector<double> random_values(size_t count, unsigned seed) {
  std::mt19937_64 random(seed);
  std::uniform_real_distribution<double> uniform(-1, 1);
  std::vector<double> out(count);
  for (double& value : out) value = std::ldexp(uniform(random), static_cast<int>(random() % 60));
  return out;
}

// Against a fused product, over numbers of every size that can be halved.
TEST(DoubleDouble, ProductsAreThoseOfAFusedOne) {
  const std::vector<double> a = random_values(1000, 1);
  const std::vector<double> b = random_values(1000, 2);
  for (const double scale : {0x1p-800, 1.0, 0x1p600, 0x1p950}) {
    for (size_t x = 0; x < a.size(); ++x) {
      const double factor = scale * a[x];
      const DoubleDouble product = exact_product(factor, b[x]);
      if (!std::isfinite(product.high)) continue;
      EXPECT_EQ(product.low, std::fma(factor, b[x], -product.high)) << factor << " " << b[x];
    }
  }
}

// Whole vectors and what is left over after them, against the same sums one by one.
TEST(RewardKernels, GiveTheBitsOfDoubleDouble) {
  for (size_t count = 1; count <= 19; ++count) {
    const std::vector<double> reward = random_values(count, 3);
    const std::vector<double> rest = random_values(count, 4);
    std::vector<double> high = random_values(count, 5);
    std::vector<double> low(count, 0x1p-70);
    const auto stake = [&](size_t x) {
      DoubleDouble product{7.3 * reward[x], std::fma(7.3, reward[x], -(7.3 * reward[x]))};
      product.low += 7.3 * rest[x];
      return product;
    };
    std::vector<DoubleDouble> sums;
    for (size_t x = 0; x < count; ++x) sums.push_back(DoubleDouble{high[x], low[x]} + stake(x));
    const reward::Stakes stakes{.size = 7.3, .reward = reward.data(), .rest = rest.data()};
    EXPECT_FALSE(reward::add_stakes(stakes, count, {high.data(), low.data()}));
    std::vector<double> other_high(count);
    std::vector<double> other_low(count);
    reward::subtract_stakes(stakes, count, {high.data(), low.data()},
                            {other_high.data(), other_low.data()});
    DoubleDouble top = sums[0];
    for (size_t x = 0; x < count; ++x) {
      EXPECT_EQ(high[x], sums[x].high);
      EXPECT_EQ(low[x], sums[x].low);
      const DoubleDouble others = sums[x] - stake(x);
      EXPECT_EQ(other_high[x], others.high);
      EXPECT_EQ(other_low[x], others.low);
      if (top < sums[x]) top = sums[x];
    }
    const DoubleDouble highest = reward::highest(count, {high.data(), low.data()});
    EXPECT_EQ(highest.high, top.high);
    EXPECT_EQ(highest.low, top.low);
    EXPECT_FALSE(reward::subtract_from(highest, count, {high.data(), low.data()}));
    for (size_t x = 0; x < count; ++x) {
      EXPECT_EQ(high[x], (top - sums[x]).high);
      EXPECT_EQ(low[x], (top - sums[x]).low);
    }
  }
}

// Whole numbers leave nothing in the low parts; a single third does, wherever it stands.
TEST(RewardKernels, SayWhetherAnythingWasRounded) {
  for (size_t odd = 0; odd <= 9; ++odd) {
    std::vector<double> reward(9, 5);
    if (odd < 9) reward[odd] = 1.0 / 3;
    std::vector<double> high(9, 2);
    std::vector<double> low(9, 0);
    const reward::Stakes stakes{.size = 3, .reward = reward.data(), .rest = nullptr};
    EXPECT_EQ(reward::add_stakes(stakes, 9, {high.data(), low.data()}), odd == 9);
    EXPECT_EQ(reward::subtract_from({17, 0}, 9, {high.data(), low.data()}), odd == 9);
  }
}

}  // namespace
}  // namespace candor
