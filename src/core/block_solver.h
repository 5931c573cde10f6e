#pragma once

#include <span>
#include <vector>

#include "core/enclosure.h"
#include "core/game.h"

namespace candor {

// One block of a game, with nothing left to check: the inner problem that solve, estimate and the
// best response share.
struct Block {
  Divergence divergence;
  std::span<const double> initial;                  // [m], sum 1
  std::vector<std::span<const double>> rewards;     // [n][m]; may be negative inside a sweep
  std::vector<std::span<const double>> rests = {};  // [n][m] or [n][0] or [0]: Report::reward_rest
  std::vector<double> sizes;                        // [n]

  [[nodiscard]] size_t outcome_count() const { return initial.size(); }
  [[nodiscard]] size_t group_count() const { return rewards.size(); }
  [[nodiscard]] double rest(size_t group, size_t outcome) const {
    return group < rests.size() && !rests[group].empty() ? rests[group][outcome] : 0;
  }
  // Another report of one group; `reward` is not copied.
  void replace(size_t group, double size, std::span<const double> reward) {
    rewards[group] = reward;
    sizes[group] = size;
    if (group < rests.size()) rests[group] = {};
  }
};

// SW-Max and the n leave-one-out problems of one block, over all distributions. Every number comes
// with an enclosure of the truth: of the game of these doubles, solved exactly.
struct BlockSolution {
  Bounded welfare;                 // max_p ASW(p)
  Bounded divergence;              // D_f(p*||p0)
  std::vector<double> allocation;  // [m]
  // |E_p g - E_p* g| <= range(g) times this, p the allocation: half their L1 distance.
  double model_error = 0;
  std::vector<Bounded> valuations;  // [n], w_i v_i(p*)
  std::vector<Bounded> payments;    // [n], p^AFF
  std::vector<Bounded> utilities;   // [n], valuation - payment
  std::vector<Bounded> without;     // [n], ASW*_{-i}
  int reads = 0;                    // passes over the rewards
};

// Block `block` of `game`; the game must outlive it.
[[nodiscard]] Block block_of(const Game& game, size_t block);

// Or the model alone, without the leave-one-out problems: payments, utilities and without stay
// empty.
enum class Scope { kAll, kModel };
[[nodiscard]] BlockSolution solve_block(const Block& block, Scope scope = Scope::kAll);

// The block with some of the groups only.
[[nodiscard]] Block keep_groups(const Block& block, std::span<const size_t> groups);

}  // namespace candor
