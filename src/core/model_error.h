#pragma once

#include "core/rule.h"

namespace candor {

// How far a computed model can be from the one that its rule defines, in L1 (mean over blocks):
// what makes a witness against a rule certain. A witness stands on what the rule chooses, and
// rounding or an iteration that stopped early must not be taken for a choice.

// Where the model comes within `gap` of the maximum of F(p) - D(p), F concave. D is strongly
// convex, so the maximum is near [ours, proved in model_error.cc]:
//
//   kl                    sqrt(2 gap/L)                                     (Pinsker)
//   alpha > 2             (gap a (a-1) (2^(a-1) - 1)/L)^(1/a)               (Lindqvist 1990)
//   the others but tv     sqrt(2 gap/k), k = f''(1/min p0), the least f'' that a ratio can meet
//   tv                    2, the largest distance there is: the maximum need not be unique
//
// Never more than 2.
[[nodiscard]] double distance_from_gap(const Game& game, double gap);

// The SW-Max model of per-agent weights with its gap and its distance from the exact one, as the
// solver proves it (certificate.h): 2, the most, where rounding leaves open which outcome a tv
// optimum prefers.
struct WeightedOptimum {
  std::vector<double> model;
  double gap = 0;
  double distance = 0;
};
[[nodiscard]] WeightedOptimum solve_weighted(const Game& game, const std::vector<double>& weights);

}  // namespace candor
