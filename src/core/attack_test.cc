#include "core/attack.h"

#include <gtest/gtest.h>

#include "core/solution.h"
#include "core/test_games.h"

namespace candor {
namespace {

// chi2 with lambda so large that no boundary is active: a payment is w^2 Var/(4L), so a group that
// splits into k equal names pays 1/k of it (all names together) for the same model.
TEST(Attack, SplittingPaysExactlyWhatTheFormulaSays) {
  Game game;
  game.divergence = {.kind = DivergenceKind::kChi2, .regularization = 100};
  game.initial = {0.25, 0.25, 0.5};
  game.groups = {{"a", 4, {1, 0.5, 0}}, {"b", 2, {0, 1, 0.5}}};
  game.max_size = 4;  // no inflation beyond the truth
  game = make_game(game).value();
  const auto attacks = search_attacks(game, {.random_reports = 0}).value();
  const Solution honest = solve(game).value();
  const Attack* split = nullptr;
  for (const Attack& attack : attacks) {
    if (attack.kind == "false_name" && attack.members[0] == "a") split = &attack;
  }
  ASSERT_NE(split, nullptr);
  EXPECT_GE(split->gain, honest.groups[0].payment * 0.75 * (1 - 1e-9));
  EXPECT_NEAR(split->utility_truth, honest.groups[0].utility, 1e-12);
}

// The gains are what the reports really bring: settled anew, by hand.
TEST(Attack, EveryGainIsReal) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    const Game game = random_game({.seed = seed, .kind = static_cast<DivergenceKind>(seed % 8)});
    const auto attacks = search_attacks(game, {.seed = seed, .random_reports = 10}).value();
    EXPECT_EQ(attacks.size(), game.groups.size() * (game.groups.size() + 1) / 2);
    for (const Attack& attack : attacks) {
      if (attack.reports.empty()) continue;
      Game lied = game;
      double truth = 0;
      const Solution honest = solve(game).value();
      std::vector<size_t> members;
      for (size_t i = 0; i < game.groups.size(); ++i) {
        for (const std::string& name : attack.members) {
          if (game.groups[i].name != name) continue;
          truth += honest.groups[i].utility;
          lied.groups[i] = attack.reports[members.size()];
          members.push_back(i);
        }
      }
      for (size_t k = members.size(); k < attack.reports.size(); ++k) {
        lied.groups.push_back(attack.reports[k]);
      }
      const Solution after = solve(lied).value();
      double utility = 0;
      for (const size_t i : members) {
        utility += group_valuation(game, game.groups[i], after.allocation);
        utility -= after.groups[i].payment;
      }
      for (size_t k = game.groups.size(); k < lied.groups.size(); ++k) {
        utility -= after.groups[k].payment;
      }
      EXPECT_NEAR(utility - truth, attack.gain, 1e-9 * (1 + std::abs(truth))) << attack.family;
    }
  }
}

// Without normalisation a report is bounded by what its own group values most, not by group 0's.
TEST(Attack, EveryMemberHasItsOwnBound) {
  Game raw = random_game({.seed = 5, .kind = DivergenceKind::kKl, .most_groups = 2});
  raw.normalization = Normalization::kNone;
  raw.groups.resize(1);
  raw.groups.push_back({"large", 2, std::vector<double>(raw.outcome_count(), 0.5)});
  raw.groups[1].reward[0] = 7;
  const Game game = make_game(raw).value();
  double most = 0;
  const auto attacks = search_attacks(game, {.payments = PaymentRule::kZero}).value();
  for (const Attack& attack : attacks) {
    if (attack.kind != "false_name" || attack.members[0] != "large") continue;
    EXPECT_GT(attack.gain, 0);  // nobody pays: speaking for more agents wins
    for (const Report& report : attack.reports) most = std::max(most, report.reward[0]);
  }
  EXPECT_EQ(most, 7);
}

// Groups that like every outcome equally can gain nothing, and rounding beside a giant's welfare is
// no gain.
TEST(Attack, RoundingIsNoGain) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(seed);
    Game raw = random_game({.seed = seed, .most_groups = 1, .most_outcomes = 5});
    raw.groups[0].group_size = 0x7fffffffp0;
    raw.groups.push_back({"a", 3, std::vector<double>(raw.outcome_count(), 1.0)});
    raw.groups.push_back({"b", 5, std::vector<double>(raw.outcome_count(), 1.0)});
    const auto attacks = search_attacks(make_game(raw).value(), {}).value();
    for (const Attack& attack : attacks) {
      if (attack.members[0] == raw.groups[0].name) continue;  // the giant may split
      EXPECT_EQ(attack.gain, 0) << attack.kind << " " << attack.family;
      for (const FamilyResult& family : attack.families) EXPECT_EQ(family.deviation_gain, 0);
    }
  }
}

// Two groups that want one candidate and together are many: each covers for the other.
TEST(Attack, CollusionOnAMenu) {
  const int64_t one = kFixedPointOne;
  Table table;
  table.candidates = {{"A", 0}, {"B", 0}};
  table.groups = {{"a", 1, {one, 0}}, {"b", 1, {one, 0}}, {"c", 3, {0, one}}};
  const auto attacks = search_attacks(table, {}).value();
  EXPECT_EQ(attacks[0].kind, "collusion");
  double best = 0;
  for (const Attack& attack : attacks) {
    if (attack.members == std::vector<std::string>{"a", "b"}) best = attack.gain;
  }
  EXPECT_NEAR(best, 2, 1e-9);  // A wins and both pay nothing: 5 + 5 against 3
  EXPECT_FALSE(search_attacks(table, {.payments = PaymentRule::kGiven}).ok());
}

}  // namespace
}  // namespace candor
