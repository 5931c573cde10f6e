#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "base/rng.h"
#include "core/game.h"
#include "core/stream.h"

namespace candor {

// A random game for tests: n groups over m outcomes in `blocks` blocks, rewards in [0, 1].
struct RandomGameOptions {
  uint64_t seed = 0;
  DivergenceKind kind = DivergenceKind::kKl;
  double alpha = 1.5;  // of kAlpha
  size_t most_groups = 5;
  size_t most_outcomes = 12;
  size_t blocks = 1;
  double regularization = 0;  // 0: log-uniform from 0.05 to 20
};

inline Game random_game(const RandomGameOptions& options) {
  RandomStream random({.seed = options.seed, .stream = 99});
  Game game;
  game.divergence.kind = options.kind;
  game.divergence.alpha = options.alpha;
  game.divergence.regularization =
      options.regularization > 0 ? options.regularization
                                 : std::exp(std::log(0.05) + random.uniform() * std::log(400));
  const size_t n = 1 + random.below(options.most_groups);
  game.block_begin = {0};
  for (size_t block = 0; block < options.blocks; ++block) {
    game.block_begin.push_back(game.block_begin.back() + 2 +
                               random.below(options.most_outcomes - 1));
  }
  for (size_t x = 0; x < game.block_begin.back(); ++x) {
    game.initial.push_back(0.01 - std::log1p(-random.uniform()));
  }
  for (size_t i = 0; i < n; ++i) {
    Report report{.name = "g" + std::to_string(i),
                  .group_size = static_cast<double>(1 + random.below(10)),
                  .reward = {}};
    for (size_t x = 0; x < game.initial.size(); ++x) report.reward.push_back(random.uniform());
    game.groups.push_back(report);
  }
  return make_game(game).value();
}

// A price in [0, 0.3) of every candidate for every group, [n][K].
inline std::vector<std::vector<double>> random_prices(const Game& game, RandomStream& random) {
  std::vector<std::vector<double>> prices(game.groups.size());
  for (std::vector<double>& row : prices) {
    for (size_t k = 0; k < game.candidates.size(); ++k) row.push_back(0.3 * random.uniform());
  }
  return prices;
}

// The streamed game over the arrays of `game`, which must outlive it.
inline StreamGame view_of(const Game& game) {
  StreamGame out{
      .divergence = game.divergence,
      .initial = {.f64 = game.initial.data(), .f32 = nullptr, .size = game.initial.size()},
      .groups = {}};
  for (const Report& report : game.groups) {
    out.groups.push_back(
        {.name = report.name,
         .group_size = report.group_size,
         .reward = {.f64 = report.reward.data(), .f32 = nullptr, .size = report.reward.size()}});
  }
  return out;
}

}  // namespace candor
