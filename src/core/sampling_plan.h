#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/result.h"
#include "core/game.h"

namespace candor {

// ---------------------------------------------------------------- error bounds
//
// Of the mean of `count` independent values of one distribution, two-sided: it is within the
// half-width of its expectation with probability at least 1 - delta.

// range sqrt(log(2/delta) / (2 count)), for values in an interval of length `range`, whatever their
// variance (Hoeffding 1963, Thm 2).
[[nodiscard]] double hoeffding_half_width(double count, double range, double delta);

// Values in [0, 1] whose true variance is at most `variance`: the least t with
//   count max(2 t^2, V h(t/V)) >= log(2/delta),   h(u) = (1 + u) log(1 + u) - u
// (Hoeffding; Bennett 1962). Which of the two is larger depends on V and t alone, so that their
// maximum costs nothing.
[[nodiscard]] double known_variance_half_width(double count, double variance, double delta);

// An upper bound of the true variance of values in [0, 1], with probability at least 1 - delta:
//   the largest v <= 1/4 with floor(count/2) kl(2 V || 2 v) <= log(1/delta),   V the sample
//   variance.
// V is a U-statistic with kernel (x - y)^2 / 2 in [0, 1/2], and Chernoff's bound holds for it as
// for floor(count/2) independent values of the kernel (Hoeffding 1963, Thm 1 and Sec. 5). Since
// kl(p || q) >= (q - p)^2 / (2q) it implies sqrt(v) <= sqrt(V) + sqrt(2 log(1/delta) / (count -
// 1)), Maurer and Pontil 2009, Thm 10. REQUIRES: count >= 2.
[[nodiscard]] double variance_upper_bound(int64_t count, double variance, double delta);

// Values in [0, 1] of which only the sample variance is known. From least_useful_count(delta / 20)
// values on, a twentieth of delta pays for variance_upper_bound and the rest for
// known_variance_half_width at it; with fewer, Hoeffding at the whole of delta. The choice depends
// on `count` alone: the smaller of two bounds, picked after seeing the values, would cost both
// deltas. REQUIRES: count >= 1.
[[nodiscard]] double empirical_half_width(int64_t count, double variance, double delta);

// Whether empirical_half_width makes anything of the variance; else it is Hoeffding's of the range.
[[nodiscard]] bool uses_variance(int64_t count, double delta);

// From how many values on variance_upper_bound can be at most 1/10, which it is where they all
// agree. A smaller sample says too little of a variance for a share of delta to be spent on it.
[[nodiscard]] int64_t least_useful_count(double delta);

// ---------------------------------------------------------------- plans

// What replies to prompts showed of rewards in [0, 1] before a plan is made: Q prompts drawn
// independently, `replies` to each, exchangeable and equally many.
struct PilotSeries {
  double means_variance = 0;  // sample variance of the prompts' means over their replies
  double within = 0;          // mean over prompts of the sample variance of a prompt's replies
};
struct Pilot {
  int64_t prompts = 0;
  int64_t replies = 1;
  size_t candidates = 1;            // that the series are of; 0: the initial model, not a candidate
  std::vector<PilotSeries> series;  // one for each group and measured candidate

  // Unbiased estimates, the largest of a series: of prompts' true means, and of replies to one.
  [[nodiscard]] double between() const;
  [[nodiscard]] double within() const;
};

// The initial model's rewards in a game of blocks (prompts) as a pilot, a series for each group.
// Errors: kInvalidArgument with fewer than two blocks, blocks of different sizes or outcomes that
// are not equally likely (they are no replies), a reward above 1.
Result<Pilot> game_pilot(const Game& game);
// Errors: kInvalidArgument, naming the group whose reward is above 1.
Status check_unit_rewards(const Game& game);

// What a target epsilon takes. Replies are averaged within a prompt first, so the variance of a
// prompt's mean is between + within / replies; between + within <= 1/4 for rewards in [0, 1].
struct PlanRequest {
  double epsilon = 0.05;
  double confidence = 0.95;
  size_t groups = 1;
  size_t candidates = 1;
  std::optional<double> between = {};  // assumed: variance of prompts' true means is at most this
  std::optional<double> within = {};   // assumed: mean variance of replies to one prompt
  double prompt_cost = 1;              // of a prompt to a candidate, in sampled and scored replies
  std::optional<Pilot> pilot = {};     // used where no variance is assumed
};

struct SampleSize {
  int64_t replies = 1;  // per prompt and candidate
  int64_t prompts = 0;
  int64_t samples = 0;  // prompts x replies x candidates
  double cost = 0;      // prompts x (prompt_cost + replies) x candidates, in sampled replies
};

enum class PlanBasis {
  kHoeffding,  // holds whatever the variances are
  kAssumed,    // holds if the variances are at most the assumed ones
  kPilot,      // holds for pilot and run together; see Pilot::candidates
};

[[nodiscard]] const char* plan_basis_name(PlanBasis basis);  // hoeffding, assumed, pilot

struct SamplingPlan {
  PlanBasis basis = PlanBasis::kHoeffding;
  // A run of this size, its prompts drawn independently of the pilot's, has every
  // |V_hat[i][k] - V[i][k]| <= request.epsilon with probability at least request.confidence: a
  // statement about the true errors, made before the run.
  SampleSize size;
  double epsilon = 0;             // what `size` reaches, <= request.epsilon
  double variance = 0.25;         // of a prompt's mean, the bound that was planned with
  int64_t prompts_hoeffding = 0;  // whatever the variances are, at the same share of the confidence
  bool pilot_used = false;        // a twentieth of 1 - confidence was spent on its variances
  int64_t least_pilot = 0;  // prompts from which a pilot of these replies is used; 0: no pilot
  // When the bound that a run computes of its own values (empirical_half_width, TableEstimate)
  // reaches epsilon: forecast_own_bound.
  SampleSize forecast;
};

// The cheapest size (least `cost`, then fewest replies) by the whole bound, over all replies from 1
// to 65536 and at least 2 prompts; union over groups x candidates:
//   prompts >= log(2/delta) / max(2 eps^2, V h(eps/V)),   V = the bound on between +
//   within/replies.
// V comes from the assumed variances (what is not assumed is only known to be at most 1/4 in sum);
// else from a pilot of at least `least_pilot` prompts, with R replies to each, by upper bounds of
//   Var_R' = Var_R + (1/R' - 1/R) within
// (for R' > R with a lower bound of `within`, which is a mean of bounded values), all of them
// together at a twentieth of 1 - confidence, and the run at the rest; else it is 1/4.
// Errors: kInvalidArgument, naming the field.
Result<SamplingPlan> plan_sampling(const PlanRequest& request);

// The cheapest size at which a run that measures variances of at most between + within / replies
// prints a bound of at most epsilon. The variances: the request's, else the estimates of a pilot of
// enough prompts, else any (then it is certain). Errors: plan_sampling's.
Result<SampleSize> forecast_own_bound(const PlanRequest& request);

}  // namespace candor
