#pragma once

#include <span>
#include <vector>

#include "core/block_solver.h"

namespace candor {

// What the solvers of one block share; block_solver.h is the way in.

// s(x) = sum_i w_i (rm_i(x) - max rm_i): the total reward up to a constant. Measured from each
// group's top, so that a huge group that likes two outcomes equally (a deviation to w_max) leaves
// the others' digits intact there, and a constant reward counts nothing.
class TotalReward {
 public:
  explicit TotalReward(const Block& block);

  [[nodiscard]] const std::vector<double>& everywhere() const { return totals_; }
  // What welfare lacks where it is computed from these totals: sum_i w_i max rm_i.
  [[nodiscard]] double constant() const;

  // s_{-i}, and whether group i's own stake is so large beside everything else that its rounding
  // would drown the payment: then p_i is better formed as ASW*_{-i} - ASW_{-i}(p*), where w_i does
  // not occur. At most one group is dominant; only its s_{-i} is summed anew, so all n cost O(nm).
  struct Others {
    std::vector<double> totals;  // [m]
    bool dominant = false;
  };
  [[nodiscard]] Others without(size_t group) const;

 private:
  const Block& block_;
  std::vector<double> tops_;    // [n]
  std::vector<double> totals_;  // [m]
};

[[nodiscard]] double weighted_mean(std::span<const double> weights, std::span<const double> values);
[[nodiscard]] double range_of(std::span<const double> values);

struct PaymentRoute {
  double payment;
  double welfare_without;   // ASW*_{-i}
  double others_valuation;  // at p*
  double steepness;         // (max s - min s)/L: how wide the exponents or ratios of p* are spread
};

// Records a payment with a bound on its error: its distance from the plain subtraction
// ASW*_{-i} - (others' valuation - divergence), and what rounding does, to first order, to that
// subtraction and to the model.
void add_payment(BlockSolution& out, const PaymentRoute& route);

// What one outcome lacks to the optimum of a tv problem, per unit of p0: f*(t) + f(r) - t r >= 0 at
// slope t = s - max s + L in (-inf, L], ratio r and excess r - 1. The dual variable of every tv
// problem is max s - L.
[[nodiscard]] double tv_lack(double slope, double ratio, double excess, double strength);

// One per kind of divergence; each REQUIRES its own.
[[nodiscard]] BlockSolution solve_kl(const Block& block);
[[nodiscard]] BlockSolution solve_chi2(const Block& block);
[[nodiscard]] BlockSolution solve_tv(const Block& block);
// Every strictly convex generator, kl and chi2 too: there it is the second route of the tests.
[[nodiscard]] BlockSolution solve_smooth(const Block& block);

}  // namespace candor
