#include "core/fee.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/implementability.h"
#include "core/solution.h"
#include "core/test_games.h"

namespace candor {
namespace {

// Ours: the KL payment and, away from the boundary, Ours: the chi2 payment, against p^AFF's
// definition: two solved games and their welfares.
TEST(Payment, ClosedFormsAgreeWithTheDefinition) {
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    const bool kl = seed % 2 == 0;
    const Game game = random_game({.seed = seed,
                                   .kind = kl ? DivergenceKind::kKl : DivergenceKind::kChi2,
                                   .regularization = kl ? 2.0 : 60.0});
    if (game.groups.size() < 2) continue;
    const std::vector<double> model = solve(game)->allocation;
    Game others = game;
    others.groups.erase(others.groups.begin());
    const double definition = affine_social_welfare(others, solve(others)->allocation) -
                              affine_social_welfare(others, model);
    const Report& group = game.groups[0];
    const double strength = game.divergence.regularization;
    const std::vector<double>& weight = kl ? model : game.initial;
    double mean = 0;
    for (size_t x = 0; x < model.size(); ++x) mean += weight[x] * group.reward[x];
    double spread = 0;
    for (size_t x = 0; x < model.size(); ++x) {
      const double stake = group.group_size * (group.reward[x] - mean);
      spread += weight[x] * (kl ? std::exp(-stake / strength) : stake * stake / (4 * strength));
    }
    EXPECT_NEAR(kl ? strength * std::log(spread) : spread, definition, 1e-12) << "seed " << seed;
  }
}

// NeurIPS Thm 4.11; Ours: the KL fee, in closed form, against solved games; also over prompts.
TEST(FeeRoom, IsTheClosedFormUnderKl) {
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    const Game game = random_game({.seed = seed, .blocks = 1 + seed % 3});
    const FeeFormula formula = kl_fee_formula(game, 0);
    ASSERT_TRUE(formula.holds);
    EXPECT_NEAR(fee_room(game, 0)->largest, formula.largest, 1e-9 * (1 + formula.largest))
        << "seed " << seed;
  }
}

// By hand: alone on two equal outcomes, L = 1: log((1 + e)/2). Any lambda is solved, also where
// e^{1/L} overflows: the room then tends to 1, and for a large lambda to p(x).
TEST(FeeRoom, KlFormulaAtTheEndsOfLambda) {
  Game game;
  game.initial = {0.5, 0.5};
  game.groups = {{"a", 1, {1, 0}}};
  game = make_game(game).value();
  EXPECT_NEAR(kl_fee_formula(game, 0).largest, std::log((1 + std::exp(1.0)) / 2), 1e-15);
  game.divergence.regularization = 1e-4;
  EXPECT_NEAR(kl_fee_formula(game, 0).largest, 1 - 1e-4 * std::log(2.0), 1e-15);
  game.divergence.regularization = 1e9;
  EXPECT_NEAR(kl_fee_formula(game, 0).largest, 0.5, 1e-9);
}

// The KL fee's assumptions at their borders: each is named where it fails, and without it the
// closed form would be wrong. The true infima by hand.
TEST(FeeRoom, KlFormulaNamesTheAssumptionThatFails) {
  Game game;
  game.initial = {0.5, 0.5};
  game.groups = {{"a", 1, {1, 0}}};
  game = make_game(game).value();
  const double formula = kl_fee_formula(game, 0).largest;
  const auto off = [&](const Game& other, const std::string& word, double expected) {
    const FeeFormula found = kl_fee_formula(other, 0);
    EXPECT_FALSE(found.holds);
    EXPECT_NE(found.why.find(word), std::string::npos) << found.why;
    EXPECT_NEAR(fee_room(other, 0)->largest, expected, 1e-6);
    EXPECT_GT(std::abs(expected - formula), 0.01);
  };
  Game other = game;
  other.divergence.kind = DivergenceKind::kChi2;
  off(other, "chi2", 0.5 + 1.0 / 16);  // p_{-i} v = 1/2, and Var/(4L) on top
  other = game;
  other.candidates = {{0.5, 0.5}};
  off(other, "candidates", 0.5);  // one model alone
  other = game;
  other.normalization = Normalization::kSum;
  off(other, "max normalisation", 0.5);  // the constant reward 1/2
  other.normalization = Normalization::kNone;
  off(other, "max normalisation", 0);  // a group that values nothing
  // A type of less than one agent, were there any, would be worth less than the formula says.
  EXPECT_LT(solve(with_report(game, 0, 0.5, {1, 0}))->groups[0].utility, formula - 0.01);
  EXPECT_NEAR(solve(with_report(game, 0, 1, {1, 0}))->groups[0].utility, formula, 1e-12);
}

TEST(FeeRoom, NoTypeHasLessAndTheTypeShownHasExactlyThat) {
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    Game raw = random_game({.seed = seed,
                            .kind = static_cast<DivergenceKind>(seed % 7),
                            .most_outcomes = 6,
                            .blocks = 1 + seed % 2});
    raw.normalization = seed % 3 == 0 ? Normalization::kSum : Normalization::kMax;
    const Game game = make_game(raw).value();
    const FeeRoom room = fee_room(game, 0).value();
    EXPECT_LT(room.error, 1e-7) << "seed " << seed;
    const auto utility = [&](const Report& type) {
      return solve(with_report(game, 0, type.group_size, type.reward))->groups[0].utility;
    };
    EXPECT_NEAR(utility(room.type), room.largest, 1e-9);
    for (const Report& type : default_types(game, 0, 60, seed).types) {
      EXPECT_GE(utility(type), room.largest - room.error - 1e-9) << "seed " << seed;
    }
  }
}

}  // namespace
}  // namespace candor
