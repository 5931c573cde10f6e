#include "lm/health.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "base/check.h"
#include "base/strings.h"

namespace candor {

namespace {

using Points = std::span<const HealthPoint>;
using Field = std::function<double(const HealthPoint&)>;

// Mean and standard error of one field over some steps.
struct Average {
  double mean = 0;
  double error = 0;
};

Average average(Points points, const Field& field) {
  const auto count = static_cast<double>(points.size());
  Average out;
  for (const HealthPoint& point : points) out.mean += field(point) / count;
  double squares = 0;
  for (const HealthPoint& point : points) squares += std::pow(field(point) - out.mean, 2);
  out.error = points.size() < 2 ? 0 : std::sqrt(squares / (count - 1) / count);
  return out;
}

// The change from the first window to the last in standard errors of the difference; 0 where there
// is no change at all.
double trend(Points first, Points last, const Field& field) {
  const Average a = average(first, field);
  const Average b = average(last, field);
  const double change = b.mean - a.mean;
  return change == 0 ? 0 : change / std::hypot(a.error, b.error);
}

class Check {
 public:
  Check(Points history, const HealthLimits& limits)
      : history_(history), limits_(limits), window_(static_cast<size_t>(limits.window)) {
    CANDOR_CHECK(limits.window >= 2 && limits.equal_steps >= 1);
  }

  std::vector<HealthWarning> run() {
    if (history_.empty()) return {};
    not_finite();
    if (!warnings_.empty()) return std::move(warnings_);
    if (history_.size() >= 2 * window_) {
      kl_explodes();
      entropy_collapse();
    }
    no_signal();
    if (history_.size() >= 2 * window_) judge_falls();
    if (history_.size() >= window_) {
      sampler_disagreement();
      no_end();
    }
    return std::move(warnings_);
  }

 private:
  [[nodiscard]] Points first() const { return history_.first(window_); }
  [[nodiscard]] Points last() const { return history_.last(window_); }
  void warn(HealthKind kind, std::string message) {
    warnings_.push_back({kind, history_.back().step, std::move(message)});
  }

  void not_finite() {
    for (const HealthPoint& point : history_) {
      if (!point.invalid.has_value()) continue;
      warnings_.push_back(
          {HealthKind::kNotFinite, point.step, str_cat(*point.invalid, " is not finite")});
      return;
    }
  }

  void kl_explodes() {
    const auto kl = [](const HealthPoint& point) { return point.kl; };
    const double now = average(last(), kl).mean;
    const Points earlier = history_.subspan(history_.size() - 2 * window_, window_);
    const double before = average(earlier, kl).mean;
    if (now < limits_.kl || now < limits_.kl_growth * before) return;
    const auto reward = [](const HealthPoint& point) { return point.reward; };
    const double gain = average(last(), reward).mean - average(earlier, reward).mean;
    if (gain <= 0) return;
    warn(HealthKind::kKlExplodes,
         str_cat("the KL to the reference went from ", format_short(before), " to ",
                 format_short(now), " nats per reply (limit ", format_short(limits_.kl),
                 ") while the reward rose by ", format_short(gain)));
  }

  void entropy_collapse() {
    const auto entropy = [](const HealthPoint& point) { return point.entropy; };
    const double start = average(first(), entropy).mean;
    const double now = average(last(), entropy).mean;
    if (now >= limits_.entropy_share * start) return;
    warn(HealthKind::kEntropyCollapse,
         str_cat("the policy's entropy fell from ", format_short(start), " to ", format_short(now),
                 " nats per token"));
  }

  void no_signal() {
    const auto steps = static_cast<size_t>(limits_.equal_steps);
    if (history_.size() < steps) return;
    const bool equal = std::ranges::all_of(
        history_.last(steps), [](const HealthPoint& point) { return point.equal_groups >= 1; });
    if (!equal) return;
    warn(HealthKind::kNoSignal,
         str_cat("in the last ", steps,
                 " steps all replies to a prompt had one reward: there is nothing to learn from"));
  }

  void judge_falls() {
    const auto judged = [](const HealthPoint& point) { return point.judge.has_value(); };
    if (!std::ranges::all_of(history_, judged)) return;
    const double reward =
        trend(first(), last(), [](const HealthPoint& point) { return point.reward; });
    const auto judge = [](const HealthPoint& point) { return *point.judge; };
    if (reward < limits_.trend_deviations) return;
    if (trend(first(), last(), judge) > -limits_.trend_deviations) return;
    warn(HealthKind::kJudgeFalls,
         str_cat("the reward rises while the judge fell from ",
                 format_short(average(first(), judge).mean), " to ",
                 format_short(average(last(), judge).mean), ": the reward is being gamed"));
  }

  void sampler_disagreement() {
    const double now =
        average(last(), [](const HealthPoint& point) { return point.sampler_disagreement; }).mean;
    if (now <= limits_.sampler_mean_abs) return;
    warn(
        HealthKind::kSamplerDisagreement,
        str_cat("sampler and trainer differ by ", format_short(now),
                " nats per token on average (limit ", format_short(limits_.sampler_mean_abs), ")"));
  }

  void no_end() {
    const double now =
        average(last(), [](const HealthPoint& point) { return point.truncated_share; }).mean;
    if (now <= limits_.truncated_share) return;
    warn(HealthKind::kNoEnd, str_cat("a share of ", format_short(now),
                                     " of the replies reached max_new_tokens without an end"));
  }

  Points history_;
  const HealthLimits& limits_;
  size_t window_;
  std::vector<HealthWarning> warnings_;
};

}  // namespace

const char* health_name(HealthKind kind) {
  switch (kind) {
    case HealthKind::kNotFinite:
      return "not_finite";
    case HealthKind::kKlExplodes:
      return "kl_explodes";
    case HealthKind::kEntropyCollapse:
      return "entropy_collapse";
    case HealthKind::kNoSignal:
      return "no_signal";
    case HealthKind::kJudgeFalls:
      return "judge_falls";
    case HealthKind::kSamplerDisagreement:
      return "sampler_disagreement";
    case HealthKind::kNoEnd:
      return "no_end";
  }
  CANDOR_CHECK(false);
}

std::vector<HealthWarning> check_health(std::span<const HealthPoint> history,
                                        const HealthLimits& limits) {
  return Check(history, limits).run();
}

}  // namespace candor
