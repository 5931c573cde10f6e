#include "core/model_error.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "core/solution.h"
#include "core/test_games.h"

namespace candor {
namespace {

double distance(const Game& game, const std::vector<double>& left,
                const std::vector<double>& right) {
  double total = 0;
  for (size_t x = 0; x < left.size(); ++x) total += std::abs(left[x] - right[x]);
  return total / static_cast<double>(game.block_count());
}

std::vector<double> sizes_of(const Game& game) {
  std::vector<double> sizes;
  for (const Report& group : game.groups) sizes.push_back(group.group_size);
  return sizes;
}

// Models at every distance from the optimum, near ones and far ones: each is within the bound that
// its own shortfall of welfare gives. A bound of half the size would fail (see the last line).
TEST(ModelError, AModelIsAsNearAsItsShortfallSays) {
  double sharpest = 0;
  for (size_t kind = 0; kind + 1 < divergence_names().size(); ++kind) {
    for (const double alpha : {-1.0, 0.5, 1.5, 3.0, 6.0}) {
      for (uint64_t seed = 1; seed <= 12; ++seed) {
        const Game game = random_game({.seed = seed,
                                       .kind = static_cast<DivergenceKind>(kind),
                                       .alpha = alpha,
                                       .most_outcomes = 4,
                                       .blocks = 1 + seed % 2});
        const std::vector<double> best = solve_weighted(game, sizes_of(game)).model;
        const double welfare = affine_social_welfare(game, best);
        RandomStream random({.seed = seed, .stream = 17});
        for (int trial = 0; trial < 40; ++trial) {
          std::vector<double> other = best;
          const double step = std::pow(10.0, -(trial % 4));
          for (size_t block = 0; block < game.block_count(); ++block) {
            double mass = 0;
            for (size_t x = game.block_begin[block]; x < game.block_begin[block + 1]; ++x) {
              other[x] = best[x] * (1 + step * (random.uniform() - 0.5)) + 1e-3 * step * step;
              mass += other[x];
            }
            for (size_t x = game.block_begin[block]; x < game.block_begin[block + 1]; ++x) {
              other[x] /= mass;
            }
          }
          const double gap = welfare - affine_social_welfare(game, other);
          if (!std::isfinite(gap)) continue;
          const double bound = distance_from_gap(game, gap + 1e-13 * (1 + std::abs(welfare)));
          ASSERT_LE(distance(game, best, other), bound)
              << divergence_names()[kind] << " alpha " << alpha << " seed " << seed;
          sharpest = std::max(sharpest, distance(game, best, other) / bound);
        }
      }
    }
  }
  EXPECT_GT(sharpest, 0.6);
}

// The closed form of kl in long double, from the definition.
TEST(ModelError, TheKlModelIsWithinItsRounding) {
  for (uint64_t seed = 1; seed <= 30; ++seed) {
    Game game = random_game({.seed = seed, .regularization = 0.05});
    std::vector<double> weights = sizes_of(game);
    if (seed % 3 == 0) weights[0] *= 1e7;
    const WeightedOptimum found = solve_weighted(game, weights);
    std::vector<long double> total(game.outcome_count(), 0);
    for (size_t x = 0; x < total.size(); ++x) {
      for (size_t i = 0; i < weights.size(); ++i) {
        total[x] += static_cast<long double>(weights[i]) * game.groups[i].reward[x];
      }
    }
    const long double top = *std::ranges::max_element(total);
    long double mass = 0;
    for (size_t x = 0; x < total.size(); ++x) {
      total[x] = game.initial[x] * std::exp((total[x] - top) / 0.05L);
      mass += total[x];
    }
    long double off = 0;
    for (size_t x = 0; x < total.size(); ++x) off += std::abs(total[x] / mass - found.model[x]);
    EXPECT_LE(static_cast<double>(off), found.distance) << "seed " << seed;
  }
}

// max_min and nash stopped early are as near to the finished ones as they say: a second run from
// regrouped, equivalent reports ends elsewhere within its tolerance.
TEST(ModelError, ConcaveRulesCarryTheirDistance) {
  for (const char* name : {"max_min", "nash"}) {
    const auto rule = make_training_rule(name).value();
    for (uint64_t seed = 1; seed <= 20; ++seed) {
      const Game game = random_game({.seed = seed, .kind = static_cast<DivergenceKind>(seed % 7)});
      Game turned = game;
      std::ranges::reverse(turned.groups);
      const TrainedModel here = rule->train(game).value();
      const TrainedModel there = rule->train(turned).value();
      EXPECT_GT(here.distance, 0);
      EXPECT_LE(distance(game, here.model, there.model), here.distance + there.distance)
          << name << " seed " << seed;
    }
  }
}

// A choice that rounding decides is no choice: it counts as unknown.
TEST(ModelError, TiesAmongCandidatesAndUnderTvAreUnknown) {
  Game game;
  game.initial = {0.5, 0.5};
  game.groups = {{"a", 1, {1, 0}}, {"b", 1, {0, 1}}};
  game.candidates = {{0.9, 0.1}, {0.1, 0.9}};
  game = make_game(game).value();
  const auto train = [&](const char* name) {
    return make_training_rule(name).value()->train(game).value();
  };
  for (const char* name : {"sw_max", "max_min", "nash"}) EXPECT_EQ(train(name).distance, 2) << name;
  EXPECT_EQ(train("mean_of_optima").distance, 0);  // each has a favourite of its own
  game.groups[0].group_size = 2;
  EXPECT_EQ(train("sw_max").distance, 0);
  EXPECT_EQ(train("nash").distance, 0);

  Game tv = random_game({.seed = 3, .kind = DivergenceKind::kTv, .regularization = 0.1});
  EXPECT_LT(solve_weighted(tv, sizes_of(tv)).distance, 1e-12);
  // Two outcomes of equal totals, of which one gets the mass of the third: a third of the mass may
  // be on either.
  tv.initial = {1, 1, 1};
  tv.groups = {{"a", 1, {1, 0.3, 0}}, {"b", 1, {0.3, 1, 0}}};
  tv.block_begin.clear();
  tv = make_game(tv).value();
  EXPECT_NEAR(solve_weighted(tv, sizes_of(tv)).distance, 2.0 / 3, 1e-12);
}

}  // namespace
}  // namespace candor
