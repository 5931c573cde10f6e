#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/divergence.h"
#include "core/game.h"
#include "core/solution.h"
#include "core/test_games.h"

namespace candor {
namespace {

Game two_outcomes(DivergenceKind kind, std::vector<Report> groups,
                  std::vector<double> initial = {.5, .5}) {
  Game game;
  game.divergence.kind = kind;
  game.initial = std::move(initial);
  game.groups = std::move(groups);
  return make_game(game).value();
}

// max ASW of one block by bisection on the dual variable with the generator's own functions, in
// long double: no formula shared with the solver.
double bisected_welfare(const Game& game, size_t skip) {
  long double total = 0;
  for (size_t block = 0; block < game.block_count(); ++block) {
    std::vector<double> s;
    const size_t begin = game.block_begin[block];
    const size_t end = game.block_begin[block + 1];
    for (size_t x = begin; x < end; ++x) {
      double sum = 0;
      for (size_t i = 0; i < game.groups.size(); ++i) {
        if (i != skip) sum += game.groups[i].group_size * game.groups[i].reward[x];
      }
      s.push_back(sum);
    }
    const auto mass = [&](double mu) {
      long double sum = 0;
      for (size_t x = begin; x < end; ++x) {
        sum += game.initial[x] *
               static_cast<long double>(inverse_slope(game.divergence, s[x - begin] - mu));
      }
      return sum;
    };
    const double span = 3 * (*std::ranges::max_element(s) + game.divergence.regularization * 50);
    double low = -span;
    double high = span;
    for (int step = 0; step < 200; ++step) {
      const double middle = (low + high) / 2;
      (mass(middle) > 1 ? low : high) = middle;
    }
    for (size_t x = begin; x < end; ++x) {
      const double r = inverse_slope(game.divergence, s[x - begin] - low);
      total += game.initial[x] *
               (r * static_cast<long double>(s[x - begin]) - generator(game.divergence, r));
    }
  }
  return static_cast<double>(total / game.block_count());
}

// Def 3.1: the model against bisection on the dual.
TEST(Solver, AgreesWithBisectionAndIsIndividuallyRational) {
  int active = 0;
  for (uint64_t seed = 1; seed <= 1500; ++seed) {
    SCOPED_TRACE(seed);
    const DivergenceKind kind = seed % 2 == 0 ? DivergenceKind::kKl : DivergenceKind::kChi2;
    const Game game = random_game({.seed = seed, .kind = kind, .blocks = 1 + seed % 3});
    const Solution solution = *solve(game);
    const double scale = 1 + std::abs(solution.welfare);
    ASSERT_NEAR(solution.welfare, bisected_welfare(game, kNobody), 1e-11 * scale);
    ASSERT_LE(solution.gap(), 1e-12 * scale);
    ASSERT_NEAR(affine_social_welfare(game, solution.allocation), solution.welfare, 1e-11 * scale);
    active += std::ranges::count(solution.allocation, 0.0) > 0 ? 1 : 0;
    for (size_t i = 0; i < game.groups.size(); ++i) {
      const GroupOutcome& group = solution.groups[i];
      const double without = bisected_welfare(game, i);
      ASSERT_NEAR(group.welfare_without, without, 1e-11 * scale);
      ASSERT_NEAR(group.payment, without - affine_social_welfare(game, solution.allocation, i),
                  2e-11 * scale);
      ASSERT_NEAR(group.valuation, group_valuation(game, game.groups[i], solution.allocation),
                  1e-12 * scale);
      ASSERT_GE(group.payment, 0);               // NeurIPS Prop 4.4
      ASSERT_GE(group.utility, -1e-12 * scale);  // IR, Thm 3.3
      ASSERT_LE(group.payment_error(), 1e-11 * scale);
    }
  }
  EXPECT_GT(active, 250) << "too few chi2 games with an active boundary";
}

// Envelope theorem: d(ASW*)/dw_i = v_i, so p_i = w_i v_i - integral of v_i over sizes 0..w_i.
// p^AFF by a second route: the integral of the valuation over sizes.
TEST(Solver, PaymentIsThePathIntegral) {
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    SCOPED_TRACE(seed);
    const DivergenceKind kind = seed % 2 == 0 ? DivergenceKind::kKl : DivergenceKind::kChi2;
    const Game game = random_game({.seed = seed, .kind = kind, .regularization = 2.0});
    const GroupOutcome truth = solve(game)->groups[0];
    static constexpr int kSteps = 4000;
    double integral = 0;
    for (int step = 0; step < kSteps; ++step) {  // midpoint rule
      const double size = truth.group_size * (step + 0.5) / kSteps;
      const Solution at = *solve(with_report(game, 0, size, game.groups[0].reward));
      integral += at.groups[0].valuation / size * truth.group_size / kSteps;
    }
    EXPECT_NEAR(truth.payment, truth.valuation - integral, 2e-6 * (1 + truth.valuation));
  }
}

// MATH 3's example where the interior formula (6.25) is wrong: the leave-one-out problem is active.
TEST(Solver, Chi2BoundaryOfTheLeaveOneOutProblem) {
  const Game game = two_outcomes(DivergenceKind::kChi2, {{"a", 10, {1, 0}}, {"b", 10, {0, 1}}});
  const Solution solution = *solve(game);
  EXPECT_NEAR(solution.groups[0].payment, 4.0, 1e-13);
  EXPECT_NEAR(solution.groups[1].payment, 4.0, 1e-13);
  EXPECT_NEAR(solution.allocation[0], 0.5, 1e-15);
}

TEST(Solver, Chi2InteriorPaymentIsAVariance) {
  const Game game =
      two_outcomes(DivergenceKind::kChi2, {{"a", 1, {1, .2}}, {"b", 1, {.4, 1}}}, {.3, .7});
  const double variance = .3 * .7 * .8 * .8;
  EXPECT_NEAR(solve(game)->groups[0].payment, variance / 4, 1e-16);
}

// KL with two outcomes in closed form, from w/L = 1e-8 (where p ~ w^2 Var / 2L) to 1e2.
TEST(Solver, KlPaymentKeepsItsDigits) {
  for (const double strength : {1e8, 1e4, 1.0, 1e-2}) {
    Game game;
    game.divergence.regularization = strength;
    game.initial = {.3, .7};
    game.groups = {{"a", 1, {1, 0}}, {"b", 1, {.25, 1}}};
    const Solution solution = *solve(make_game(game).value());
    const long double l = strength;
    const long double odds = .7L / .3L * expl((1.0L - 0.25L - 1.0L) / l);
    const long double p1 = 1 / (1 + odds);
    // p_a = L log E[exp(-(rm - v)/L)] = -(-v) ...: expm1 in long double keeps 1e-19 absolute.
    const long double exact = l * log1pl(p1 * expm1l(-(1 - p1) / l) + (1 - p1) * expm1l(p1 / l));
    EXPECT_NEAR(solution.groups[0].payment / static_cast<double>(exact), 1.0,
                strength == 1e8 ? 2e-3 : 1e-9)
        << strength;  // at 1e8 the long double reference itself has 1e-19 / 1e-17 left
    EXPECT_GE(solution.groups[0].payment, 0);
  }
  // Second order: w^2 Var_{p0} / (2 L), relative error O(w/L).
  Game game;
  game.divergence.regularization = 1e8;
  game.initial = {.3, .7};
  game.groups = {{"a", 1, {1, 0}}};
  EXPECT_NEAR(solve(make_game(game).value())->groups[0].payment / (.21 / 2e8), 1.0, 1e-7);
}

// The payment by its cumulants under p*, p = L (k2/2 - k3/6 + k4/24 - ...), k_j those of w rm / L:
// for small w/L another route with all its digits, where log-partitions have none left.
TEST(Solver, SmallKlPaymentsAgreeWithTheirCumulants) {
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE(seed);
    for (const double strength : {1e5, 1e7, 1e9}) {
      const Game game = random_game({.seed = seed, .most_groups = 4, .regularization = strength});
      const Solution solution = *solve(game);
      for (size_t i = 0; i < game.groups.size(); ++i) {
        const std::vector<double>& reward = game.groups[i].reward;
        long double mean = 0;
        for (size_t x = 0; x < reward.size(); ++x) mean += solution.allocation[x] * reward[x];
        long double second = 0;
        long double third = 0;
        long double fourth = 0;
        for (size_t x = 0; x < reward.size(); ++x) {
          const long double y = game.groups[i].group_size * (reward[x] - mean) / strength;
          second += solution.allocation[x] * y * y;
          third += solution.allocation[x] * y * y * y;
          fourth += solution.allocation[x] * y * y * y * y;
        }
        fourth -= 3 * second * second;
        const long double payment = strength * (second / 2 - third / 6 + fourth / 24);
        ASSERT_NEAR(solution.groups[i].payment / static_cast<double>(payment), 1.0, 1e-12);
      }
    }
  }
}

// Sizes and lambda times c: the same model, everything else times c.
TEST(Solver, ScalesWithSizesAndLambda) {
  for (uint64_t seed = 1; seed <= 100; ++seed) {
    SCOPED_TRACE(seed);
    const DivergenceKind kind = seed % 2 == 0 ? DivergenceKind::kKl : DivergenceKind::kChi2;
    const Game game = random_game({.seed = seed, .kind = kind, .blocks = 2});
    Game scaled = game;
    static constexpr double kFactor = 1024;  // a power of two: nothing may change but the exponent
    scaled.divergence.regularization *= kFactor;
    for (Report& report : scaled.groups) report.group_size *= kFactor;
    const Solution a = *solve(game);
    const Solution b = *solve(scaled);
    EXPECT_EQ(a.allocation, b.allocation);
    EXPECT_NEAR(b.welfare, kFactor * a.welfare, 1e-12 * std::abs(b.welfare));
    for (size_t i = 0; i < game.groups.size(); ++i) {
      EXPECT_NEAR(b.groups[i].payment, kFactor * a.groups[i].payment,
                  1e-12 * b.groups[i].payment + 1e-300);
    }
  }
}

// A small group beside one at the size limit: its price keeps its digits.
TEST(Solver, Chi2PaymentBesideAHugeGroup) {
  const Game game = two_outcomes(DivergenceKind::kChi2,
                                 {{"small", 3, {1, .5}}, {"huge", 2147483647, {1, 1}}}, {.3, .7});
  const Solution solution = *solve(game);
  EXPECT_NEAR(solution.groups[0].payment, 9 * .3 * .7 * .25 / 4, 1e-15);
  EXPECT_EQ(solution.groups[1].payment, 0) << "a constant reward pays nothing";
}

// Beside a huge group that drives the third outcome to 0, w/L = 1e-8: with the same support P with
// and without the group, p = w^2 p0(P) Var_P(rm)/(4L), and the ratios differ in their ninth digit.
TEST(Solver, SmallChi2PaymentAtTheBoundaryKeepsItsDigits) {
  Game game;
  game.divergence = {DivergenceKind::kChi2, 1e8};
  game.initial = {.3, .3, .4};
  game.groups = {{"small", 1, {1, .25, 1}}, {"huge", 1e9, {1, .9, 0}}};
  const Solution solution = *solve(make_game(game).value());
  EXPECT_NEAR(solution.allocation[0], .3 * (1 + 11.0 / 12), 1e-8);
  EXPECT_EQ(solution.allocation[2], 0);
  const double exact = .6 * (.375 * .375) / 4e8;
  EXPECT_NEAR(solution.groups[0].payment / exact, 1.0, 1e-14);
}

// A group at the size limit that likes two outcomes alike leaves the choice between them, to the
// last digit, to the others.
TEST(Solver, AHugeIndifferentGroupLeavesTheOthersTheirDigits) {
  for (const DivergenceKind kind : {DivergenceKind::kKl, DivergenceKind::kChi2}) {
    const auto solution_of = [&](std::vector<Report> groups, std::vector<double> initial) {
      return *solve(two_outcomes(kind, std::move(groups), std::move(initial)));
    };
    const Solution with =
        solution_of({{"huge", 2147483647, {1, 1, 0}}, {"small", 1, {.7, 1, .4}}}, {.25, .25, .5});
    // Alone on the two outcomes, whose masses double.
    const Solution alone = solution_of({{"small", 1, {.7, 1}}}, {.5, .5});
    const double odds = with.allocation[1] / with.allocation[0];
    const double odds_alone = alone.allocation[1] / alone.allocation[0];
    if (kind == DivergenceKind::kKl) {
      EXPECT_NEAR(odds, odds_alone, 1e-14);
      EXPECT_NEAR(odds_alone, std::exp(.3), 1e-14);
    } else {
      EXPECT_NEAR(odds, (2 + .075) / (2 - .075), 1e-14);  // r = 2 +- (.3/2)/(2L)
    }
  }
}

TEST(Solver, HugeExponents) {
  Game game;
  game.divergence.regularization = 1e-6;
  game.initial = {1e-300, .5, .5};
  game.groups = {{"a", 2147483647, {1, .5, 0}}, {"b", 3, {0, 1, 1}}, {"c", 1, {1, 1, 1}}};
  const Solution solution = *solve(make_game(game).value());
  EXPECT_NEAR(solution.allocation[0], 1, 1e-12);
  EXPECT_EQ(solution.groups[2].payment, 0);  // a constant reward pays nothing
  // Alone, b and c get b's outcomes; a's choice takes 3 from b, and the divergence to a rare
  // outcome.
  EXPECT_NEAR(solution.groups[0].payment, 3 + 1e-6 * std::log(1e300), 1e-6);
}

TEST(Solver, OneGroupPaysItsDivergence) {
  const Game game = random_game({.seed = 5, .most_groups = 1});
  const Solution solution = *solve(game);
  EXPECT_NEAR(solution.groups[0].payment, divergence_from_initial(game, solution.allocation),
              1e-13);
}

TEST(Solver, TruthIsDominantOnRandomLies) {
  for (uint64_t seed = 1; seed <= 20000; ++seed) {
    const DivergenceKind kind = seed % 2 == 0 ? DivergenceKind::kKl : DivergenceKind::kChi2;
    const Game game = random_game({.seed = seed, .kind = kind, .most_outcomes = 6});
    RandomStream random({.seed = seed, .stream = 7});
    std::vector<double> lie(game.outcome_count());
    for (double& value : lie) value = random.uniform();
    lie[random.below(lie.size())] = 1;
    const double size = static_cast<double>(1 + random.below(50));
    const Solution truth = *solve(game);
    const Solution lied = *solve(with_report(game, 0, size, lie));
    const double utility =
        group_valuation(game, game.groups[0], lied.allocation) - lied.groups[0].payment;
    ASSERT_LE(utility, truth.groups[0].utility + 1e-11 * (1 + size)) << "seed " << seed;
  }
}

TEST(Solver, InvariantUnderSplittingAnOutcomeAndPermutingGroups) {
  const Game game = random_game({.seed = 11, .most_groups = 4});
  Game split = game;
  split.initial.back() /= 2;
  split.initial.push_back(split.initial.back());
  for (Report& report : split.groups) report.reward.push_back(report.reward.back());
  std::swap(split.groups.front(), split.groups.back());
  split.block_begin = {0, split.initial.size()};
  const Solution a = *solve(game);
  const Solution b = *solve(split);
  EXPECT_NEAR(a.welfare, b.welfare, 1e-13);
  EXPECT_NEAR(a.groups.front().payment, b.groups.back().payment, 1e-13);
}

TEST(Solver, CandidatesAndTies) {
  Game game;
  game.initial = {.5, .5};
  game.groups = {{"a", 1, {1, 0}}, {"b", 1, {0, 1}}};
  game.candidates = {{0, 1}, {1, 0}, {.5, .5}};
  const Solution solution = *solve(make_game(game).value());
  // All rewards sum to 1 everywhere, so the initial model wins: it alone has no divergence.
  EXPECT_EQ(solution.winner, 2U);
  EXPECT_NEAR(solution.groups[0].payment, 0.0, 1e-15 + std::max(0.0, 1 - std::log(2.0) - 0.5));
  game.candidates = {{0, 1}, {1, 0}};
  const Solution tied = *solve(make_game(game).value());
  EXPECT_EQ(tied.winner, 1U) << "a tie goes to the larger valuation of the first group";
  EXPECT_EQ(tied.groups[0].payment, 1.0);
  EXPECT_EQ(tied.groups[1].payment, 0.0);
}

TEST(Solver, PriceMenuPricesTheChosenModelAtThePayment) {
  for (const DivergenceKind kind : {DivergenceKind::kKl, DivergenceKind::kChi2}) {
    const Game game = random_game({.seed = 3, .kind = kind, .most_groups = 4, .blocks = 3});
    const Solution solution = *solve(game);
    for (size_t group = 0; group < game.groups.size(); ++group) {
      const auto menu = *price_menu(game, group);
      ASSERT_EQ(menu.size(), 4U);
      const double utility = solution.groups[group].utility;
      for (const PricedPoint& point : menu) {
        EXPECT_GE(point.price, -1e-12);
        EXPECT_LE(point.valuation - point.price, utility + 1e-12) << point.name;  // taxation
      }
      const double direct = solution.groups[group].welfare_without -
                            affine_social_welfare(game, solution.allocation, group);
      EXPECT_NEAR(menu.back().price, direct, 1e-12);
      EXPECT_NEAR(
          solution.groups[group].welfare_without - affine_social_welfare(game, game.initial, group),
          menu.front().price, 1e-12);
    }
  }
}

std::string error_of(Game game) {
  const Result<Game> made = make_game(std::move(game));
  return made.ok() ? "" : made.error().message;
}

TEST(Game, RefusesWhatIsNotAGame) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const double infinity = std::numeric_limits<double>::infinity();
  Game good;
  good.initial = {.5, .5};
  good.groups = {{"a", 1, {1, 0}}, {"b", 2, {0, 1}}};
  ASSERT_EQ(error_of(good), "");
  const auto broken = [&](auto&& breaking) {
    Game game = good;
    breaking(game);
    return error_of(game);
  };
  EXPECT_NE(broken([&](Game& g) { g.initial[1] = 0; }).find("initial[1]: found 0"),
            std::string::npos);
  EXPECT_NE(broken([&](Game& g) { g.initial[1] = nan; }), "");
  EXPECT_NE(broken([&](Game& g) { g.initial[1] = -1; }), "");
  EXPECT_NE(broken([&](Game& g) { g.groups[1].reward[0] = nan; }).find("groups[1].reward[0]"),
            std::string::npos);
  EXPECT_NE(broken([&](Game& g) { g.groups[1].reward[0] = infinity; }), "");
  EXPECT_NE(broken([&](Game& g) { g.groups[1].reward[0] = -1; }), "");
  EXPECT_NE(broken([&](Game& g) {
              g.groups[1].reward = {0, 0};
            }).find("zero everywhere"),
            std::string::npos);
  EXPECT_NE(broken([&](Game& g) { g.groups[1].reward = {1}; }), "");
  EXPECT_NE(broken([&](Game& g) { g.groups[1].name = "a"; }).find("a second time"),
            std::string::npos);
  EXPECT_NE(broken([&](Game& g) { g.groups[1].group_size = 0; }), "");
  EXPECT_NE(broken([&](Game& g) { g.groups[1].group_size = 1.5; }), "");
  EXPECT_NE(broken([&](Game& g) { g.groups[1].group_size = 4e9; }), "");
  EXPECT_NE(broken([&](Game& g) { g.groups.clear(); }), "");
  EXPECT_NE(broken([&](Game& g) { g.divergence.regularization = 0; }), "");
  EXPECT_NE(broken([&](Game& g) { g.divergence.regularization = infinity; }), "");
  EXPECT_NE(broken([&](Game& g) { g.candidates = {{1, -1}}; }), "");
  EXPECT_NE(broken([&](Game& g) { g.candidates = {{0, 0}}; }), "");
  EXPECT_NE(broken([&](Game& g) { g.block_begin = {0, 1, 1, 2}; }), "");
}

TEST(Game, NormalisesOverAllBlocks) {
  Game game;
  game.initial = {2, 2, 1, 3};
  game.block_begin = {0, 2, 4};
  game.groups = {{"a", 1, {1, 2, 3, 4}}};
  game.normalization = Normalization::kSum;
  const Game made = *make_game(game);
  EXPECT_EQ(made.initial, (std::vector<double>{.5, .5, .25, .75}));
  EXPECT_EQ(made.groups[0].reward, (std::vector<double>{.1, .2, .3, .4}));
}

}  // namespace
}  // namespace candor
