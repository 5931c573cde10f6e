#include "core/noise.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/solution.h"
#include "core/test_games.h"

namespace candor {
namespace {

NoiseStudy study(const Game& game, const NoiseOptions& options) {
  const auto out = study_noise(game, options);
  EXPECT_TRUE(out.ok()) << out.error().message;
  return *out;
}

// Lemma B.2 and Thm B.3 under Condition B.1.
TEST(Noise, EveryModelStaysWithinBothBounds) {
  for (const NoiseModel model : {NoiseModel::kUniform, NoiseModel::kTruncatedGaussian,
                                 NoiseModel::kSign, NoiseModel::kSampling}) {
    for (uint64_t seed = 1; seed <= 12; ++seed) {
      const Game game = random_game({.seed = seed,
                                     .kind = static_cast<DivergenceKind>(seed % 8),
                                     .most_groups = 3,
                                     .blocks = 1 + seed % 2});
      const NoiseStudy found =
          study(game, {.model = model, .epsilon = 0.1, .draws = 20, .lies = 6, .seed = seed});
      EXPECT_LE(found.largest_loss, found.loss_bound + 1e-9);
      EXPECT_LE(found.worst_loss, found.loss_bound + 1e-9);
      EXPECT_LE(found.closest_to_bound, 1 + 1e-9);
      EXPECT_GE(found.expected_loss.value, -1e-9);
      for (const NoiseGroup& group : found.groups) {
        // The bound is on expectations: what is measured may exceed it by chance alone.
        EXPECT_LE(group.expected_gain.value, group.gain_bound + 2 * group.expected_gain.half_width);
        EXPECT_LE(group.worst_gain, group.gain_bound + 1e-9);
        EXPECT_GE(group.least_utility, -group.gain_bound - 1e-9);
      }
    }
  }
}

// Two outcomes, KL, one group of reward (1, 0): adversarial noise makes (1 - e, e) of it. By hand.
TEST(Noise, TheWorstLossOfTwoOutcomesIsFound) {
  Game game;
  game.initial = {0.5, 0.5};
  game.groups = {{"a", 4, {1, 0}}};
  game = make_game(game).value();
  const double epsilon = 0.3;
  const NoiseStudy found = study(game, {.epsilon = epsilon, .draws = 8, .lies = 1});
  const auto welfare = [](double p) {
    return 4 * p - p * std::log(2 * p) - (1 - p) * std::log(2 * (1 - p));
  };
  const auto sigmoid = [](double z) { return 1 / (1 + std::exp(-z)); };
  const double loss = welfare(sigmoid(4)) - welfare(sigmoid(4 * (1 - 2 * epsilon)));
  EXPECT_NEAR(found.worst_loss, loss, 1e-9);
  EXPECT_NEAR(found.groups[0].worst_gain, loss, 1e-9);
}

// With candidates the bound is sharp: noise can make the mechanism indifferent to 2 epsilon.
TEST(Noise, CandidatesReachTheBound) {
  Game game;
  game.initial = {0.5, 0.5};
  game.groups = {{"a", 1, {1, 0.79}}};
  game.candidates = {{1, 0}, {0, 1}};
  game = make_game(game).value();
  const NoiseStudy found = study(game, {.epsilon = 0.106, .draws = 8, .lies = 1});
  EXPECT_NEAR(found.worst_loss, 0.21, 1e-12);
  EXPECT_NEAR(found.loss_bound, 0.212, 1e-12);
}

TEST(Noise, NoNoiseNoLoss) {
  const Game game = random_game({.seed = 3});
  const NoiseStudy found = study(game, {.epsilon = 1e-13, .draws = 8, .lies = 4});
  EXPECT_LT(found.largest_loss, 1e-9);
  for (size_t i = 0; i < game.groups.size(); ++i) {
    EXPECT_NEAR(found.groups[i].truthful_utility.value, solve(game)->groups[i].utility, 1e-9);
    EXPECT_LT(found.groups[i].expected_gain.value, 1e-9);
  }
}

// A planted fault: were noise three times what is claimed, the study would see it.
TEST(Noise, AWrongEpsilonIsCaught) {
  Game game;
  game.initial = {0.5, 0.5};
  game.groups = {{"a", 1, {1, 0.5}}};
  game.candidates = {{1, 0}, {0, 1}};
  game = make_game(game).value();
  const NoiseStudy found =
      study(game, {.model = NoiseModel::kSign, .epsilon = 0.3, .draws = 40, .lies = 1});
  EXPECT_GT(found.largest_loss, 2 * 0.1);  // what epsilon = 0.1 would allow
}

TEST(TableNoise, HindsightGainsStayWithinTheBound) {
  const int64_t one = kFixedPointOne;
  Table table;
  table.candidates = {{"A", 0}, {"B", one / 10}, {"C", one / 4}};
  table.groups = {{"a", 3, {one / 2, one / 2 + one / 50, one}},
                  {"b", 2, {one, one / 2, one * 37 / 100}}};
  const std::vector<std::vector<double>> widths = {{0.05, 0.05, 0.02}, {0.01, 0, 0.03}};
  const auto found = study_table_noise(table, widths, 400, 5);
  ASSERT_EQ(found.size(), 2U);
  EXPECT_DOUBLE_EQ(found[0].gain_bound, 2 * 3 * 0.05);
  for (const TableNoiseGroup& group : found) {
    EXPECT_LE(group.largest_gain, group.gain_bound + 1e-9);
    EXPECT_GE(group.least_utility, group.utility_floor - 1e-9);
  }
  EXPECT_GT(found[0].largest_gain, 0);
}

}  // namespace
}  // namespace candor
