#include "base/rng.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <vector>

namespace candor {
namespace {

// The known answers published with the Random123 library (philox4x32, 10 rounds).
TEST(Philox, KnownAnswers) {
  using Block = std::array<uint32_t, 4>;
  EXPECT_EQ(philox({0, 0, 0, 0}, {0, 0}), (Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox({~0U, ~0U, ~0U, ~0U}, {~0U, ~0U}),
            (Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Random, EveryPartOfTheKeyMatters) {
  std::set<uint64_t> seen;
  for (const RandomKey& key :
       {RandomKey{}, RandomKey{.seed = 1}, RandomKey{.seed = uint64_t{1} << 40},
        RandomKey{.stream = 1}, RandomKey{.prompt = 1}, RandomKey{.sample = 1},
        RandomKey{.position = 1}}) {
    seen.insert(random_bits(key));
  }
  EXPECT_EQ(seen.size(), 7U);
}

TEST(Random, MomentsOfTheStreams) {
  RandomStream stream({.seed = 7});
  static constexpr int kDraws = 20000;
  double uniform = 0;
  double normal = 0;
  double square = 0;
  std::array<int, 3> counts{};
  for (int i = 0; i < kDraws; ++i) {
    uniform += stream.uniform();
    const double z = stream.normal();
    normal += z;
    square += z * z;
    ++counts[stream.below(3)];
  }
  EXPECT_NEAR(uniform / kDraws, 0.5, 0.01);
  EXPECT_NEAR(normal / kDraws, 0.0, 0.03);
  EXPECT_NEAR(square / kDraws, 1.0, 0.05);
  for (const int count : counts) EXPECT_NEAR(count, kDraws / 3.0, 300);
}

// Every order of three is drawn as often as any other: 6,000 keys, chi-square with 5 degrees of
// freedom below its 99.99 % quantile.
TEST(Rng, ShuffledOrdersAreUniform) {
  std::map<std::vector<size_t>, double> seen;
  for (uint32_t prompt = 0; prompt < 6000; ++prompt) {
    seen[shuffled_order(3, {.seed = 7, .prompt = prompt})] += 1;
  }
  ASSERT_EQ(seen.size(), 6U);
  double statistic = 0;
  for (const auto& [order, count] : seen) {
    std::vector<size_t> sorted = order;
    std::sort(sorted.begin(), sorted.end());
    EXPECT_EQ(sorted, (std::vector<size_t>{0, 1, 2}));
    statistic += (count - 1000) * (count - 1000) / 1000;
  }
  EXPECT_LT(statistic, 25.75);
  EXPECT_EQ(shuffled_order(40, {.seed = 7}), shuffled_order(40, {.seed = 7}));
  EXPECT_NE(shuffled_order(40, {.seed = 7}), shuffled_order(40, {.seed = 8}));
  EXPECT_TRUE(shuffled_order(0, {.seed = 7}).empty());
}

}  // namespace
}  // namespace candor
