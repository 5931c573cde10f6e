#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "core/game.h"

namespace candor {

// How far a sampled-level price may be from the price of full training (MATH 8). The price is exact
// for the bank; as an estimate for the model it has sampling error (over prompts) and a bias from
// the number of replies per prompt.
struct Interval {
  double estimate = 0;
  double low = 0;
  double high = 0;
};
struct GroupEstimate {
  std::string name;
  Interval valuation;
  Interval payment;
  Interval utility;
  double payment_half_bank = 0;  // mean over disjoint halves of every prompt's replies
  double payment_bias = 0;       // jackknife estimate of (bank payment - full training payment)
};
struct Estimate {
  double confidence = 0.95;
  int resamples = 0;
  Interval welfare;
  double effective_sample_size = 0;  // mean over blocks of 1 / sum_x p*(x)^2
  double effective_sample_size_min = 0;
  std::vector<GroupEstimate> groups;
};

// Percentile bootstrap over blocks (prompts are the unit of sampling, MATH 8): as a game of blocks
// is a sum over blocks, per-block figures are solved once and resampled.
// REQUIRES: no candidates. Errors: kInvalidArgument with fewer than 2 blocks or a block of fewer
// than 2 outcomes.
Result<Estimate> estimate(const Game& game, uint64_t seed, int resamples = 2000,
                          double confidence = 0.95);

}  // namespace candor
