#pragma once

#include <optional>
#include <vector>

#include "core/game.h"

namespace candor {

// Pay what you report, in one block. A report (rm', w') matters only by its stake r = w' rm' >= 0:
// the mechanism takes p(r) = argmax_p <others + r, p> - D_f(p||p0), and the group, which pays
// <r, p>, is left with
//
//   U(r) = <worth - r, p(r)>,     worth = w_i rm_i.
//
// U is not concave: every set of outcomes that the group can promote has its own local optimum.
struct StakeBlock {
  Divergence divergence;
  std::vector<double> initial;  // [m], p0
  std::vector<double> others;   // [m], the others' total reward, up to a constant
  std::vector<double> worth;    // [m]

  [[nodiscard]] size_t outcome_count() const { return initial.size(); }
};

struct Stake {
  double utility = 0;
  std::vector<double> value;  // [m]
};

// U(r), by a solved block; under tv with every outcome near an edge, within rounding, decided
// against the group, so that a report keeps what its stake promised.
[[nodiscard]] double stake_utility(const StakeBlock& block, const std::vector<double>& stake);

// The best stake found with 0 <= r <= cap, and r = cap at the outcome `carrier` where there is one
// (under max normalisation some outcome carries a stake of the whole reported size).
//
// tv [ours]: with b the outcome on top and rho = r(b), an outcome x keeps its mass iff
// r(x) >= c(x) = s(b) + rho - 2L - s(x), s the others' total, and gives it to b otherwise, so
//   U = sum over x of p0(x) max{ worth(x) - max(0, c(x)),  worth(b) - rho  if c(x) > 0 },
// which falls in rho between the points where a c(x) becomes 0: these, for every b, are all that
// need looking at. Exact up to a margin of rounding (ties are avoided) for blocks of 64 outcomes.
//
// Other f [ours]: dU/dr(x) = s(x) (worth(x) - r(x) - U_s) - p(x), s = p0/f''(p/p0), U_s the mean of
// worth - r under s, so where 0 < r(x) < cap
//   r(x) = worth(x) - U_s - rho f''(rho),   rho = p(x)/p0(x);
// under KL the last term is L everywhere and the optimum is among r = clamp(worth - theta, 0, cap).
// That family, the cuts by worth + others (what reverse_kl, whose optimum is at 0 or cap, needs)
// and the outcomes one by one are starts of an ascent along the equation: a lower bound.
[[nodiscard]] Stake best_stake(const StakeBlock& block, double cap,
                               std::optional<size_t> carrier = std::nullopt);

// tv under sum normalisation: stakes that add to `total`, some for every outcome on top. With rho
// and c(x) as above an outcome takes up c(x) whether it keeps its mass (it must) or not (it may);
// what is left over costs least on the outcomes of least p0, up to the top. So rho is tried where a
// c(x) becomes 0 and where nothing is left over, with the first outcomes by p0 topped or not.
[[nodiscard]] std::vector<std::vector<double>> tv_stakes_of_total(const StakeBlock& block,
                                                                  double total);

}  // namespace candor
