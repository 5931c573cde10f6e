#include "core/estimate.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/solution.h"
#include "core/test_games.h"

namespace candor {
namespace {

Game bank_game(uint64_t seed, size_t prompts, size_t replies) {
  RandomStream random({.seed = seed, .stream = 3});
  Game game;
  game.block_begin = {0};
  for (size_t q = 0; q < prompts; ++q)
    game.block_begin.push_back(game.block_begin.back() + replies);
  game.initial.assign(prompts * replies, 1.0);
  game.normalization = Normalization::kNone;
  game.groups = {{"a", 3, {}}, {"b", 2, {}}};
  for (Report& report : game.groups) {
    for (size_t x = 0; x < game.initial.size(); ++x) report.reward.push_back(random.uniform());
  }
  return make_game(game).value();
}

TEST(Estimate, CentresOnTheSolution) {
  const Game game = bank_game(1, 20, 8);
  const Solution solution = *solve(game);
  const Estimate out = *estimate(game, 7, 500);
  EXPECT_NEAR(out.welfare.estimate, solution.welfare, 1e-12);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_NEAR(out.groups[i].payment.estimate, solution.groups[i].payment, 1e-12);
    EXPECT_LT(out.groups[i].payment.low, solution.groups[i].payment);
    EXPECT_GT(out.groups[i].payment.high, solution.groups[i].payment);
    EXPECT_NEAR(out.groups[i].utility.estimate, solution.groups[i].utility, 1e-12);
  }
  EXPECT_GT(out.effective_sample_size, 1);
  EXPECT_LT(out.effective_sample_size, 8);
  EXPECT_EQ(estimate(game, 7, 500)->groups[0].payment.low, out.groups[0].payment.low);
}

// The true full-training payment is known here: rewards uniform on [0,1], independent. A large bank
// stands for it; the half bank lies further off than the bank, and the jackknife points the right
// way.
TEST(Estimate, BiasOfSmallBanks) {
  const Estimate small = *estimate(bank_game(2, 400, 6), 1, 10);
  const double large = solve(bank_game(3, 20, 4000))->groups[0].payment;
  const GroupEstimate& group = small.groups[0];
  EXPECT_LT(group.payment_half_bank, group.payment.estimate);
  EXPECT_LT(group.payment.estimate, large);
  EXPECT_LT(group.payment_bias, 0);
  EXPECT_LT(std::abs(group.payment.estimate - group.payment_bias - large),
            std::abs(group.payment.estimate - large));
}

// Coverage of the bootstrap over prompts: about 90 in 100 intervals hold the true mean.
TEST(Estimate, IntervalsCover) {
  double mean = 0;
  static constexpr int kRuns = 120;
  std::vector<Interval> intervals;
  for (int run = 0; run < kRuns; ++run) {
    intervals.push_back(estimate(bank_game(100 + run, 30, 4), 1, 300, 0.9)->groups[0].payment);
    mean += intervals.back().estimate / kRuns;
  }
  int covered = 0;
  for (const Interval& interval : intervals)
    covered += interval.low <= mean && mean <= interval.high;
  EXPECT_GT(covered, 0.78 * kRuns);
  EXPECT_LT(covered, kRuns);
}

TEST(Estimate, NeedsPromptsAndReplies) {
  EXPECT_FALSE(estimate(bank_game(1, 1, 8), 1).ok());
  EXPECT_FALSE(estimate(bank_game(1, 8, 1), 1).ok());
}

}  // namespace
}  // namespace candor
