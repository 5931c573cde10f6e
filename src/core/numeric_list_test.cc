// The numbers that break solvers: each gives a finite, consistent solution or a typed error.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "core/divergence.h"
#include "core/solution.h"

namespace candor {
namespace {

struct NamedGame {
  std::string name;
  Game game;
};

std::vector<NamedGame> hard_games() {
  const double least = std::numeric_limits<double>::denorm_min();
  const auto game = [](std::vector<double> initial, std::vector<Report> groups,
                       Normalization normalization = Normalization::kMax) {
    Game out;
    out.normalization = normalization;
    out.initial = std::move(initial);
    out.groups = std::move(groups);
    return out;
  };
  return {
      {"ties", game({1, 1, 1, 1}, {{"a", 2, {1, 1, 0, 0}}, {"b", 2, {0, 0, 1, 1}}})},
      {"equal rows", game({1, 2, 3}, {{"a", 3, {1, .5, 0}}, {"b", 3, {1, .5, 0}}})},
      {"constant reward", game({1, 2}, {{"a", 3, {1, 1}}, {"b", 2, {0, 1}}})},
      {"all constant", game({1, 2}, {{"a", 3, {1, 1}}, {"b", 2, {1, 1}}})},
      {"one group", game({1, 2, 3}, {{"a", 5, {0, .3, 1}}})},
      {"largest size", game({1, 2, 3}, {{"a", 2147483647, {1, .5, 0}}, {"b", 1, {0, 1, .2}}})},
      {"two largest", game({1, 2}, {{"a", 2147483647, {1, 0}}, {"b", 2147483647, {0, 1}}})},
      {"rare best", game({1e-300, 1, 1}, {{"a", 3, {1, .5, 0}}, {"b", 1, {.2, 0, 1}}})},
      {"rare worst", game({1e-300, 1, 1}, {{"a", 3, {0, .5, 1}}, {"b", 1, {0, 1, .2}}})},
      {"negative zero", game({1, 1}, {{"a", 3, {-0.0, 1}}, {"b", 1, {1, -0.0}}})},
      {"subnormal rewards",
       game({1, 1}, {{"a", 3, {least, 0}}, {"b", 1, {0, 1}}}, Normalization::kNone)},
      {"nearly constant", game({1, 1, 1}, {{"a", 9, {1, 1 - 1e-15, 1}}, {"b", 1, {0, 1, .5}}})},
  };
}

void check(const NamedGame& named, const Divergence& divergence) {
  SCOPED_TRACE(named.name + ", " + divergence_name(divergence.kind) + " " +
               std::to_string(divergence.alpha) + ", lambda " +
               std::to_string(divergence.regularization));
  Game raw = named.game;
  raw.divergence = divergence;
  const Result<Game> game = make_game(std::move(raw));
  ASSERT_TRUE(game.ok()) << game.error().message;
  const Result<Solution> solution = solve(*game);
  if (!solution.ok()) {
    EXPECT_EQ(solution.error().code, ErrorCode::kInvalidArgument);
    EXPECT_NE(solution.error().message.find("double precision"), std::string::npos);
    return;
  }
  // The dual sums terms of the size of lambda.
  double scale = solution->divergence + divergence.regularization;
  double mass = 0;
  for (const Report& report : game->groups) {
    scale += report.group_size * std::ranges::max(report.reward);
  }
  for (const double value : solution->allocation) {
    EXPECT_GE(value, 0);
    mass += value;
  }
  EXPECT_NEAR(mass, 1, 1e-12);
  EXPECT_LE(solution->gap(), 1e-12 * scale + 1e-300);
  // Weak duality: no corner and not the initial model beats welfare + gap.
  const double best = solution->welfare + solution->gap() + 1e-12 * scale;
  EXPECT_LE(affine_social_welfare(*game, game->initial), best);
  for (size_t x = 0; x < game->outcome_count(); ++x) {
    std::vector<double> corner(game->outcome_count(), 0.0);
    corner[x] = 1;
    EXPECT_LE(affine_social_welfare(*game, corner), best);
  }
  for (size_t i = 0; i < game->groups.size(); ++i) {
    const GroupOutcome& outcome = solution->groups[i];
    EXPECT_GE(outcome.payment, 0);
    EXPECT_GE(outcome.utility, -outcome.payment_error());
    // In a steep game, stakes far above lambda, rounding costs more, and the bound says so.
    const double steepness = scale / divergence.regularization;
    EXPECT_LE(outcome.payment_error(),
              1e-11 * scale + 1e-14 * steepness * outcome.payment + 1e-300);
    if (std::ranges::min(game->groups[i].reward) == std::ranges::max(game->groups[i].reward)) {
      EXPECT_EQ(outcome.payment, 0);  // a constant reward pays nothing (MATH 1)
    }
  }
}

TEST(NumericList, FiniteOrATypedError) {
  std::vector<Divergence> divergences;
  for (size_t kind = 0; kind < divergence_names().size(); ++kind) {
    if (static_cast<DivergenceKind>(kind) != DivergenceKind::kAlpha) {
      divergences.push_back({static_cast<DivergenceKind>(kind), 1, 2});
    }
  }
  for (const double order : {-3.0, -0.5, 0.4, 0.97, 1.03, 1.5, 3.0}) {
    divergences.push_back({DivergenceKind::kAlpha, 1, order});
  }
  for (const NamedGame& named : hard_games()) {
    for (Divergence divergence : divergences) {
      for (const double lambda : {1e-6, 1e-3, 1.0, 1e3, 1e6}) {
        divergence.regularization = lambda;
        check(named, divergence);
      }
    }
  }
}

}  // namespace
}  // namespace candor
