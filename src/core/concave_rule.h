#pragma once

#include "core/rule.h"

namespace candor {

// max_min and nash of rule.h over all distributions; rule.h is the way in.
//
// Both maximise F(v(p)) - D(p) with F concave and increasing in the per-agent valuations. The dual
// is over weights a >= 0 with g(a) = max_p sum_i a_i v_i(p) - D(p), whose gradient is v(p(a)) and
// whose Hessian is the covariance of the rewards under p0/f''(r) (MATH 5):
//
//   nash      min_{a > 0}  g(a) + sum_i w_i (log(w_i/a_i) - 1),  gap sum_i w_i (z_i - 1 - log z_i),
//             z_i = a_i v_i/w_i
//   max_min   min over the simplex of g(a), by a logarithmic barrier; gap sum_i a_i v_i - min_i v_i
//
// REQUIRES: no candidates, not tv; nash: every reward positive somewhere.
[[nodiscard]] TrainedModel solve_nash(const Game& game);
[[nodiscard]] TrainedModel solve_max_min(const Game& game);

// p0(x)/f''(r(x)), how much mass an outcome gains per unit of total reward beyond the mean; 0 where
// an outcome has lost its mass. [m]
[[nodiscard]] std::vector<double> mass_sensitivity(const Game& game,
                                                   const std::vector<double>& model);

}  // namespace candor
