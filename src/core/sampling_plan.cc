#include "core/sampling_plan.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "base/check.h"
#include "base/strings.h"
#include "core/series.h"

namespace candor {

namespace {

constexpr double kLargestVariance = 0.25;  // of a value in [0, 1]
constexpr double kUsefulVariance = 0.1;
constexpr double kVarianceShare = 0.05;  // of delta, for bounds on variances
constexpr int64_t kMostReplies = 65536;
constexpr int64_t kMostPrompts = int64_t{1} << 50;

// Halves [low, high], where `holds` is false below a point and true from there on, as far as
// doubles go; returns the end at which it holds.
template <typename Holds>
double least_where(double low, double high, const Holds& holds) {
  for (int step = 0; step < 200; ++step) {
    const double middle = low + (high - low) / 2;
    if (middle <= low || middle >= high) break;
    (holds(middle) ? high : low) = middle;
  }
  return high;
}

// h(u) = (1 + u) log(1 + u) - u. Below 1e-3 its terms cancel, and five of its series are exact.
double bennett(double u) {
  if (u < 1e-3) return u * u * (1.0 / 2 - u * (1.0 / 6 - u * (1.0 / 12 - u * (1.0 / 20 - u / 30))));
  return (1 + u) * std::log1p(u) - u;
}

// P(|mean - expectation| >= error) <= 2 exp(-count x this) for values in [0, 1] of at most this
// variance.
double error_exponent(double error, double variance) {
  if (variance <= 0) return std::numeric_limits<double>::infinity();
  return std::max(2 * error * error, variance * bennett(error / variance));
}

// kl(p || q) of two coins.
double coin_divergence(double p, double q) {
  const auto term = [](double a, double b) { return a > 0 ? a * std::log(a / b) : 0.0; };
  return std::max(0.0, term(p, q) + term(1 - p, 1 - q));
}

// Chernoff's bounds of the expectation of values in [0, 1] from the mean of `count` of them.
double upper_expectation(double count, double mean, double delta) {
  const double log_term = std::log(1 / delta);
  if (mean >= 1) return 1;
  return least_where(mean, 1.0,
                     [&](double q) { return count * coin_divergence(mean, q) > log_term; });
}
double lower_expectation(double count, double mean, double delta) {
  return 1 - upper_expectation(count, 1 - mean, delta);
}

int64_t count_for(double log_term, double exponent) {
  const double count = std::ceil(log_term / exponent);
  return static_cast<int64_t>(std::clamp(count, 2.0, static_cast<double>(kMostPrompts)));
}

}  // namespace

double hoeffding_half_width(double count, double range, double delta) {
  CANDOR_CHECK(count > 0 && delta > 0 && delta < 1);
  return range * std::sqrt(std::log(2 / delta) / (2 * count));
}

double known_variance_half_width(double count, double variance, double delta) {
  CANDOR_CHECK(variance >= 0);
  const double widest = hoeffding_half_width(count, 1, delta);
  if (variance == 0) return 0;
  const double log_term = std::log(2 / delta);
  return least_where(
      0, widest, [&](double error) { return count * error_exponent(error, variance) >= log_term; });
}

double variance_upper_bound(int64_t count, double variance, double delta) {
  CANDOR_CHECK(count >= 2 && variance >= 0 && delta > 0 && delta < 1);
  const double kernel = std::min(1.0, 2 * variance);
  const int64_t pairs = count / 2;
  return std::min(kLargestVariance,
                  upper_expectation(static_cast<double>(pairs), kernel, delta) / 2);
}

int64_t least_useful_count(double delta) {
  CANDOR_CHECK(delta > 0 && delta < 1);
  // kl(0 || q) = -log(1 - q).
  return 2 * static_cast<int64_t>(std::ceil(std::log(delta) / std::log1p(-2 * kUsefulVariance)));
}

bool uses_variance(int64_t count, double delta) {
  return count >= least_useful_count(kVarianceShare * delta);
}

double empirical_half_width(int64_t count, double variance, double delta) {
  CANDOR_CHECK(count >= 1);
  const auto values = static_cast<double>(count);
  if (!uses_variance(count, delta)) return hoeffding_half_width(values, 1, delta);
  const double spent = kVarianceShare * delta;
  return known_variance_half_width(values, variance_upper_bound(count, variance, spent),
                                   delta - spent);
}

double Pilot::between() const {
  double most = 0;
  for (const PilotSeries& one : series) {
    most = std::max(most, one.means_variance - one.within / static_cast<double>(replies));
  }
  return most;
}

double Pilot::within() const {
  double most = 0;
  for (const PilotSeries& one : series) most = std::max(most, one.within);
  return most;
}

const char* plan_basis_name(PlanBasis basis) {
  static constexpr const char* kNames[] = {"hoeffding", "assumed", "pilot"};
  return kNames[static_cast<size_t>(basis)];
}

Status check_unit_rewards(const Game& game) {
  for (const Report& group : game.groups) {
    const double top = std::ranges::max(group.reward);
    if (top <= 1) continue;
    return invalid_argument(str_cat("group ", quote(group.name), ": found a reward of ", top,
                                    "; a sampling plan needs rewards in [0, 1]"));
  }
  return {};
}

Result<Pilot> game_pilot(const Game& game) {
  CANDOR_RETURN_IF_ERROR(check_unit_rewards(game));
  if (game.block_count() < 2) {
    return invalid_argument(
        str_cat("a pilot needs a game of at least 2 blocks (prompts); found ", game.block_count()));
  }
  const size_t replies = game.block_begin[1];
  for (size_t block = 0; block < game.block_count(); ++block) {
    const size_t size = game.block_begin[block + 1] - game.block_begin[block];
    if (size != replies) {
      return invalid_argument(str_cat("block ", block, " has ", size, " outcomes and block 0 ",
                                      replies, "; a pilot has equally many replies to each"));
    }
    for (size_t x = game.block_begin[block]; x < game.block_begin[block + 1]; ++x) {
      const double share = game.initial[x] * static_cast<double>(replies);
      if (std::abs(share - 1) <= 1e-9) continue;
      return invalid_argument(str_cat("outcome ", x - game.block_begin[block], " of block ", block,
                                      " has probability ", game.initial[x],
                                      "; a pilot's replies are equally likely"));
    }
  }
  Pilot out{.prompts = static_cast<int64_t>(game.block_count()),
            .replies = static_cast<int64_t>(replies),
            .candidates = game.candidates.empty() ? size_t{1} : size_t{0},
            .series = {}};
  for (const Report& group : game.groups) {
    Series means;
    double within = 0;
    for (size_t block = 0; block < game.block_count(); ++block) {
      Series rewards;
      for (size_t x = game.block_begin[block]; x < game.block_begin[block + 1]; ++x) {
        rewards.add(group.reward[x]);
      }
      means.add(rewards.mean().value);
      within += rewards.variance();
    }
    out.series.push_back({.means_variance = means.variance(),
                          .within = within / static_cast<double>(game.block_count())});
  }
  return out;
}

namespace {

// A bound on the variance of a prompt's mean over so many replies; never rises.
using VarianceBound = std::function<double(double replies)>;

Status check_plan(const PlanRequest& request) {
  const auto in_range = [](const char* what, double value, double low, double high) -> Status {
    if (value >= low && value <= high) return {};
    return invalid_argument(
        str_cat(what, ": found ", value, "; expected a number from ", low, " to ", high));
  };
  CANDOR_RETURN_IF_ERROR(in_range("epsilon", request.epsilon, 1e-6, 1));
  CANDOR_RETURN_IF_ERROR(in_range("confidence", request.confidence, 0.5, 1 - 1e-12));
  CANDOR_RETURN_IF_ERROR(in_range("between-variance", request.between.value_or(0), 0, 0.25));
  CANDOR_RETURN_IF_ERROR(in_range("within-variance", request.within.value_or(0), 0, 0.25));
  CANDOR_RETURN_IF_ERROR(in_range("prompt-cost", request.prompt_cost, 0, 1e9));
  if (request.groups < 1 || request.candidates < 1) {
    return invalid_argument("a plan needs at least one group and one candidate");
  }
  if (request.pilot.has_value() &&
      (request.pilot->prompts < 2 || request.pilot->replies < 1 || request.pilot->series.empty())) {
    return invalid_argument("a pilot needs at least 2 prompts, one reply and one series");
  }
  return {};
}

double union_delta(const PlanRequest& request) {
  return (1 - request.confidence) /
         (static_cast<double>(request.groups) * static_cast<double>(request.candidates));
}

VarianceBound assumed_variance(double between, double within) {
  within = std::min(within, kLargestVariance - between);
  return [=](double replies) { return between + within / replies; };
}

// What each bound on a pilot's variances may fail with: all together kVarianceShare of the whole.
double pilot_delta(const PlanRequest& request) {
  const double bounds = request.pilot->replies > 1 ? 3 : 1;
  return kVarianceShare * (1 - request.confidence) /
         (bounds * static_cast<double>(request.pilot->series.size()));
}

VarianceBound pilot_variance(const Pilot& pilot, double delta) {
  struct Bounds {
    double means, within_low, within_high;
  };
  const auto measured = static_cast<double>(pilot.replies);
  const auto prompts = static_cast<double>(pilot.prompts);
  // The largest sample variance that so many values in [0, 1] can have.
  const double top = pilot.replies < 2 ? 1
                                       : std::floor(measured / 2) * std::ceil(measured / 2) /
                                             (measured * (measured - 1));
  std::vector<Bounds> bounds;
  for (const PilotSeries& one : pilot.series) {
    Bounds& made = bounds.emplace_back();
    made.means = variance_upper_bound(pilot.prompts, one.means_variance, delta);
    if (pilot.replies < 2) continue;  // more replies than one: no worse, by how much is unknown
    const double mean = std::clamp(one.within / top, 0.0, 1.0);
    made.within_low = top * lower_expectation(prompts, mean, delta);
    made.within_high = std::min(kLargestVariance, top * upper_expectation(prompts, mean, delta));
  }
  return [=](double replies) {
    const double step = 1 / replies - 1 / measured;
    double most = 0;
    for (const Bounds& one : bounds) {
      const double within = step > 0 ? one.within_high : one.within_low;
      // Averaging cannot divide a variance by more than the number of replies: a guard against
      // replies that repel each other, which no further replies to a prompt need to do.
      const double least = one.means * std::min(1.0, measured / replies);
      most = std::max({most, least, one.means + step * within});
    }
    return std::min(most, kLargestVariance);
  };
}

// The cheapest replies and prompts, where the prompts that so many replies take never rise. An
// interval of replies is dropped where even its own best, the prompts of its upper end at its lower
// end, costs no less than what was found; so the search is exhaustive.
class CheapestSize {
 public:
  CheapestSize(double prompt_cost, const std::function<int64_t(int64_t)>& prompts_of)
      : prompt_cost_(prompt_cost), prompts_of_(prompts_of) {}

  SampleSize find() {
    search(1, try_replies(1), kMostReplies, try_replies(kMostReplies));
    return best_;
  }

 private:
  [[nodiscard]] double cost(int64_t prompts, int64_t replies) const {
    return static_cast<double>(prompts) * (prompt_cost_ + static_cast<double>(replies));
  }

  int64_t try_replies(int64_t replies) {
    const int64_t prompts = prompts_of_(replies);
    const double found = cost(prompts, replies);
    if (best_.prompts == 0 || found < best_.cost ||
        (found == best_.cost && replies < best_.replies)) {
      best_ = {.replies = replies, .prompts = prompts, .samples = 0, .cost = found};
    }
    return prompts;
  }

  void search(int64_t low, int64_t low_prompts, int64_t high, int64_t high_prompts) {
    if (high - low < 2 || low_prompts == high_prompts) return;
    if (cost(high_prompts, low + 1) > best_.cost) return;
    const int64_t middle = low + (high - low) / 2;
    const int64_t middle_prompts = try_replies(middle);
    search(low, low_prompts, middle, middle_prompts);
    search(middle, middle_prompts, high, high_prompts);
  }

  double prompt_cost_;
  const std::function<int64_t(int64_t)>& prompts_of_;
  SampleSize best_;
};

Result<SampleSize> cheapest_size(const PlanRequest& request,
                                 const std::function<int64_t(int64_t)>& prompts_of) {
  SampleSize size = CheapestSize(request.prompt_cost, prompts_of).find();
  const double samples = static_cast<double>(size.prompts) * static_cast<double>(size.replies) *
                         static_cast<double>(request.candidates);
  if (samples > 9e18) {
    return invalid_argument(str_cat("epsilon: found ", request.epsilon, "; with ",
                                    request.candidates, " candidates it takes ", samples,
                                    " samples, more than can be counted"));
  }
  size.samples = size.prompts * size.replies * static_cast<int64_t>(request.candidates);
  size.cost *= static_cast<double>(request.candidates);
  return size;
}

bool assumes(const PlanRequest& request) {
  return request.between.has_value() || request.within.has_value();
}

VarianceBound assumed_variance(const PlanRequest& request) {
  return assumed_variance(request.between.value_or(kLargestVariance),
                          request.within.value_or(kLargestVariance));
}

bool pilot_counts(const PlanRequest& request) {
  return !assumes(request) && request.pilot.has_value() &&
         request.pilot->prompts >= least_useful_count(pilot_delta(request));
}

// The least count of values of this sample variance whose own bound is at most epsilon.
int64_t own_bound_count(double epsilon, double variance, double delta) {
  const int64_t hoeffding = count_for(std::log(2 / delta), 2 * epsilon * epsilon);
  const int64_t useful = least_useful_count(kVarianceShare * delta);
  if (hoeffding < useful) return hoeffding;
  const auto wide = [&](int64_t count) {
    return empirical_half_width(count, variance, delta) > epsilon;
  };
  int64_t low = useful - 1;
  int64_t high = std::max(useful, hoeffding);
  while (wide(high) && high < kMostPrompts) high *= 2;
  while (high - low > 1) {
    const int64_t middle = low + (high - low) / 2;
    (wide(middle) ? low : high) = middle;
  }
  return high;
}

}  // namespace

Result<SampleSize> forecast_own_bound(const PlanRequest& request) {
  CANDOR_RETURN_IF_ERROR(check_plan(request));
  VarianceBound variance = assumed_variance(request);
  if (pilot_counts(request)) {
    variance = assumed_variance(std::min(request.pilot->between(), kLargestVariance),
                                request.pilot->within());
  }
  const double delta = union_delta(request);
  return cheapest_size(request, [&](int64_t replies) {
    return own_bound_count(request.epsilon, variance(static_cast<double>(replies)), delta);
  });
}

Result<SamplingPlan> plan_sampling(const PlanRequest& request) {
  CANDOR_RETURN_IF_ERROR(check_plan(request));
  SamplingPlan plan;
  double delta = union_delta(request);
  VarianceBound variance = assumed_variance(request);
  PlanBasis basis = PlanBasis::kAssumed;
  if (request.pilot.has_value()) plan.least_pilot = least_useful_count(pilot_delta(request));
  plan.pilot_used = pilot_counts(request);
  if (plan.pilot_used) {
    basis = PlanBasis::kPilot;
    variance = pilot_variance(*request.pilot, pilot_delta(request));
    delta -= kVarianceShare * delta;
  }
  const double log_term = std::log(2 / delta);
  const double hoeffding = 2 * request.epsilon * request.epsilon;
  plan.prompts_hoeffding = count_for(log_term, hoeffding);
  CANDOR_TRY(plan.size, cheapest_size(request, [&](int64_t replies) {
               const double bound = variance(static_cast<double>(replies));
               return count_for(log_term, error_exponent(request.epsilon, bound));
             }));
  plan.variance = variance(static_cast<double>(plan.size.replies));
  plan.epsilon = std::min(
      request.epsilon,
      known_variance_half_width(static_cast<double>(plan.size.prompts), plan.variance, delta));
  if (error_exponent(request.epsilon, plan.variance) > hoeffding) plan.basis = basis;
  CANDOR_TRY(plan.forecast, forecast_own_bound(request));
  return plan;
}

}  // namespace candor
