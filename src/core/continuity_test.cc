#include "core/continuity.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/implementability.h"
#include "core/rule.h"
#include "core/test_games.h"

namespace candor {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// The shift of outcome 0 when the reward that makes `model` optimal moves by delta: up at outcome
// 0, down elsewhere. Solved, not by formula.
double shift_at(const Game& game, const std::vector<double>& model, double delta) {
  Game moved = game;
  Report total{.name = "total", .group_size = 1, .reward = {}};
  for (size_t x = 0; x < model.size(); ++x) {
    const double ratio = model[x] / game.initial[x];
    total.reward.push_back(
        (ratio > 0 ? generator_slope(game.divergence, ratio) : slope_at_zero(game.divergence)) +
        (x == 0 ? delta : -delta));
  }
  moved.groups = {std::move(total)};
  return weighted_optimum(moved, {1.0})[0] - model[0];
}

Game over(const Divergence& divergence, std::vector<double> initial) {
  Game game;
  game.divergence = divergence;
  game.block_begin = {0, initial.size()};
  game.initial = std::move(initial);
  return game;
}

// The least delta that moves two outcomes of p0 (q, 1 - q) by epsilon, over a grid of q and of what
// the first one starts from: each delta found by bisection on solved games.
double least_delta(const Divergence& divergence, double epsilon) {
  double least = kInfinity;
  for (int i = 1; i < 20; ++i) {
    const Game game = over(divergence, {i / 20.0, 1 - i / 20.0});
    for (int j = 0; j <= 20; ++j) {
      const double a = std::max(1e-9, (1 - epsilon) * j / 20);
      if (std::isfinite(least) && shift_at(game, {a, 1 - a}, least) < epsilon) continue;
      double low = 0;
      double high = 50 * divergence.regularization;
      for (int step = 0; step < 50; ++step) {
        const double middle = (low + high) / 2;
        (shift_at(game, {a, 1 - a}, middle) < epsilon ? low : high) = middle;
      }
      least = std::min(least, high);
    }
  }
  return least;
}

// Condition 3.5 and Prop E.3; Ours: sharp moduli, in closed form against the least delta among
// solved games.
TEST(Continuity, SharpModuliAreTheLeastOverTwoOutcomes) {
  const std::vector<Divergence> divergences = {{DivergenceKind::kKl, 0.7, 2},
                                               {DivergenceKind::kChi2, 3, 2},
                                               {DivergenceKind::kAlpha, 0.7, 1.5},
                                               {DivergenceKind::kAlpha, 2, 1.1},
                                               {DivergenceKind::kAlpha, 1, 2}};
  for (const Divergence& divergence : divergences) {
    for (const double epsilon : {0.05, 0.3, 0.8}) {
      const Modulus modulus = continuity_modulus(divergence, epsilon);
      EXPECT_NEAR(least_delta(divergence, epsilon), modulus.sharp, 1e-6 * modulus.sharp)
          << divergence_name(divergence.kind) << " " << divergence.alpha << " " << epsilon;
      EXPECT_LE(modulus.paper.value_or(0), modulus.sharp);
    }
  }
  const Divergence kl{.kind = DivergenceKind::kKl, .regularization = 2};
  EXPECT_NEAR(continuity_modulus(kl, 0.5).sharp, 2 * std::log(3.0), 1e-14);
  EXPECT_NEAR(*continuity_modulus(kl, 0.5).paper, std::log(1.5), 1e-15);
  EXPECT_EQ(continuity_modulus(kl, 1).sharp, kInfinity);
}

// The models that the worst case is near to, for outcome `x` (moved to the front): all others at
// one ratio, or all mass on two outcomes.
std::vector<std::vector<double>> worst_models(const Game& game) {
  std::vector<std::vector<double>> out;
  const size_t m = game.outcome_count();
  for (int i = 1; i < 60; ++i) {
    const double a = i / 60.0;
    std::vector<double> spread(m);
    for (size_t x = 0; x < m; ++x) {
      spread[x] = x == 0 ? a : (1 - a) * game.initial[x] / (1 - game.initial[0]);
    }
    out.push_back(spread);
    for (size_t y = 1; y < m; ++y) {
      constexpr double kFar = 1e-5;
      std::vector<double> pair(m, kFar);
      pair[0] = a * (1 - kFar * static_cast<double>(m - 2));
      pair[y] = (1 - a) * (1 - kFar * static_cast<double>(m - 2));
      out.push_back(pair);
    }
  }
  return out;
}

double largest_worst_shift(const Game& game, double delta) {
  double most = 0;
  for (size_t x = 0; x < game.outcome_count(); ++x) {
    Game front = game;
    std::swap(front.initial[0], front.initial[x]);
    for (const std::vector<double>& model : worst_models(front)) {
      most = std::max(most, shift_at(front, model, delta));
    }
  }
  return most;
}

// Ours: sharp moduli of one initial model. No search exceeds epsilon at them, and the two outcomes
// of the proof reach it.
TEST(Continuity, ModuliOfAnInitialModelHoldAndAreReached) {
  for (uint64_t seed = 1; seed <= 48; ++seed) {
    const auto kind = static_cast<DivergenceKind>(seed % 7);
    const double alpha = seed % 2 == 0 ? 0.6 : (seed % 3 == 0 ? 1.4 : 3.5);
    const Game game = random_game(
        {.seed = seed, .kind = kind, .alpha = alpha, .most_outcomes = 5, .regularization = 2});
    for (const double epsilon : {0.02, 0.3}) {
      const InitialModulus modulus = initial_modulus(game, epsilon);
      const std::string what = divergence_name(kind) + " seed " + std::to_string(seed);
      ASSERT_GT(modulus.delta, 0) << what;
      EXPECT_LE(search_largest_shift(game, modulus.delta, 200, seed), epsilon * (1 + 1e-9)) << what;
      EXPECT_LE(largest_worst_shift(game, modulus.delta), epsilon * (1 + 1e-9)) << what;
      if (modulus.sharp) {
        EXPECT_GT(largest_worst_shift(game, modulus.delta), 0.99 * epsilon) << what;
      }
      EXPECT_GE(modulus.delta, continuity_modulus(game.divergence, epsilon).sharp * (1 - 1e-12))
          << what;
    }
  }
}

// Above alpha = 2 the modulus is reached by three outcomes: one that has nothing, one that loses
// all of its 2 epsilon x 1/2, and one of tiny p0 with the rest.
TEST(Continuity, AboveAlphaTwoThreeOutcomesReachTheModulus) {
  const Divergence divergence{.kind = DivergenceKind::kAlpha, .regularization = 2, .alpha = 3};
  const double epsilon = 0.2;
  const double delta = continuity_modulus(divergence, epsilon).sharp;
  EXPECT_NEAR(delta, 0.16, 1e-15);  // (2/2) (2 x 0.2)^2
  const Game game = over(divergence, {0.5, 0.4999, 0.0001});
  EXPECT_NEAR(initial_modulus(game, epsilon).delta, delta, 1e-15);
  EXPECT_LE(shift_at(game, {0, epsilon, 1 - epsilon}, delta), epsilon);
  EXPECT_GT(shift_at(game, {0, epsilon, 1 - epsilon}, delta), 0.999 * epsilon);
}

// Where 1/f'' is convex no delta does for every initial model: with two outcomes of tiny p0 an ever
// smaller one moves half of the mass. Of jeffreys it stops at KL's.
TEST(Continuity, SomeDivergencesHaveNoModulusForEveryInitialModel) {
  const double epsilon = 0.5;
  for (const Divergence& divergence :
       {Divergence{DivergenceKind::kReverseKl, 1, 2}, Divergence{DivergenceKind::kJs, 1, 2},
        Divergence{DivergenceKind::kHellinger, 1, 2}, Divergence{DivergenceKind::kAlpha, 1, 0.5},
        Divergence{DivergenceKind::kAlpha, 1, -1}}) {
    EXPECT_EQ(continuity_modulus(divergence, epsilon).sharp, 0);
    double before = kInfinity;
    for (const double tiny : {1e-2, 1e-4, 1e-6}) {
      const Game game = over(divergence, {tiny, tiny, 1 - 2 * tiny});
      const double delta = initial_modulus(game, epsilon).delta;
      EXPECT_LT(delta, 0.3 * before) << divergence_name(divergence.kind) << " " << tiny;
      EXPECT_GT(shift_at(game, {0.25, 0.75 - 1e-6, 1e-6}, 1.001 * delta), 0.99 * epsilon)
          << divergence_name(divergence.kind) << " " << tiny;
      before = delta;
    }
  }
  const Divergence jeffreys{.kind = DivergenceKind::kJeffreys, .regularization = 1};
  const Divergence kl{.kind = DivergenceKind::kKl, .regularization = 1};
  const Game game = over(jeffreys, {1e-7, 1e-7, 1 - 2e-7});
  EXPECT_EQ(continuity_modulus(jeffreys, epsilon).sharp, continuity_modulus(kl, epsilon).sharp);
  EXPECT_NEAR(initial_modulus(game, epsilon).delta, continuity_modulus(kl, epsilon).sharp, 1e-5);
}

TEST(Continuity, TotalVariationHasNone) {
  const Divergence tv{.kind = DivergenceKind::kTv, .regularization = 1};
  EXPECT_EQ(continuity_modulus(tv, 0.5).sharp, 0);
  EXPECT_EQ(initial_modulus(over(tv, {0.4, 0.6}), 0.5).delta, 0);
  EXPECT_EQ(initial_modulus(over(tv, {1.0}), 0.5).delta, kInfinity);  // one outcome never moves
}

// Lemma E.1.
TEST(Continuity, LemmaE1BoundsEveryMove) {
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    const auto kind = static_cast<DivergenceKind>(seed % 7);
    const Game game = random_game({.seed = seed, .kind = kind});
    const TypeSpace space = default_types(game, 0, 8, seed);
    const auto rule = make_training_rule("sw_max").value();
    const std::vector<TypeModel> models = train_types(*rule, game, space).value();
    for (size_t t = 1; t < space.types.size(); ++t) {
      double delta = 0;
      for (size_t x = 0; x < game.outcome_count(); ++x) {
        delta = std::max(delta, std::abs(space.types[0].group_size * space.types[0].reward[x] -
                                         space.types[t].group_size * space.types[t].reward[x]));
      }
      const std::vector<double>& first = models[0].trained.model;
      const std::vector<double>& other = models[t].trained.model;
      EXPECT_LE(largest_shift(first, other), curvature_bound(game, first, other, delta) + 1e-12)
          << divergence_names()[seed % 7] << " seed " << seed;
    }
  }
}

}  // namespace
}  // namespace candor
