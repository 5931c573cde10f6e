#include "core/audit.h"

#include <gtest/gtest.h>

#include <algorithm>
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

// No false alarm whatever lambda, normalisation and number of blocks, and no gain above what theory
// allows.
TEST(Audit, AffinePaymentsSurviveEveryScale) {
  static constexpr Normalization kEvery[] = {Normalization::kMax, Normalization::kSum,
                                             Normalization::kNone};
  for (uint64_t seed = 1; seed <= 90; ++seed) {
    SCOPED_TRACE(seed);
    const DivergenceKind kind = seed % 2 == 0 ? DivergenceKind::kKl : DivergenceKind::kChi2;
    Game game = random_game({.seed = seed,
                             .kind = kind,
                             .most_groups = 4,
                             .most_outcomes = 6,
                             .blocks = 1 + seed % 3,
                             .regularization = std::pow(10.0, static_cast<int>(seed % 13) - 6)});
    game.normalization = kEvery[seed % 3];
    game = *make_game(game);
    for (const PaymentRule rule :
         {PaymentRule::kAffine, PaymentRule::kZero, PaymentRule::kPayReport}) {
      const Audit audit =
          *audit_game(game, {.payments = rule, .given_prices = {}, .random_reports = 40});
      EXPECT_FALSE(rule == PaymentRule::kAffine && audit.profitable);
      for (const GroupAudit& group : audit.groups) {
        EXPECT_TRUE(std::isfinite(group.best_utility));
        EXPECT_LE(group.deviation_gain, group.certificate + audit.threshold);
      }
    }
  }
}

// One group of up to 2^31 agents among small ones: it likes every outcome equally, almost equally,
// or not at all equally.
Game game_with_a_giant(uint64_t seed) {
  RandomStream random({.seed = seed, .stream = 31});
  Game game = random_game({.seed = seed,
                           .kind = static_cast<DivergenceKind>(seed % 8),
                           .alpha = seed % 3 == 0 ? -0.7 : 2.6,
                           .most_groups = 3,
                           .most_outcomes = 5,
                           .blocks = 1 + seed / 8 % 2,
                           .regularization = std::pow(10.0, -3 + 15 * random.uniform())});
  Report giant{.name = "giant",
               .group_size = std::round(0x7fffffffp0 * random.uniform()) + 1,
               .reward = std::vector<double>(game.outcome_count(), 1.0)};
  const double spread = seed / 16 % 3 == 0 ? 0 : seed / 16 % 3 == 1 ? 1e-9 : 1;
  for (double& value : giant.reward) value -= spread * random.uniform();
  game.groups.insert(game.groups.begin() + static_cast<ptrdiff_t>(random.below(2)), giant);
  for (uint64_t k = 0; seed % 5 == 0 && k < 4; ++k) {
    std::vector<double>& model = game.candidates.emplace_back();
    for (size_t x = 0; x < game.outcome_count(); ++x) {
      // Every other one so close to the first that rounding decides between them.
      model.push_back(k % 2 == 0 ? random.uniform()
                                 : game.candidates[0][x] * (1 + 1e-15 * random.uniform()));
    }
  }
  return make_game(game).value();
}

// No rounding of a giant's welfare is anybody's gain.
TEST(Audit, AffinePaymentsSurviveAGiant) {
  for (uint64_t seed = 0; seed < 1200; ++seed) {
    SCOPED_TRACE(seed);
    if (seed >= 120 && seed % 5 != 0) continue;  // candidates are quick
    const Game game = game_with_a_giant(seed);
    const Result<Audit> audit = audit_game(game, {.given_prices = {}, .random_reports = 8});
    if (!audit.ok()) continue;  // beyond double precision
    for (const GroupAudit& group : audit->groups) {
      EXPECT_FALSE(group.profitable)
          << group.name << " gains " << group.deviation_gain << " above " << group.threshold;
    }
  }
}

// A giant that likes every outcome equally takes nothing from what the audit sees of the others:
// their thresholds are the same without it, and gains far below 1e-9 of all sizes are found.
TEST(Audit, AGiantHidesNoGain) {
  for (uint64_t seed = 1; seed <= 24; ++seed) {
    SCOPED_TRACE(seed);
    const DivergenceKind kind = seed % 2 == 0 ? DivergenceKind::kKl : DivergenceKind::kChi2;
    const Game alone =
        random_game({.seed = seed, .kind = kind, .most_groups = 3, .regularization = 8});
    Game beside = alone;
    beside.groups.push_back({.name = "giant",
                             .group_size = 0x7fffffffp0,
                             .reward = std::vector<double>(alone.outcome_count(), 1.0)});
    beside = make_game(beside).value();
    const AuditOptions options{.payments = PaymentRule::kZero, .given_prices = {}};
    const Audit small = audit_game(alone, options).value();
    const Audit large = audit_game(beside, options).value();
    for (size_t i = 0; i < alone.groups.size(); ++i) {
      EXPECT_TRUE(large.groups[i].profitable);
      EXPECT_LT(large.groups[i].threshold, 1e-9 * alone.groups[i].group_size);
      EXPECT_NEAR(large.groups[i].deviation_gain, small.groups[i].deviation_gain,
                  1e-12 * alone.groups[i].group_size);
    }
    EXPECT_FALSE(large.groups.back().profitable) << "it likes every model equally";
  }
}

TEST(Audit, GainsOfASmallGroupBesideAGiantByHand) {
  Game raw;
  raw.initial = {1, 1};
  raw.groups = {{"big", 2147483647, {1, 1}}, {"small", 1, {1, 0}}};
  const Game game = make_game(raw).value();
  const Audit audit =
      audit_game(game, {.payments = PaymentRule::kZero, .given_prices = {}}).value();
  EXPECT_TRUE(audit.profitable);
  EXPECT_FALSE(audit.groups[0].profitable);
  EXPECT_TRUE(audit.groups[1].profitable);
  // All mass instead of e/(e + 1) of it.
  EXPECT_NEAR(audit.groups[1].deviation_gain, 1 / (1 + std::exp(1)), 1e-15);
  EXPECT_EQ(audit.groups[1].bound, "exact");
}

// The price of one candidate is 1 where p^AFF charges nothing: the small group does better with the
// other candidate, worth half as much and free.
TEST(Audit, CatchesAPlantedPriceBesideAGiant) {
  Game raw;
  raw.divergence = {DivergenceKind::kChi2, 0.1, 2};
  raw.initial = {1, 1};
  raw.groups = {{"big", 1e9, {1, 1}}, {"small", 1, {1, 0.5}}};
  raw.candidates = {{1, 0}, {0, 1}};
  const Game game = make_game(raw).value();
  AuditOptions options{.payments = PaymentRule::kGiven, .given_prices = {{0, 0}, {1, 0}}};
  const Audit audit = audit_game(game, options).value();
  EXPECT_TRUE(audit.profitable);
  EXPECT_TRUE(audit.groups[1].profitable);
  EXPECT_DOUBLE_EQ(audit.groups[1].deviation_gain, 0.5);
  options.given_prices[1][0] = 0.5 + 1e-12;
  EXPECT_TRUE(audit_game(game, options)->profitable) << "a price off by 1e-12";
  options.given_prices[1][0] = 0.5;
  EXPECT_FALSE(audit_game(game, options)->profitable) << "both are worth the same";
}

// Two groups, four models, and the prices that p^AFF charges for each.
struct PricedGame {
  Game game;
  AuditOptions options{.payments = PaymentRule::kGiven, .given_prices = {}};
};

PricedGame priced_game() {
  PricedGame out;
  out.game.initial = {.4, .3, .3};
  out.game.groups = {{"a", 3, {1, .2, .1}}, {"b", 4, {.1, 1, .4}}};
  out.game.candidates = {{.8, .1, .1}, {.1, .8, .1}, {.4, .3, .3}, {.45, .45, .1}};
  out.game = *make_game(out.game);
  const CandidateTable table = tabulate(out.game);
  for (size_t group = 0; group < 2; ++group) {
    std::vector<double>& prices = out.options.given_prices.emplace_back();
    for (size_t k = 0; k < 4; ++k) {
      prices.push_back(table.best_welfare(group) - table.welfare(k, group));
    }
  }
  return out;
}

TEST(Audit, CatchesAPlantedFaultInPrices) {
  PricedGame priced = priced_game();
  EXPECT_FALSE(audit_game(priced.game, priced.options)->profitable) << "the true prices";
  for (double& price : priced.options.given_prices[0]) price *= 0.5;
  const Audit caught = *audit_game(priced.game, priced.options);
  EXPECT_TRUE(caught.profitable) << "prices at half";
  EXPECT_GT(caught.groups[0].deviation_gain, 0);
  EXPECT_EQ(caught.groups[1].deviation_gain, 0);
}

// One price that leaves another model better than the truth's by 1e-6: found, and measured.
TEST(Audit, CatchesAPriceThatIsOffByALittle) {
  PricedGame priced = priced_game();
  const Solution truth = *solve(priced.game);
  const size_t other = *truth.winner == 0 ? 3 : 0;  // group a can bring both about
  const CandidateTable table = tabulate(priced.game);
  const double wrong = table.valuations[0][other] - truth.groups[0].utility;
  priced.options.given_prices[0][other] = wrong + 1e-6;
  EXPECT_FALSE(audit_game(priced.game, priced.options)->profitable) << "still worse than the truth";
  priced.options.given_prices[0][other] = wrong - 1e-6;
  const Audit caught = *audit_game(priced.game, priced.options);
  EXPECT_TRUE(caught.profitable);
  EXPECT_NEAR(caught.groups[0].deviation_gain, 1e-6, 1e-12);
  EXPECT_NEAR(caught.groups[0].certificate, 1e-6, 1e-12);
  EXPECT_EQ(caught.groups[0].bound, "exact");
}

TEST(Audit, RefusesPricesThatAreNone) {
  const PricedGame priced = priced_game();
  AuditOptions broken = priced.options;
  broken.given_prices[1][2] = std::nan("");
  const Result<Audit> refused = audit_game(priced.game, broken);
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().message.find("prices[1][2]: found nan"), std::string::npos);
  broken = priced.options;
  broken.given_prices[1].pop_back();
  EXPECT_FALSE(audit_game(priced.game, broken).ok());
  broken.given_prices.pop_back();
  EXPECT_FALSE(audit_game(priced.game, broken).ok());
  EXPECT_FALSE(audit_game(random_game({.seed = 1}), priced.options).ok());
}

// Thm 3.2 as stated: with full support and min rm > 0, lowering the worst outcome helps (max
// normalisation), and so does moving eps from the worst to the best (sum normalisation).
TEST(Audit, Theorem32) {
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    SCOPED_TRACE(seed);
    const DivergenceKind kind = seed % 2 == 0 ? DivergenceKind::kKl : DivergenceKind::kChi2;
    Game game = random_game({.seed = seed, .kind = kind, .most_groups = 3, .regularization = 40});
    game.normalization = seed % 4 < 2 ? Normalization::kMax : Normalization::kSum;
    game = *make_game(game);
    const Audit audit = *audit_game(game, {.payments = PaymentRule::kZero, .given_prices = {}});
    for (const GroupAudit& group : audit.groups) {
      const auto family = std::ranges::find(group.families, "theorem_3_2", &FamilyResult::family);
      ASSERT_NE(family, group.families.end());
      EXPECT_GT(family->deviation_gain, 0) << group.name;
      EXPECT_GT(family->parameter.value_or(0), 0) << group.name;
    }
  }
}

TEST(Audit, PayReportInvitesUnderstatement) {
  const Game game = random_game({.seed = 4, .most_groups = 3});
  const Audit audit = *audit_game(game, {.payments = PaymentRule::kPayReport, .given_prices = {}});
  EXPECT_TRUE(audit.profitable);
  for (const GroupAudit& group : audit.groups) EXPECT_EQ(group.utility_truth, 0);
}

// What every report with rewards on a grid of `levels` brings group 0, at best.
double best_on_grid(const Game& game, size_t levels) {
  const size_t m = game.outcome_count();
  size_t combinations = 1;
  for (size_t x = 0; x < m; ++x) combinations *= levels;
  double best = 0;
  for (size_t code = 0; code < combinations; ++code) {
    std::vector<double> report(m);
    size_t rest = code;
    for (double& value : report) {
      value = static_cast<double>(rest % levels) / static_cast<double>(levels - 1);
      rest /= levels;
    }
    const Game lied = with_report(game, 0, game.groups[0].group_size, std::move(report));
    best = std::max(best, group_valuation(game, game.groups[0], solve(lied)->allocation));
  }
  return best;
}

// Every 0/1 report and a grid of others: nothing beats the exact answer (KL) or, within what the
// search promises, the searched one (chi2). Two blocks: the grid runs over both together, so this
// also shows that the best lie splits by block.
// The lie of Figure 1: the best report without payments.
TEST(BestResponse, BeatsEveryReportOnAGrid) {
  for (uint64_t seed = 1; seed <= 80; ++seed) {
    SCOPED_TRACE(seed);
    const DivergenceKind kind = seed % 4 < 2 ? DivergenceKind::kKl : DivergenceKind::kChi2;
    const bool two_blocks = seed % 2 == 0;
    const Game game = random_game({.seed = seed,
                                   .kind = kind,
                                   .most_groups = 3,
                                   .most_outcomes = two_blocks ? size_t{3} : size_t{4},
                                   .blocks = two_blocks ? size_t{2} : size_t{1}});
    const double size = game.groups[0].group_size;
    const BestResponse best = best_response_without_payments(game, 0, size);
    ASSERT_EQ(best.exact, kind == DivergenceKind::kKl);
    const Game lied = with_report(game, 0, size, best.report.reward);
    EXPECT_NEAR(group_valuation(game, game.groups[0], solve(lied)->allocation), best.valuation,
                1e-12 * (1 + best.valuation));
    EXPECT_LE(best_on_grid(game, two_blocks ? 4 : 7), best.valuation + 1e-11 * (1 + size));
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

// App. C.2 and Figure 2.
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

// MATH 5 [ours]: the best response's fixed points are not unique; each cut is looked at.
TEST(BestResponse, SeveralFixedPoints) {
  Game raw;
  raw.divergence = {DivergenceKind::kJeffreys, 0.2, 2};
  raw.normalization = Normalization::kNone;
  raw.initial = {.0196, .0490, .9314};
  raw.groups = {{"liar", 3, {1, .72, 0}}, {"others", 1, {.1, 2, 1.7}}};
  const Game game = make_game(raw).value();
  const auto valuation_of = [&](const std::vector<double>& report) {
    const Solution lied = solve(with_report(game, 0, 3, report)).value();
    return group_valuation(game, {"liar", 1, game.groups[0].reward}, lied.allocation);
  };
  EXPECT_NEAR(valuation_of({1, 0, 0}), .6364, 2e-4);
  EXPECT_NEAR(valuation_of({1, .5, 0}), .5948, 2e-4);
  EXPECT_NEAR(valuation_of({1, 1, 0}), .6613, 2e-4);
  const BestResponse best = best_response_without_payments(game, 0, 3);
  EXPECT_NEAR(best.valuation, 3 * .6613, 6e-4);
  EXPECT_EQ(best.report.reward, (std::vector<double>{1, 1, 0}));
}

}  // namespace
}  // namespace candor
