#pragma once

#include <cstdint>
#include <vector>

#include "base/result.h"
#include "core/divergence.h"

namespace candor {

// NeurIPS Table 1: in random games one group adds eps to its best outcome and takes eps from its
// worst one (sum normalisation); how its valuation and its utility under p^AFF change on average.
// eps is cut to what keeps the report admissible: at most the worst reward, and 1 - the best.
//
// The paper's text says n = 5; n = 3, kl, lambda 0.157, rewards uniform on [0, 1] over their sum, a
// flat Dirichlet p0 and sizes 1..10 fit all its 14 numbers within 2 % [ours]: a fit, no more.
struct DeviationExperiment {
  Divergence divergence = {.kind = DivergenceKind::kKl, .regularization = 0.157};
  size_t groups = 3;
  size_t outcomes = 10;
  int64_t largest_size = 10;
  int games = 20000;
  uint64_t seed = 1;
  int threads = 0;
};

struct DeviationRow {
  double epsilon = 0;
  double valuation_change = 0;  // mean of w_i v_i after less before
  double utility_change = 0;    // mean of u_i after less before
  double utility_error = 0;     // 1.96 standard errors of it
};

// Common random games for every epsilon. Equal results for any number of threads.
// Errors: kInvalidArgument: an epsilon not finite or <= 0; fewer than 1 group, 2 outcomes, 1 game.
Result<std::vector<DeviationRow>> run_deviations(const DeviationExperiment& experiment,
                                                 const std::vector<double>& epsilons);

}  // namespace candor
