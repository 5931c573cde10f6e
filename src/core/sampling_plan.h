#pragma once

#include <cstddef>
#include <cstdint>

#include "base/result.h"
#include "core/game.h"

namespace candor {

// Half-width that holds for the mean of `count` independent values in an interval of length `range`
// with probability 1 - delta (both sides):
//   Hoeffding            range sqrt(log(2/delta) / (2 count))
//   empirical Bernstein  sqrt(2 V log(4/delta) / count) + 7 range log(4/delta) / (3 (count - 1)),
//                        V the sample variance (Maurer and Pontil 2009, Thm 4); count >= 2
[[nodiscard]] double hoeffding_half_width(double count, double range, double delta);
[[nodiscard]] double empirical_bernstein_half_width(double count, double variance, double range,
                                                    double delta);

// What a target epsilon takes. Replies are averaged within a prompt first, so the variance of a
// prompt's mean is between + within / replies. Union over groups x candidates.
struct PlanRequest {
  double epsilon = 0.05;
  double confidence = 0.95;
  size_t groups = 1;
  size_t candidates = 1;
  double between = 0.25;   // variance of prompt means; at most 1/4 for rewards in [0, 1]
  double within = 0;       // variance of replies to one prompt
  double prompt_cost = 1;  // relative to one sampled and scored reply
};
struct SamplingPlan {
  int64_t replies = 1;  // per prompt and candidate, the cheapest: sqrt(within/between x cost)
  int64_t prompts = 0;  // by the better of the two bounds with these variances
  int64_t prompts_hoeffding = 0;  // whatever the variances are
  int64_t samples = 0;            // prompts x replies x candidates
  double epsilon = 0;             // what these prompts reach
};
// Errors: kInvalidArgument, naming the field.
Result<SamplingPlan> plan_sampling(const PlanRequest& request);

// Variances of the initial model's rewards in a block game: a pilot for the plan. The largest over
// groups. Errors: kInvalidArgument with fewer than two blocks.
struct PilotVariances {
  double between = 0;
  double within = 0;
};
Result<PilotVariances> pilot_variances(const Game& game);

}  // namespace candor
