#include "core/sampling_plan.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "base/strings.h"
#include "core/series.h"

namespace candor {

double hoeffding_half_width(double count, double range, double delta) {
  CANDOR_CHECK(count > 0 && delta > 0 && delta < 1);
  return range * std::sqrt(std::log(2 / delta) / (2 * count));
}

double empirical_bernstein_half_width(double count, double variance, double range, double delta) {
  CANDOR_CHECK(count >= 2 && delta > 0 && delta < 1);
  const double log_term = std::log(4 / delta);
  return std::sqrt(2 * variance * log_term / count) + 7 * range * log_term / (3 * (count - 1));
}

namespace {

// The least count for which `half_width(count)`, which falls, is at most `target`.
template <typename HalfWidth>
int64_t least_count(double target, const HalfWidth& half_width) {
  int64_t high = 2;
  while (half_width(static_cast<double>(high)) > target && high < (int64_t{1} << 50)) high *= 2;
  int64_t low = high / 2;
  while (high - low > 1) {
    const int64_t middle = low + (high - low) / 2;
    (half_width(static_cast<double>(middle)) > target ? low : high) = middle;
  }
  return high;
}

Status check_plan(const PlanRequest& request) {
  const auto in_range = [](const char* what, double value, double low, double high) -> Status {
    if (value >= low && value <= high) return {};
    return invalid_argument(
        str_cat(what, ": found ", value, "; expected a number from ", low, " to ", high));
  };
  CANDOR_RETURN_IF_ERROR(in_range("epsilon", request.epsilon, 1e-6, 1));
  CANDOR_RETURN_IF_ERROR(in_range("confidence", request.confidence, 0.5, 1 - 1e-12));
  CANDOR_RETURN_IF_ERROR(in_range("between-variance", request.between, 0, 0.25));
  CANDOR_RETURN_IF_ERROR(in_range("within-variance", request.within, 0, 0.25));
  CANDOR_RETURN_IF_ERROR(in_range("prompt-cost", request.prompt_cost, 0, 1e9));
  if (request.groups < 1 || request.candidates < 1) {
    return invalid_argument("a plan needs at least one group and one candidate");
  }
  return {};
}

}  // namespace

Result<SamplingPlan> plan_sampling(const PlanRequest& request) {
  CANDOR_RETURN_IF_ERROR(check_plan(request));
  static constexpr double kMostReplies = 1024;
  const double delta =
      (1 - request.confidence) / static_cast<double>(request.groups * request.candidates);
  SamplingPlan plan;
  double replies = 1;
  if (request.within > 0) {
    const double ratio = request.between > 0 ? request.within / request.between : kMostReplies;
    replies = std::clamp(std::round(std::sqrt(ratio * request.prompt_cost)), 1.0, kMostReplies);
  }
  plan.replies = static_cast<int64_t>(replies);
  const double variance = request.between + request.within / replies;
  const auto bernstein = [&](double count) {
    return empirical_bernstein_half_width(count, variance, 1, delta);
  };
  plan.prompts_hoeffding = least_count(
      request.epsilon, [&](double count) { return hoeffding_half_width(count, 1, delta); });
  plan.prompts = std::min(least_count(request.epsilon, bernstein), plan.prompts_hoeffding);
  plan.samples = plan.prompts * plan.replies * static_cast<int64_t>(request.candidates);
  const auto prompts = static_cast<double>(plan.prompts);
  plan.epsilon = std::min(bernstein(prompts), hoeffding_half_width(prompts, 1, delta));
  return plan;
}

Result<PilotVariances> pilot_variances(const Game& game) {
  if (game.block_count() < 2) {
    return invalid_argument(
        str_cat("a pilot needs a game of at least 2 blocks (prompts); found ", game.block_count()));
  }
  PilotVariances out;
  const auto blocks = static_cast<double>(game.block_count());
  for (const Report& group : game.groups) {
    Series means;
    double within = 0;
    double noise = 0;  // what sampling within prompts adds to the spread of their means
    for (size_t block = 0; block < game.block_count(); ++block) {
      double mean = 0;
      double square = 0;
      double effective = 0;  // sum of squared weights
      for (size_t x = game.block_begin[block]; x < game.block_begin[block + 1]; ++x) {
        mean += game.initial[x] * group.reward[x];
        square += game.initial[x] * group.reward[x] * group.reward[x];
        effective += game.initial[x] * game.initial[x];
      }
      const double variance =
          effective < 1 ? std::max(0.0, square - mean * mean) / (1 - effective) : 0.0;
      within += variance / blocks;
      noise += variance * effective / blocks;
      means.add(mean);
    }
    out.between = std::max(out.between, means.variance() - noise);
    out.within = std::max(out.within, within);
  }
  return out;
}

}  // namespace candor
