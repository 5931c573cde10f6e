#pragma once

#include "core/audit.h"
#include "core/solution.h"

namespace candor {

// How far rounding can have moved the utility of one group that was read off a solved game: what
// its true reward is worth at the model, less what it pays:
//
//   range(e) model_error  +  (|value| + |payment|) x a few units of rounding
//
// with e = w_i rm_i (less w'_i rm'_i under pay_report) and Solution::model_error, which follows
// from the ranges of the groups' stakes and not from their sizes: a group that likes every outcome
// equally moves nobody. p^AFF adds its own GroupOutcome::payment_error.
//
// The choice of a winner among candidates, and which outcomes lose their mass under tv, are taken
// as they were made: the mechanism's answer to a report is what it computes.
//
// `reported`: the game that was solved, lie included; `type`: the group's truth; `price`: what the
// winner costs under given prices.
struct UtilityReading {
  const Game& reported;
  size_t group;
  const Report& type;
  PaymentRule payments;
  const Solution& solution;
  double price = 0;
};
[[nodiscard]] double utility_rounding(const UtilityReading& reading);

// A lie of the group is profitable, for certain, where its gain exceeds this: both utilities, the
// truth's and the lie's, may be off by their rounding. No other group's size enters.
[[nodiscard]] inline double gain_threshold(double truth_rounding, double lie_rounding) {
  return truth_rounding + lie_rounding;
}

}  // namespace candor
