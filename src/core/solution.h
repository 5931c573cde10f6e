#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "core/enclosure.h"
#include "core/game.h"

namespace candor {

// Every value lies in its enclosure, and so does the truth: the number of the exact game, whose
// data are the doubles that were read, normalised without rounding. What the bounds rest on:
// docs/guide/theory.md, "What the bounds are".
struct GroupOutcome {
  std::string name;
  double group_size = 0;
  double valuation = 0;        // w_i v_i(p*), all agents together
  double payment = 0;          // p_i, the affine-maximizer payment
  double utility = 0;          // valuation - payment
  double welfare_without = 0;  // ASW*_{-i} = max_p ASW_{-i}(p)
  Enclosure valuation_enclosure = {};
  Enclosure payment_enclosure = {};
  Enclosure utility_enclosure = {};
  Enclosure welfare_without_enclosure = {};

  // No further than this is the exact payment.
  [[nodiscard]] double payment_error() const { return payment_enclosure.distance(payment); }
};

// The SW-Max model of a game with every payment.
struct Solution {
  double welfare = 0;     // ASW(p*)
  double divergence = 0;  // D_f(p*||p0), lambda included
  Enclosure welfare_enclosure = {};
  Enclosure divergence_enclosure = {};
  std::vector<double> allocation;    // [m], p*, sum 1 in each block
  std::vector<GroupOutcome> groups;  // [n]
  std::optional<size_t> winner;      // with candidates
  int reads = 0;                     // passes over the rewards
  // Of all distributions: |E_p g - E_p* g| <= range(g) times this, p the allocation.
  double model_error = 0;
  double tolerance = 0;  // asked for
  // Whether every number above is within the tolerance of the truth. Where it is not, nobody may
  // invoice from this solution.
  bool converged = false;

  // ASW* <= welfare + gap.
  [[nodiscard]] double gap() const { return welfare_enclosure.high - welfare; }
  // The largest distance of a number to the truth that the enclosures leave open.
  [[nodiscard]] double error() const;
};

// How near to the truth every number has to be: 1e-9 (1 + sum of sizes) where nobody says.
struct SolveOptions {
  std::optional<double> tolerance = std::nullopt;  // > 0, welfare units
};
[[nodiscard]] double default_tolerance(double sum_of_sizes);
// Sets `tolerance` and `converged`.
// Errors   kInvalidArgument: a number is not finite.
Status judge(const SolveOptions& options, Solution& solution);
// A size times a reward has to stay below, where products are exact.
inline constexpr double kLargestStake = 1e280;

// Thm 3.3: truth is dominant and no group loses; NeurIPS Prop 4.4: no payment is negative.
//
// Solves SW-Max (Def 3.1) and the n leave-one-out problems, and charges p^AFF (Sec. 3):
//   p_i = ASW_{-i}(theta_{-i}) - ASW_{-i}(theta)
// See block_solver.h for the routes (KL: log-partition with the centred payment of MATH 3; chi2:
// exact active set; otherwise Newton on the dual) and certificate.h for the bounds. With
// candidates: the best candidate, ties broken by the lexicographically larger vector of per-agent
// valuations, then the lower index (MATH 1); where rounding leaves the winner open, the enclosures
// hold the numbers of every candidate that may have won.
//
// Errors   kInvalidArgument: the game leaves the range of double precision, and where. A number
//          that is not within the tolerance is no error: see Solution::converged.
Result<Solution> solve(const Game& game, const SolveOptions& options = {});

// ASW of one model (Sec. 3); infinite divergence gives -infinity.
// Shapes: model [m], sum 1 in each block. `skip`: a group left out (ASW_{-i}), or npos.
inline constexpr size_t kNobody = static_cast<size_t>(-1);
[[nodiscard]] double affine_social_welfare(const Game& game, const std::vector<double>& model,
                                           size_t skip = kNobody);
[[nodiscard]] double divergence_from_initial(const Game& game, const std::vector<double>& model);
// w_i v_i of one group under `model`, with the reward and size of `type`.
[[nodiscard]] double group_valuation(const Game& game, const Report& type,
                                     const std::vector<double>& model);

// The candidates of a game as a table of doubles (MATH 4); valuations are the groups', w_i v_i.
struct CandidateTable {
  std::vector<double> divergences;              // [K]
  std::vector<std::vector<double>> valuations;  // [n][K]
  // T_k, or B_i(k) without the group `skip`.
  [[nodiscard]] double welfare(size_t candidate, size_t skip = kNobody) const;
  [[nodiscard]] double best_welfare(size_t skip = kNobody) const;
  [[nodiscard]] size_t winner(const std::vector<double>& sizes) const;  // ties: MATH 1
};
[[nodiscard]] CandidateTable tabulate(const Game& game);

// The price of a model to group i that does not depend on i's report (taxation principle):
//   c_i(p) = ASW*_{-i} - ASW_{-i}(p), payment = c_i(p*).
struct PricedPoint {
  std::string name;  // "initial", "without_group", "own_optimum", "chosen"
  double price = 0;
  double valuation = 0;  // w_i v_i there
};
Result<std::vector<PricedPoint>> price_menu(const Game& game, size_t group);

}  // namespace candor
