#include <gtest/gtest.h>

#include <cmath>

#include "core/block_parts.h"
#include "core/divergence.h"
#include "core/solution.h"
#include "core/test_games.h"

namespace candor {
namespace {

// The general solver against the closed forms (kl) and the finite active-set method (chi2).
TEST(SmoothBlock, AgreesWithTheClosedForms) {
  for (uint64_t seed = 0; seed < 4000; ++seed) {
    SCOPED_TRACE(seed);
    const DivergenceKind kind = seed % 2 == 0 ? DivergenceKind::kKl : DivergenceKind::kChi2;
    const Game game = random_game({.seed = seed, .kind = kind});
    const Block block = block_of(game, 0);
    const BlockSolution closed = solve_block(block);
    const BlockSolution general = solve_smooth(block);
    ASSERT_NEAR(general.welfare.value, closed.welfare.value,
                1e-12 * (1 + std::abs(closed.welfare.value)));
    for (size_t x = 0; x < block.outcome_count(); ++x) {
      ASSERT_NEAR(general.allocation[x], closed.allocation[x], 1e-12);
    }
    for (size_t group = 0; group < block.group_count(); ++group) {
      ASSERT_NEAR(general.payments[group].value, closed.payments[group].value,
                  1e-11 * closed.payments[group].value + 1e-15);
    }
  }
}

void check_game(const Game& game) {
  const Result<Solution> solved = solve(game);
  ASSERT_TRUE(solved.ok());
  ASSERT_GE(solved->gap(), 0);
  ASSERT_LE(solved->gap(), 1e-12 * (1 + std::abs(solved->welfare) + solved->divergence));
  ASSERT_NEAR(affine_social_welfare(game, solved->allocation), solved->welfare,
              1e-12 * (1 + std::abs(solved->welfare) + solved->divergence));
  for (size_t group = 0; group < game.groups.size(); ++group) {
    const GroupOutcome& outcome = solved->groups[group];
    ASSERT_GE(outcome.payment, 0);
    ASSERT_GE(outcome.utility, 0);
    ASSERT_LE(outcome.payment_error(), 1e-11 * (1 + std::abs(solved->welfare)));
    // Second route: solve the game without the group.
    if (game.groups.size() == 1) continue;
    Game without = game;
    without.groups.erase(without.groups.begin() + static_cast<ptrdiff_t>(group));
    const Solution other = solve(without).value();
    const double difference = affine_social_welfare(without, other.allocation) -
                              affine_social_welfare(without, solved->allocation);
    ASSERT_NEAR(outcome.payment, difference, 1e-11 * (1 + std::abs(other.welfare)));
  }
}

TEST(SmoothBlock, EveryDivergence) {
  for (uint64_t seed = 0; seed < 6000; ++seed) {
    SCOPED_TRACE(seed);
    static constexpr double kOrders[] = {-2.5, -1, 0.3, 0.89, 0.9999, 1.0001, 1.3, 2, 2.5, 6};
    const auto kind = static_cast<DivergenceKind>(seed % 8);
    const Game game = random_game(
        {.seed = seed, .kind = kind, .alpha = kOrders[seed / 8 % 10], .most_outcomes = 40});
    check_game(game);
  }
}

// MATH 2: alpha 1/2 = 2 hellinger, alpha 2 = chi2/2, alpha -> 1 is kl, alpha -> 0 is reverse_kl.
TEST(SmoothBlock, Identities) {
  const auto solved = [](Game game, DivergenceKind kind, double lambda, double alpha) {
    game.divergence = {kind, lambda, alpha};
    return solve(game).value();
  };
  for (uint64_t seed = 0; seed < 300; ++seed) {
    SCOPED_TRACE(seed);
    const Game game = random_game({.seed = seed});
    const auto expect_same = [](const Solution& a, const Solution& b, double tolerance) {
      ASSERT_NEAR(a.welfare, b.welfare, tolerance * (1 + std::abs(a.welfare)));
      for (size_t group = 0; group < a.groups.size(); ++group) {
        ASSERT_NEAR(a.groups[group].payment, b.groups[group].payment,
                    tolerance * (1 + a.groups[group].payment));
      }
    };
    expect_same(solved(game, DivergenceKind::kAlpha, 0.7, 0.5),
                solved(game, DivergenceKind::kHellinger, 1.4, 2), 1e-13);
    expect_same(solved(game, DivergenceKind::kAlpha, 0.7, 2),
                solved(game, DivergenceKind::kChi2, 0.35, 2), 1e-12);
    expect_same(solved(game, DivergenceKind::kAlpha, 0.7, 1 + 1e-9),
                solved(game, DivergenceKind::kKl, 0.7, 2), 1e-5);
    expect_same(solved(game, DivergenceKind::kAlpha, 0.7, 1e-9),
                solved(game, DivergenceKind::kReverseKl, 0.7, 2), 1e-5);
  }
}

// Games on which unsafeguarded Newton diverges (MATH 3).
TEST(SmoothBlock, NewtonNeedsItsBracket) {
  const auto one = [](Divergence divergence, std::vector<double> initial, std::vector<double> s) {
    Game game;
    game.divergence = divergence;
    game.normalization = Normalization::kNone;
    game.initial = std::move(initial);
    game.groups = {{"a", 1, std::move(s)}};
    check_game(make_game(game).value());
  };
  one({DivergenceKind::kAlpha, 1, 2.5}, {.2567, .7433}, {7.815, 3.281});
  one({DivergenceKind::kJs, 10, 2}, {.00430, .99570}, {8.5369, 7.9239});
}

// The total-variation optimum in closed form: all mass more than 2L below the top moves to it.
TEST(TotalVariation, MovesWhatLiesBelow) {
  Game game;
  game.divergence = {DivergenceKind::kTv, 0.25, 2};
  game.initial = {.1, .2, .3, .4};
  game.groups = {{"a", 1, {1, .6, .5, .2}}};
  game = make_game(game).value();
  const Solution solution = solve(game).value();
  // .5 lies exactly 2L below: moving it gains nothing, and the tie order gives it to the top.
  EXPECT_NEAR(solution.allocation[0], .8, 1e-15);
  EXPECT_NEAR(solution.allocation[1], .2, 1e-15);
  EXPECT_EQ(solution.allocation[2], 0);
  EXPECT_NEAR(solution.divergence, .25 * 1.4, 1e-15);
  EXPECT_NEAR(solution.groups[0].payment, .25 * 1.4, 1e-15);
}

}  // namespace
}  // namespace candor
