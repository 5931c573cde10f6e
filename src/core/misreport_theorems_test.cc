#include "core/misreport_theorems.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "core/audit.h"
#include "core/best_response.h"
#include "core/lie_search.h"
#include "core/solution.h"
#include "core/test_games.h"

namespace candor {
namespace {

Game one_group(DivergenceKind kind, Normalization normalization, std::vector<double> initial,
               double size, std::vector<double> reward) {
  Game game;
  game.divergence = {.kind = kind, .regularization = 1, .alpha = 1.5};
  game.normalization = normalization;
  game.initial = std::move(initial);
  game.groups = {{"a", size, std::move(reward)}};
  return make_game(game).value();
}

MisreportTheorems theorems_of(const Game& game) {
  return check_misreport_theorems(game, 0, solve(game)->allocation);
}

// The theorems' families that an audit without payments tries, with what they gain.
std::vector<FamilyResult> tried(const Game& game) {
  const AuditOptions options{.payments = PaymentRule::kZero, .given_prices = {}};
  const Solution truth = solve(game).value();
  LieSearch search(game, 0, options, truth);
  try_theorem_3_2(search);
  try_theorem_e_2(search);
  return search.result().families;
}

const FamilyResult* find_family(const std::vector<FamilyResult>& families,
                                const std::string& name) {
  const auto found = std::ranges::find(families, name, &FamilyResult::family);
  return found == families.end() ? nullptr : &*found;
}

// A random game whose groups have a least reward of 0; every other one under sum normalisation.
Game random_with_zeros(uint64_t seed) {
  Game game = random_game({.seed = seed,
                           .kind = static_cast<DivergenceKind>(seed % 7),
                           .most_outcomes = 6,
                           .blocks = 1 + seed % 3 / 2,
                           .regularization = 8});
  for (Report& report : game.groups) *std::ranges::min_element(report.reward) = 0;
  game.normalization = seed % 2 == 0 ? Normalization::kSum : Normalization::kMax;
  return make_game(game).value();
}

// t's sign is that of the derivative of the group's value in its report: difference quotients.
TEST(MisreportTheorems, TIsTheDerivativesSign) {
  int checked = 0;
  for (uint64_t seed = 1; seed <= 56; ++seed) {
    Game game = random_with_zeros(seed);
    game.normalization = Normalization::kNone;
    const MisreportTheorems theorems = theorems_of(game);
    const double step = 0.01 * theorems.gentle_change / game.groups[0].group_size;
    for (size_t x = 0; x < theorems.t.size(); ++x) {
      if (game.groups[0].reward[x] < step) continue;
      const auto value = [&](double by) {
        std::vector<double> lie = game.groups[0].reward;
        lie[x] += by;
        const Game lied = with_report(game, 0, game.groups[0].group_size, std::move(lie));
        return group_valuation(game, game.groups[0], solve(lied)->allocation);
      };
      const double change = value(step) - value(-step);
      if (std::abs(change) < 1e-10) continue;
      EXPECT_EQ(change > 0, theorems.t[x] > 0) << "seed " << seed << " outcome " << x;
      ++checked;
    }
  }
  EXPECT_GT(checked, 100);
}

// The definitions of Thm E.2 (1), (2), (3) written out, over all outcomes and pairs of them. Ratios
// and f'' come from the solution and a difference quotient of f'.
std::array<bool, 3> by_definition(const Game& game) {
  const std::vector<double>& reward = game.groups[0].reward;
  const std::vector<double> model = solve(game)->allocation;
  const auto stiffness = [&](size_t x) {  // f''(r)/p0
    const double r = model[x] / game.initial[x];
    const double h = 1e-5 * r;
    return (generator_slope(game.divergence, r + h) - generator_slope(game.divergence, r - h)) /
           (2 * h * game.initial[x]);
  };
  std::array<bool, 3> out = {};
  if (std::ranges::min(model) <= 0 || std::ranges::min(reward) > 0) return out;
  if (std::ranges::max(reward) == std::ranges::min(reward)) return out;
  for (size_t block = 0; block < game.block_count(); ++block) {
    for (size_t z = game.block_begin[block]; z < game.block_begin[block + 1]; ++z) {
      double t = 0;
      for (size_t x = game.block_begin[block]; x < game.block_begin[block + 1]; ++x) {
        t += (reward[z] - reward[x]) / stiffness(x);
      }
      const bool inner = reward[z] > 0 && reward[z] < 1;
      const bool sum = game.normalization == Normalization::kSum;
      out[0] = out[0] || (!sum && inner && std::abs(t) > 1e-8);
      out[1] = out[1] || (sum && inner && t < -1e-8);
      for (size_t x = game.block_begin[block]; x < game.block_begin[block + 1]; ++x) {
        const bool pair = reward[z] < 1 && reward[z] >= reward[x] && reward[x] > 0;
        out[2] = out[2] || (sum && t > 1e-8 && pair && stiffness(z) < stiffness(x));
      }
    }
  }
  return out;
}

// Thm E.2 (1), (2) and (3): tried exactly where their assumptions hold, and then they gain.
TEST(MisreportTheorems, TheoremE2GainsWhereItsAssumptionsHold) {
  std::array<int, 3> held = {};
  std::array<int, 3> failed = {};
  for (uint64_t seed = 0; seed < 126; ++seed) {
    SCOPED_TRACE(seed);
    const Game game = random_with_zeros(seed);
    const std::array<bool, 3> expected = by_definition(game);
    const MisreportTheorems theorems = theorems_of(game);
    const std::vector<FamilyResult> families = tried(game);
    for (size_t i = 0; i < 3; ++i) {
      EXPECT_EQ(theorems.thm_e_2[i].holds, expected[i]) << "statement " << i + 1;
      EXPECT_FALSE(theorems.thm_e_2[i].why.empty());
      const FamilyResult* family = find_family(families, "theorem_e_2_" + std::to_string(i + 1));
      EXPECT_EQ(family != nullptr, expected[i]) << "statement " << i + 1;
      if (family != nullptr) {
        EXPECT_GT(family->deviation_gain, 0) << "statement " << i + 1;
      }
      (expected[i] ? held : failed)[i] += 1;
    }
  }
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_GT(held[i], 20) << "statement " << i + 1;
    EXPECT_GT(failed[i], 20) << "statement " << i + 1;
  }
}

// Thm E.2 (1) by hand: KL of size log 2, rewards (1, 1/2, 0), p0 uniform. p = (2, sqrt 2, 1)/Z, t =
// rm - v because p0/f'' = p.
TEST(MisreportTheorems, E21ByHand) {
  Game game = one_group(DivergenceKind::kKl, Normalization::kMax, {1, 1, 1}, 1, {1, 0.5, 0});
  game.divergence.regularization = 1 / std::log(2.0);
  const MisreportTheorems theorems = theorems_of(game);
  const double v = (2 + std::sqrt(0.5)) / (3 + std::sqrt(2.0));
  // f'' carries lambda, so t is divided by it.
  EXPECT_NEAR(theorems.t[0], (1 - v) * std::log(2.0), 1e-12);
  EXPECT_NEAR(theorems.t[1], (0.5 - v) * std::log(2.0), 1e-12);
  EXPECT_NEAR(theorems.t[2], -v * std::log(2.0), 1e-12);
  ASSERT_TRUE(theorems.thm_e_2[0].holds);
  EXPECT_EQ(theorems.thm_e_2[0].moves[0].down, 1U);
  EXPECT_EQ(theorems.thm_e_2_case, 1);
  EXPECT_EQ(theorems.thm_e_2[1].why, "it is about sum normalisation");
}

// Thm E.2 (2) alone: the outcome that is worth more answers less. Thm E.2 (3) alone: no reward lies
// below the mean but 0.
TEST(MisreportTheorems, E22AndE23HoldApart) {
  const Game second =
      one_group(DivergenceKind::kChi2, Normalization::kSum, {.4, .5, .1}, 1, {.7, .3, 0});
  MisreportTheorems theorems = theorems_of(second);
  EXPECT_TRUE(theorems.thm_e_2[1].holds) << theorems.thm_e_2[1].why;
  EXPECT_FALSE(theorems.thm_e_2[2].holds);
  EXPECT_EQ(theorems.thm_e_2_case, 2);
  EXPECT_GT(find_family(tried(second), "theorem_e_2_2")->deviation_gain, 1e-4);
  EXPECT_EQ(find_family(tried(second), "theorem_e_2_3"), nullptr);
  const Game third =
      one_group(DivergenceKind::kChi2, Normalization::kSum, {.1, .2, .7}, 1, {.5, .5, 0});
  theorems = theorems_of(third);
  EXPECT_FALSE(theorems.thm_e_2[1].holds);
  EXPECT_TRUE(theorems.thm_e_2[2].holds) << theorems.thm_e_2[2].why;
  EXPECT_EQ(theorems.thm_e_2[2].moves[0].up, 1U);
  EXPECT_EQ(theorems.thm_e_2[2].moves[0].down, 0U);
  EXPECT_GT(find_family(tried(third), "theorem_e_2_3")->deviation_gain, 1e-4);
  EXPECT_EQ(find_family(tried(third), "theorem_e_2_2"), nullptr);
}

// Thm A.1, bare, is false: t is not 0 anywhere, and no admissible reward does better than the
// truth, because no reward lies strictly between 0 and 1 (so Thm E.2 (1) is silent).
TEST(MisreportTheorems, TheoremA1NeedsMoreThanT) {
  Game game = one_group(DivergenceKind::kKl, Normalization::kMax, {.5, .5}, 1, {1, 0});
  game.max_size = 1;
  const MisreportTheorems theorems = theorems_of(game);
  const double e = std::exp(1.0);
  EXPECT_NEAR(theorems.t[0], 1 / (1 + e), 1e-14);
  EXPECT_NEAR(theorems.t[1], -e / (1 + e), 1e-14);
  EXPECT_TRUE(theorems.thm_a_1.holds);
  EXPECT_EQ(theorems.thm_e_2_case, 0);
  const double truth = solve(game)->groups[0].valuation;
  for (int low = 0; low <= 100; ++low) {  // every admissible reward: (1, y) or (y, 1)
    for (const bool first : {true, false}) {
      std::vector<double> lie = {1, low / 100.0};
      if (!first) std::swap(lie[0], lie[1]);
      const Game lied = with_report(game, 0, 1, lie);
      EXPECT_LE(group_valuation(game, game.groups[0], solve(lied)->allocation), truth + 1e-15);
    }
  }
  const Audit audit = *audit_game(game, {.payments = PaymentRule::kZero, .given_prices = {}});
  EXPECT_LE(audit.groups[0].deviation_gain, 1e-15);
  EXPECT_EQ(audit.groups[0].bound, "exact");
}

// ... nor is it one game: under KL and max normalisation rewards of 0 and 1 are their own best
// response at the true size, although t is 0 nowhere.
TEST(MisreportTheorems, ZeroOneRewardsAreTheirOwnBestResponseUnderKl) {
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    Game game = random_game({.seed = seed});
    for (size_t x = 0; x < game.outcome_count(); ++x) {
      game.groups[0].reward[x] = x % 2 == 0 ? 1.0 : 0.0;
    }
    const Solution truth = solve(game).value();
    const MisreportTheorems theorems = check_misreport_theorems(game, 0, truth.allocation);
    EXPECT_TRUE(theorems.thm_a_1.holds);
    EXPECT_EQ(theorems.thm_e_2_case, 0);
    const double size = game.groups[0].group_size;
    EXPECT_NEAR(best_response_without_payments(game, 0, size).valuation, truth.groups[0].valuation,
                1e-12 * size);
  }
}

// Thm 3.2 says why it does not apply, and what it constructs gains nothing there.
TEST(MisreportTheorems, Theorem32SaysWhichAssumptionFails) {
  Game game = one_group(DivergenceKind::kChi2, Normalization::kMax, {.5, .5}, 10, {1, .1});
  EXPECT_EQ(theorems_of(game).thm_3_2.why, "the truthful model gives outcome 1 no mass");
  EXPECT_EQ(find_family(tried(game), "theorem_3_2")->deviation_gain, 0);
  game.groups[0].group_size = 1;
  EXPECT_EQ(theorems_of(game).thm_3_2_case, 2) << "at size 1 nothing has lost its mass";
  EXPECT_GT(find_family(tried(game), "theorem_3_2")->deviation_gain, 0);
  game.divergence.kind = DivergenceKind::kTv;
  EXPECT_EQ(theorems_of(game).thm_3_2.why, "tv is not strictly convex");
  game.divergence.kind = DivergenceKind::kKl;
  game.candidates = {{.5, .5}, {1, 0}};
  EXPECT_EQ(theorems_of(game).thm_3_2.why,
            "the models are a menu of 2; the theorem is about all distributions");
  game.candidates.clear();
  game.groups[0].reward = {1, 0};
  EXPECT_EQ(theorems_of(game).thm_3_2.why, "the least reward is 0, which Thm E.2 is about");
  game.groups[0].reward = {1, 1};
  EXPECT_EQ(theorems_of(game).thm_3_2_case, 1);
}

// Two prompts with one value each: s_i = 2, and still every model is worth the same.
TEST(MisreportTheorems, ValuesThatDifferBetweenPromptsAloneAreOne) {
  Game game = one_group(DivergenceKind::kKl, Normalization::kMax, {.5, .5}, 2, {1, .5});
  game.initial = {.5, .5, .5, .5};
  game.block_begin = {0, 2, 4};
  game.groups[0].reward = {1, 1, .5, .5};
  game = make_game(game).value();
  EXPECT_EQ(theorems_of(game).thm_3_2_case, 1);
  EXPECT_EQ(find_family(tried(game), "theorem_3_2"), nullptr);
  game.groups[0].reward = {1, 1, .5, .25};
  EXPECT_EQ(theorems_of(game).thm_3_2_case, 2);
  EXPECT_GT(find_family(tried(game), "theorem_3_2")->deviation_gain, 0);
}

}  // namespace
}  // namespace candor
