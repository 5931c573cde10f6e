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
      EXPECT_LE(found.closest_to_lemma_f_1, 1 + 1e-9);
      EXPECT_GT(found.closest_to_lemma_f_1, 0.05);
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

// Lemma F.1: rewards within epsilon are valued within epsilon under every model, and at epsilon
// where all errors have one sign.
TEST(Noise, LemmaF1BoundsValuations) {
  RandomStream random({.seed = 5, .stream = 1});
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    const Game game = random_game({.seed = seed, .blocks = 1 + seed % 2});
    const std::vector<double> model = solve(game)->allocation;
    const double epsilon = 0.1 * random.uniform();
    Report truth = game.groups[0];
    truth.group_size = 1;
    Report noisy = truth;
    Report biased = truth;
    for (size_t x = 0; x < model.size(); ++x) {
      noisy.reward[x] += epsilon * (2 * random.uniform() - 1);
      biased.reward[x] += epsilon;
    }
    const double v = group_valuation(game, truth, model);
    EXPECT_LE(std::abs(group_valuation(game, noisy, model) - v), epsilon);
    EXPECT_NEAR(group_valuation(game, biased, model) - v, epsilon, 1e-14);
  }
}

// eq. 1 and eq. 2 under sign noise, in exact expectation: every outcome of the four coins, every
// report on a grid of rewards and sizes.
TEST(Noise, EpsilonDsicAndEpsilonIrHoldForEveryReportOnAGrid) {
  for (uint64_t seed = 1; seed <= 6; ++seed) {
    Game game = random_game(
        {.seed = seed, .kind = static_cast<DivergenceKind>(seed % 7), .most_outcomes = 2});
    game.groups.resize(1);
    game.groups.push_back({"other", 3, {0.2, 1}});
    if (seed > 3) game.candidates = {{.99, .01}, {.01, .99}};
    const double epsilon = 0.2;
    const NoiseStudy found =
        study(game, {.model = NoiseModel::kSign, .epsilon = epsilon, .draws = 4, .lies = 1});
    EXPECT_EQ(found.epsilon_dsic, 2 * epsilon * std::max(3.0, game.groups[0].group_size));
    const auto expected = [&](size_t group, const Report& lie) {
      double sum = 0;
      for (int coins = 0; coins < 16; ++coins) {
        Game input = with_report(game, group, lie.group_size, lie.reward);
        for (int i = 0; i < 4; ++i) {
          input.groups[i / 2].reward[i % 2] += (coins >> i & 1) == 0 ? -epsilon : epsilon;
        }
        const Solution solution = solve(input).value();
        sum += group_valuation(game, game.groups[group], solution.allocation) -
               solution.groups[group].payment;
      }
      return sum / 16;
    };
    for (size_t group = 0; group < 2; ++group) {
      const double truth = expected(group, game.groups[group]);
      EXPECT_GE(truth, -found.epsilon_ir - 1e-12);
      for (const double size : {1.0, 2.0, 6.0, 20.0}) {
        for (const double low : {0.0, 0.3, 0.6, 1.0}) {
          for (const std::vector<double>& reward : {std::vector{1, low}, std::vector{low, 1.0}}) {
            EXPECT_LE(expected(group, {"", size, reward}), truth + found.epsilon_dsic + 1e-12);
          }
        }
      }
    }
  }
}

// eq. 2 is no looser than it must be: noise makes both groups keener, so that B still wins, and
// group a pays 1 + 2 epsilon for what is worth 1 to it.
TEST(Noise, EpsilonIrIsReached) {
  Game game;
  game.initial = {0.5, 0.5};
  game.groups = {{"a", 1, {0, 1}}, {"b", 1, {1, 0}}};
  game.candidates = {{1, 0}, {0, 1}};
  game = make_game(game).value();
  const double epsilon = 0.3;
  const NoiseStudy found = study(game, {.epsilon = epsilon, .draws = 4, .lies = 1});
  EXPECT_DOUBLE_EQ(found.epsilon_ir, 0.6);
  Game input = game;
  input.groups[0].reward = {-epsilon, 1 + epsilon};
  input.groups[1].reward = {1 + epsilon, -epsilon};
  const Solution solution = solve(input).value();
  const double utility =
      group_valuation(game, game.groups[0], solution.allocation) - solution.groups[0].payment;
  EXPECT_NEAR(utility, -2 * epsilon, 1e-12);
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
