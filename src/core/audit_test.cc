#include "core/audit.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/best_response.h"
#include "core/solution.h"
#include "core/sweep.h"
#include "core/test_games.h"

namespace candor {
namespace {

TEST(Audit, AffinePaymentsSurviveAndZeroPaymentsDoNot) {
  for (uint64_t seed = 1; seed <= 12; ++seed) {
    SCOPED_TRACE(seed);
    const DivergenceKind kind = seed % 2 == 0 ? DivergenceKind::kKl : DivergenceKind::kChi2;
    const Game game = random_game({.seed = seed, .kind = kind, .blocks = 1 + seed % 2});
    const Audit affine = *audit_game(game, {.payments = PaymentRule::kAffine, .given_prices = {}});
    EXPECT_FALSE(affine.profitable);
    for (const GroupAudit& group : affine.groups) {
      EXPECT_LE(group.deviation_gain, affine.threshold);
      EXPECT_GE(group.families.size(), 4U);
    }
    const Audit zero = *audit_game(game, {.payments = PaymentRule::kZero, .given_prices = {}});
    EXPECT_TRUE(zero.profitable);
    for (const GroupAudit& group : zero.groups) {
      EXPECT_LE(group.deviation_gain, group.certificate + 1e-9);
      // The best report does what it claims.
      const Solution lied =
          *solve(with_report(game, &group - zero.groups.data(), group.best_report.group_size,
                             group.best_report.reward));
      EXPECT_NEAR(group_valuation(game, game.groups[&group - zero.groups.data()], lied.allocation),
                  group.best_utility, 1e-7 * (1 + group.best_utility));
    }
  }
}

TEST(Audit, CatchesAPlantedFaultInPrices) {
  Game raw;
  raw.initial = {.4, .3, .3};
  raw.groups = {{"a", 3, {1, .2, .1}}, {"b", 4, {.1, 1, .4}}};
  raw.candidates = {{.8, .1, .1}, {.1, .8, .1}, {.4, .3, .3}, {.45, .45, .1}};
  const Game game = *make_game(raw);
  AuditOptions options{.payments = PaymentRule::kGiven, .given_prices = {}};
  const CandidateTable table = tabulate(game);
  for (size_t group = 0; group < 2; ++group) {
    std::vector<double>& prices = options.given_prices.emplace_back();
    for (size_t k = 0; k < 4; ++k)
      prices.push_back(table.best_welfare(group) - table.welfare(k, group));
  }
  EXPECT_FALSE(audit_game(game, options)->profitable) << "the true prices";
  for (double& price : options.given_prices[0]) price *= 0.5;
  const Audit caught = *audit_game(game, options);
  EXPECT_TRUE(caught.profitable) << "prices at half";
  EXPECT_GT(caught.groups[0].deviation_gain, 0);
  EXPECT_EQ(caught.groups[1].deviation_gain, 0);
}

TEST(Audit, PayReportInvitesUnderstatement) {
  const Game game = random_game({.seed = 4, .most_groups = 3});
  const Audit audit = *audit_game(game, {.payments = PaymentRule::kPayReport, .given_prices = {}});
  EXPECT_TRUE(audit.profitable);
  for (const GroupAudit& group : audit.groups) EXPECT_EQ(group.utility_truth, 0);
}

// Every 0/1 report and a fine grid of others: nothing beats the exact answer (KL).
TEST(BestResponse, BeatsEveryReportOnAGrid) {
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE(seed);
    const Game game = random_game({.seed = seed, .most_groups = 3, .most_outcomes = 4});
    const double size = game.groups[0].group_size;
    const BestResponse best = best_response_without_payments(game, 0, size);
    ASSERT_TRUE(best.exact);
    const auto value_of = [&](const std::vector<double>& report) {
      return group_valuation(game, game.groups[0],
                             solve(with_report(game, 0, size, report))->allocation);
    };
    EXPECT_NEAR(value_of(best.report.reward), best.valuation, 1e-12 * (1 + best.valuation));
    static constexpr int kLevels = 7;
    const size_t m = game.outcome_count();
    size_t combinations = 1;
    for (size_t x = 0; x < m; ++x) combinations *= kLevels;
    for (size_t code = 0; code < combinations; ++code) {
      std::vector<double> report(m);
      size_t rest = code;
      for (double& value : report) {
        value = static_cast<double>(rest % kLevels) / (kLevels - 1);
        rest /= kLevels;
      }
      ASSERT_LE(value_of(report), best.valuation + 1e-12 * (1 + best.valuation));
    }
  }
}

// Thm 3.2 needs full support: here lying cannot help, all mass is on the favourite already.
TEST(BestResponse, NothingToGainAtTheBoundary) {
  Game raw;
  raw.divergence.kind = DivergenceKind::kChi2;
  raw.initial = {.5, .5};
  raw.groups = {{"a", 10, {1, .1}}};
  const Game game = *make_game(raw);
  EXPECT_NEAR(best_response_without_payments(game, 0, 10).valuation,
              solve(game)->groups[0].valuation, 1e-12);
}

TEST(Sweep, TruthIsBestWithPaymentsAndNotWithout) {
  const Game game = random_game({.seed = 21, .most_groups = 2, .blocks = 4});
  for (const Misreport kind :
       {Misreport::kSizeInflation, Misreport::kPreferenceMix, Misreport::kPreferenceMixClipped}) {
    if (game.groups.size() < 2 && kind != Misreport::kSizeInflation) continue;
    const auto points = *sweep(game, 0, kind, {0.5, 0.9, 1.0, 1.1, 2.0, 3.0});
    EXPECT_NEAR(points[2].utility, solve(game)->groups[0].utility, 1e-12);
    for (const SweepPoint& point : points) EXPECT_LE(point.utility, points[2].utility + 1e-12);
    EXPECT_GT(points[5].valuation, points[2].valuation);
  }
  EXPECT_FALSE(sweep(game, 0, Misreport::kSizeInflation, {0.0}).ok());
}

}  // namespace
}  // namespace candor
