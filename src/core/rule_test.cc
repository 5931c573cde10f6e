#include "core/rule.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "core/concave_rule.h"
#include "core/solution.h"
#include "core/test_games.h"

namespace candor {
namespace {

std::vector<double> train(const std::string& rule, const Game& game) {
  return make_training_rule(rule).value()->train(game).value().model;
}

TEST(Rule, SwMaxIsTheSolversModelUnderEveryDivergence) {
  for (size_t kind = 0; kind < divergence_names().size(); ++kind) {
    for (uint64_t seed = 1; seed <= 20; ++seed) {
      const Game game = random_game(
          {.seed = seed, .kind = static_cast<DivergenceKind>(kind), .blocks = 1 + seed % 3});
      const std::vector<double> expected = solve(game)->allocation;
      const std::vector<double> model = train("sw_max", game);
      for (size_t x = 0; x < model.size(); ++x) EXPECT_NEAR(model[x], expected[x], 1e-10);
    }
  }
}

// No model near the rule's beats it: enough for a concave objective.
void expect_maximal(const Game& game, const TrainedModel& trained,
                    const std::function<double(const std::vector<double>&)>& objective,
                    uint64_t seed) {
  const auto value = [&](const std::vector<double>& model) {
    std::vector<double> valuations;
    for (const Report& group : game.groups) {
      valuations.push_back(group_valuation(game, group, model) / group.group_size);
    }
    return objective(valuations) - divergence_from_initial(game, model);
  };
  const double best = value(trained.model);
  RandomStream random({.seed = seed, .stream = 5});
  for (int trial = 0; trial < 200; ++trial) {
    std::vector<double> other(trained.model.size());
    const double step = std::pow(10.0, -1.0 - trial % 5);
    for (size_t block = 0; block < game.block_count(); ++block) {
      double mass = 0;
      for (size_t x = game.block_begin[block]; x < game.block_begin[block + 1]; ++x) {
        other[x] = trained.model[x] * std::exp(step * random.normal());
        mass += other[x];
      }
      for (size_t x = game.block_begin[block]; x < game.block_begin[block + 1]; ++x) {
        other[x] /= mass;
      }
    }
    EXPECT_LE(value(other), best + trained.gap + 1e-12) << "seed " << seed;
  }
}

class ConcaveRule : public testing::TestWithParam<DivergenceKind> {};

TEST_P(ConcaveRule, MaxMinHasNoBetterNeighbourAndASmallGap) {
  for (uint64_t seed = 1; seed <= 25; ++seed) {
    const Game game = random_game({.seed = seed, .kind = GetParam(), .blocks = 1 + seed % 2});
    const TrainedModel trained = solve_max_min(game);
    EXPECT_LT(trained.gap, 1e-9) << "seed " << seed;
    expect_maximal(
        game, trained, [](const auto& v) { return *std::ranges::min_element(v); }, seed);
  }
}

TEST_P(ConcaveRule, NashHasNoBetterNeighbourAndASmallGap) {
  for (uint64_t seed = 1; seed <= 25; ++seed) {
    const Game game = random_game({.seed = seed, .kind = GetParam(), .blocks = 1 + seed % 2});
    const TrainedModel trained = solve_nash(game);
    EXPECT_LT(trained.gap, 1e-9) << "seed " << seed;
    expect_maximal(
        game, trained,
        [&](const auto& v) {
          double total = 0;
          for (size_t i = 0; i < v.size(); ++i) total += game.groups[i].group_size * std::log(v[i]);
          return total;
        },
        seed);
  }
}

INSTANTIATE_TEST_SUITE_P(Divergences, ConcaveRule,
                         testing::Values(DivergenceKind::kKl, DivergenceKind::kChi2,
                                         DivergenceKind::kReverseKl, DivergenceKind::kJs,
                                         DivergenceKind::kJeffreys, DivergenceKind::kAlpha));

// Two groups that want opposite outcomes of p0 = (1/2, 1/2): symmetric rules stay in the middle.
TEST(Rule, OppositeGroupsByHand) {
  Game game;
  game.initial = {0.5, 0.5};
  game.groups = {{"a", 3, {1, 0}}, {"b", 1, {0, 1}}};
  game = make_game(game).value();
  const auto sigmoid = [](double z) { return 1 / (1 + std::exp(-z)); };
  EXPECT_NEAR(train("max_min", game)[0], 0.5, 1e-9);
  EXPECT_NEAR(train("sw_max", game)[0], sigmoid(2), 1e-12);
  EXPECT_NEAR(train("dictatorship:b", game)[0], sigmoid(-1), 1e-12);
  EXPECT_NEAR(train("dictatorship", game)[0], sigmoid(3), 1e-12);
  EXPECT_NEAR(train("mean_of_optima", game)[0], 0.75 * sigmoid(3) + 0.25 * sigmoid(-1), 1e-12);
  EXPECT_NEAR(train("uniform_mixture", game)[0], (sigmoid(3) + sigmoid(-1)) / 2, 1e-12);
  EXPECT_NEAR(train("median_of_optima", game)[0], sigmoid(3), 1e-12);
  // Nash: 3/v_0 - 1/v_1 is the log-odds.
  const double p = train("nash", game)[0];
  EXPECT_NEAR(3 / p - 1 / (1 - p), std::log(p / (1 - p)), 1e-8);
}

TEST(Rule, CandidatesAreChosenByTheRulesOwnObjective) {
  Game game;
  game.initial = {0.5, 0.5};
  game.groups = {{"a", 9, {1, 0}}, {"b", 1, {0, 1}}};
  game.candidates = {{0.5, 0.5}, {0.95, 0.05}, {0.2, 0.8}};
  game = make_game(game).value();
  EXPECT_EQ(train("sw_max", game), game.candidates[1]);
  EXPECT_EQ(train("max_min", game), game.candidates[0]);
  EXPECT_EQ(train("dictatorship:b", game), game.candidates[2]);
  EXPECT_NEAR(train("mean_of_optima", game)[0], 0.9 * 0.95 + 0.1 * 0.2, 1e-15);
}

TEST(Rule, ErrorsSayWhatIsAllowed) {
  EXPECT_NE(make_training_rule("nahs").error().message.find("did you mean \"nash\""),
            std::string::npos);
  Game game = random_game({.seed = 1, .kind = DivergenceKind::kTv});
  EXPECT_FALSE(make_training_rule("max_min").value()->train(game).ok());
  EXPECT_FALSE(make_training_rule("dictatorship:nobody").value()->train(game).ok());
}

// A model that is not a number is no model.
TEST(Rule, OverflowIsAnError) {
  Game raw;
  raw.normalization = Normalization::kNone;
  raw.initial = {0.5, 0.5};
  raw.groups = {{"a", 2e9, {1e300, 0}}, {"b", 1, {0, 1}}};
  raw.divergence.regularization = 1e-9;
  const Game game = make_game(raw).value();
  for (const char* name : {"sw_max", "uniform_mixture", "max_min", "nash", "dictatorship"}) {
    const auto trained = make_training_rule(name).value()->train(game);
    if (!trained.ok()) continue;
    for (const double p : trained->model) EXPECT_TRUE(p >= 0 && p <= 1) << name;
  }
  EXPECT_FALSE(make_training_rule("sw_max").value()->train(game).ok());
}

}  // namespace
}  // namespace candor
