#pragma once

#include <functional>
#include <span>
#include <vector>

#include "core/block_solver.h"
#include "core/divergence_law.h"
#include "core/double_double.h"
#include "core/reward_kernels.h"

namespace candor {

// What the solvers of one block share; block_solver.h is the way in.

// What one SW-Max problem sees of the total reward s: how far each outcome lies below the best.
struct Drops {
  std::vector<double> below;  // [m], max s - s(x) >= 0,
  std::vector<double> rest;   // [m], plus this: to drop_error()
  DoubleDouble highest;       // max s
  bool exact = false;         // no sum, product or difference was rounded
  bool ties_exact = false;    // outcomes of drop 0 surely have one total: `exact`, or equal rewards
};

// s(x) = sum_i w_i rm_i(x), kept to 106 bits: where sizes are large, a model is decided by
// differences of s far below the rounding of s itself.
class TotalReward {
 public:
  explicit TotalReward(const Block& block);

  // `out` keeps its memory from one call to the next.
  void everyone(Drops& out) const;
  void without(size_t group, Drops& out) const;
  // What a drop may be off by beside its own rounding.
  [[nodiscard]] double drop_error() const { return error_; }
  // w_i max rm_i, and w_i (max rm_i - min rm_i), rounded up.
  [[nodiscard]] DoubleDouble highest_stake(size_t group) const;
  [[nodiscard]] double stake_range(size_t group) const { return extremes_[group].range; }
  // max rm_i and min rm_i.
  [[nodiscard]] double greatest(size_t group) const {
    return block_.rewards[group][extremes_[group].top];
  }
  [[nodiscard]] double lowest(size_t group) const {
    return block_.rewards[group][extremes_[group].bottom];
  }
  // E_p of w_i (max rm_i - rm_i), the model's terms to a few units of rounding.
  [[nodiscard]] double mean_below(size_t group, std::span<const double> model) const;
  // w_i (max rm_i - rm_i(x)), to a few units of rounding.
  [[nodiscard]] double stake_below(size_t group, size_t outcome) const;

 private:
  [[nodiscard]] DoubleDouble stake(size_t group, size_t outcome) const;
  [[nodiscard]] reward::Stakes stakes(size_t group) const;
  [[nodiscard]] bool has_rests(size_t group) const {
    return group < block_.rests.size() && !block_.rests[group].empty();
  }
  void find_extremes(size_t group);
  void drop_from_highest(size_t skip, Drops& out) const;
  [[nodiscard]] bool same_rewards(size_t skip, size_t a, size_t b) const;

  const Block& block_;
  // The outcomes that a group likes best and least, and its stake_range().
  struct Extremes {
    size_t top, bottom;
    double range;
  };
  std::vector<Extremes> extremes_;  // [n]
  std::vector<double> high_;        // [m], s
  std::vector<double> low_;         // [m], plus this
  double error_ = 0;
  bool exact_ = true;
};

[[nodiscard]] double weighted_mean(std::span<const double> weights, std::span<const double> values);
[[nodiscard]] double range_of(std::span<const double> values);
// p0 r, rescaled to mass 1: payments compare distributions.
[[nodiscard]] std::vector<double> model_of(std::span<const double> initial,
                                           std::span<const LawPoint> points);

// One of the n + 1 problems, solved: its optimum ASW* is highest + value.
struct ProblemOptimum {
  DoubleDouble highest;
  Bounded value;
};

// The problem of all groups, solved.
struct FullProblem {
  const Block& block;
  const TotalReward& reward;
  const Drops& drops;
  ProblemOptimum optimum;
  double model_error = 0;  // |E_p g - E_p* g| <= range(g) times this, p the allocation
};

// The problem without one group, solved.
struct LeftOut {
  ProblemOptimum optimum;
  // p_i by a formula that keeps its small digits; NaN: the difference of the optima will do.
  double payment = 0;
};
// The problem without `group`, whose outcomes lie at `others`.
using SolveWithout = std::function<LeftOut(size_t group, const Drops& others)>;

// Every number of a block with its enclosure, from the optima of the n + 1 problems alone:
//   u_i = ASW* - ASW*_{-i},   p_i = w_i v_i(p*) - u_i,   D = sum_i w_i v_i(p*) - ASW*
// and p_i >= 0, u_i >= 0 where rewards are. A payment's value is the one of `solve_without`,
// brought into its enclosure. REQUIRES: out.allocation.
void conclude(const FullProblem& full, Scope scope, const SolveWithout& solve_without,
              BlockSolution& out);

// What one outcome lacks to the optimum of a tv problem, per unit of p0: f*(t) + f(r) - t r >= 0 at
// slope t = s - max s + L in (-inf, L], ratio r and excess r - 1. The dual variable of every tv
// problem is max s - L.
[[nodiscard]] double tv_lack(double slope, double ratio, double excess, double strength);

// One per kind of divergence; each REQUIRES its own.
[[nodiscard]] BlockSolution solve_kl(const Block& block, Scope scope);
[[nodiscard]] BlockSolution solve_chi2(const Block& block, Scope scope);
[[nodiscard]] BlockSolution solve_tv(const Block& block, Scope scope);
// Every strictly convex generator, kl and chi2 too: there it is the second route of the tests.
[[nodiscard]] BlockSolution solve_smooth(const Block& block, Scope scope = Scope::kAll);

}  // namespace candor
