#include "core/lie_search.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "core/linear_program.h"
#include "core/test_games.h"
#include "core/utility_rounding.h"

namespace candor {
namespace {

TEST(LinearProgram, SmallProgrammesByHand) {
  // max x + y, x + 2y <= 4, 3x + y <= 6: (1.6, 1.2)
  LinearProgram program;
  program.cost = {-1, -1};
  program.lower = {0, 0};
  program.upper = {LinearProgram::kInfinity, LinearProgram::kInfinity};
  program.rows = {{1, 2}, {3, 1}};
  program.row_lower = {-LinearProgram::kInfinity, -LinearProgram::kInfinity};
  program.row_upper = {4, 6};
  const LinearSolution best = solve_linear_program(program);
  ASSERT_EQ(best.status, LinearSolution::Status::kOptimal);
  EXPECT_NEAR(best.value, -2.8, 1e-12);
  EXPECT_NEAR(best.x[0], 1.6, 1e-12);
  program.row_lower[0] = 5;
  EXPECT_EQ(solve_linear_program(program).status, LinearSolution::Status::kInfeasible);
  program.rows.clear();
  program.row_lower.clear();
  program.row_upper.clear();
  EXPECT_EQ(solve_linear_program(program).status, LinearSolution::Status::kUnbounded);
}

// The slope of utility against difference quotients of solved games.
TEST(LieSearch, UtilitySlopeIsTheDerivative) {
  for (uint64_t seed = 1; seed <= 56; ++seed) {
    const Game game = random_game({.seed = seed,
                                   .kind = static_cast<DivergenceKind>(seed % 7),
                                   .blocks = 1 + seed % 2,
                                   .regularization = 20});
    const Solution truth = solve(game).value();
    for (const PaymentRule rule :
         {PaymentRule::kZero, PaymentRule::kAffine, PaymentRule::kPayReport}) {
      const AuditOptions options{.payments = rule, .given_prices = {}};
      const LieSearch search(game, 0, options, truth);
      Report report = game.groups[0];
      for (size_t x = 0; x < report.reward.size(); ++x) {
        report.reward[x] = 0.5 * report.reward[x] + 0.3 * (x % 2 == 0 ? 1 : 0) + 0.1;
      }
      report.group_size = 2;
      const auto utility = [&](const Report& lie) {
        const Solution after = solve(with_report(game, 0, lie.group_size, lie.reward)).value();
        const double value = group_valuation(game, game.groups[0], after.allocation);
        if (rule == PaymentRule::kZero) return value;
        if (rule == PaymentRule::kAffine) return value - after.groups[0].payment;
        return value - group_valuation(game, lie, after.allocation);
      };
      const Solution here = solve(with_report(game, 0, report.group_size, report.reward)).value();
      const std::vector<double> slope = utility_slope(search, report, here.allocation);
      for (size_t x = 0; x < slope.size(); ++x) {
        static constexpr double kStep = 1e-5;
        Report up = report;
        Report down = report;
        up.reward[x] += kStep;
        down.reward[x] -= kStep;
        const double quotient = (utility(up) - utility(down)) / (2 * kStep * report.group_size);
        EXPECT_NEAR(slope[x] / static_cast<double>(game.block_count()), quotient, 1e-6)
            << "seed " << seed << " outcome " << x;
      }
    }
  }
}

// Valuations under KL against softmax in long doubles, 11 bits more: whatever the sizes and lambda,
// the error of ours is within what is called its rounding, and that is not far too much.
TEST(UtilityRounding, CoversTheErrorOfKlValuations) {
  double largest = 0;
  for (uint64_t seed = 1; seed <= 4000; ++seed) {
    RandomStream random({.seed = seed, .stream = 32});
    Game game = random_game({.seed = seed,
                             .most_groups = 4,
                             .regularization = std::pow(10.0, -3 + 12 * random.uniform())});
    for (Report& group : game.groups) {
      group.group_size = std::round(std::pow(10.0, 9 * random.uniform()));
      group.reward_rest.clear();  // the game is that of these doubles
    }
    if (seed % 2 == 0) {  // two giants that want the opposite: nothing is left but their rounding
      game.normalization = Normalization::kNone;
      game.groups.push_back(game.groups[0]);
      game.groups.back().name = "opposite";
      for (double& value : game.groups.back().reward) value = 1 - value;
    }
    const Result<Solution> solution = solve(game);
    ASSERT_TRUE(solution.ok());
    std::vector<long double> exponents(game.outcome_count());
    long double stakes = 1;  // over lambda
    for (const Report& group : game.groups) {
      stakes += group.group_size / game.divergence.regularization;
    }
    for (size_t x = 0; x < exponents.size(); ++x) {
      for (const Report& group : game.groups) {
        exponents[x] += static_cast<long double>(group.group_size) * group.reward[x] /
                        game.divergence.regularization;
      }
    }
    const long double top = std::ranges::max(exponents);
    long double mass = 0;
    for (size_t x = 0; x < exponents.size(); ++x) {
      exponents[x] = game.initial[x] * std::exp(exponents[x] - top);
      mass += exponents[x];
    }
    for (size_t i = 0; i < game.groups.size(); ++i) {
      long double value = 0;
      for (size_t x = 0; x < exponents.size(); ++x) {
        value += game.groups[i].group_size * game.groups[i].reward[x] * exponents[x] / mass;
      }
      const double rounding = utility_rounding({.reported = game,
                                                .group = i,
                                                .type = game.groups[i],
                                                .payments = PaymentRule::kZero,
                                                .solution = *solution});
      // Eleven bits more than a double are not enough where sizes are far above lambda.
      const long double reference = 0x1p-60L * game.groups[i].group_size * stakes;
      const long double apart = std::abs(value - solution->groups[i].valuation);
      const double error = static_cast<double>(std::max(0.0L, apart - reference)) / rounding;
      EXPECT_LE(error, 1) << "seed " << seed;
      largest = std::max(largest, error);
    }
  }
  EXPECT_GT(largest, 0.05);
}

Game random_menu(uint64_t seed, Normalization normalization) {
  Game game = random_game({.seed = seed, .most_groups = 3, .most_outcomes = 3});
  RandomStream random({.seed = seed, .stream = 17});
  const size_t count = 2 + random.below(3);
  for (size_t k = 0; k < count; ++k) {
    std::vector<double>& model = game.candidates.emplace_back();
    for (size_t x = 0; x < game.outcome_count(); ++x) model.push_back(0.02 + random.uniform());
  }
  game.max_size = 3;
  for (Report& group : game.groups) group.group_size = 1 + static_cast<double>(random.below(3));
  game.normalization = normalization;
  return make_game(game).value();
}

// The best report on a grid, every size.
double best_on_grid(const Game& game, const AuditOptions& options) {
  double best = -1e300;
  const size_t m = game.outcome_count();
  static constexpr int kSteps = 12;
  std::vector<int> at(m, 0);
  for (bool more = true; more;) {
    std::vector<double> reward(m);
    for (size_t x = 0; x < m; ++x) reward[x] = static_cast<double>(at[x]) / kSteps;
    if (make_admissible(game, 0, reward)) {
      for (double size = 1; size <= static_cast<double>(game.max_size); ++size) {
        const Solution after = solve(with_report(game, 0, size, reward)).value();
        double utility = group_valuation(game, game.groups[0], after.allocation);
        if (options.payments == PaymentRule::kGiven) {
          utility -= options.given_prices[0][*after.winner];
        }
        if (options.payments == PaymentRule::kPayReport) {
          utility -= group_valuation(game, {"", size, reward}, after.allocation);
        }
        best = std::max(best, utility);
      }
    }
    more = false;
    for (size_t x = 0; x < m && !more; ++x) {
      if (++at[x] <= kSteps)
        more = true;
      else
        at[x] = 0;
    }
  }
  return best;
}

TEST(Reachable, LinearProgrammesMeetTheBestReportOfAGrid) {
  int exact = 0;
  int audits = 0;
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    for (const PaymentRule rule :
         {PaymentRule::kZero, PaymentRule::kGiven, PaymentRule::kPayReport}) {
      const Game game =
          random_menu(seed, seed % 2 == 0 ? Normalization::kMax : Normalization::kSum);
      AuditOptions options{.payments = rule, .given_prices = {}, .random_reports = 20};
      RandomStream random({.seed = seed, .stream = 18});
      if (rule == PaymentRule::kGiven) options.given_prices = random_prices(game, random);
      const GroupAudit found = audit_game(game, options)->groups[0];
      const double grid = best_on_grid(game, options);
      // No report on the grid beats the certificate, which the programmes give.
      EXPECT_LE(grid, found.utility_truth + found.certificate + 1e-9) << "seed " << seed;
      if (found.bound == "exact") {
        EXPECT_LE(grid, found.best_utility + 1e-8) << "seed " << seed;
        ++exact;
      }
      ++audits;
    }
  }
  EXPECT_GT(exact, 9 * audits / 10);
}

}  // namespace
}  // namespace candor
