#pragma once

#include <span>
#include <vector>

#include "core/game.h"

namespace candor {

// One block of a game, with nothing left to check: the inner problem that solve, estimate and the
// best response share.
struct Block {
  Divergence divergence;
  std::span<const double> initial;               // [m], sum 1
  std::vector<std::span<const double>> rewards;  // [n][m]; may be negative inside a sweep
  std::vector<double> sizes;                     // [n]

  [[nodiscard]] size_t outcome_count() const { return initial.size(); }
  [[nodiscard]] size_t group_count() const { return rewards.size(); }
};

// SW-Max and the n leave-one-out problems of one block, over all distributions.
struct BlockSolution {
  double welfare = 0;                  // max_p ASW(p)
  double gap = 0;                      // |dual - primal|, both computed from their own formulas
  double divergence = 0;               // D_f(p*||p0)
  std::vector<double> allocation;      // [m]
  std::vector<double> valuations;      // [n], w_i v_i(p*)
  std::vector<double> payments;        // [n], p^AFF
  std::vector<double> payment_errors;  // [n], bounds |payment - exact|: a second route and rounding
  int reads = 0;                       // passes over the rewards
};

// Block `block` of `game`; the game must outlive it.
[[nodiscard]] Block block_of(const Game& game, size_t block);

[[nodiscard]] BlockSolution solve_block(const Block& block);

// The block with some of the groups only.
[[nodiscard]] Block keep_groups(const Block& block, std::span<const size_t> groups);

}  // namespace candor
