#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace candor {

// What one step of RLHF says about the health of the run.
struct HealthPoint {
  int64_t step = 0;
  double reward = 0;                   // mean score, before the KL penalty
  double kl = 0;                       // to the reference, per reply
  double entropy = 0;                  // of the policy, per token
  double equal_groups = 0;             // share of prompts whose replies all have one reward
  double truncated_share = 0;          // replies without an end token
  double sampler_disagreement = 0;     // mean abs difference of log-probabilities, per token
  std::optional<double> judge;         // mean of the reward that is only watched
  std::optional<std::string> invalid;  // the name of a metric that is not finite
};

enum class HealthKind {
  kNotFinite,            // a metric is NaN or infinite: training must stop
  kKlExplodes,           // the reward goes up by leaving the reference
  kEntropyCollapse,      // the policy says one thing only
  kNoSignal,             // all rewards equal: nothing to learn from
  kJudgeFalls,           // the reward goes up while the independent judge goes down
  kSamplerDisagreement,  // sampler and trainer are two models
  kNoEnd,                // replies no longer end
};
[[nodiscard]] const char* health_name(HealthKind kind);  // "kl_explodes", as in files

struct HealthWarning {
  HealthKind kind = HealthKind::kNotFinite;
  int64_t step = 0;     // the last step of the history that shows it
  std::string message;  // values found and limits, one sentence
};

struct HealthLimits {
  int64_t window = 8;             // steps that are averaged; the first window is the start
  double kl = 20;                 // nats per reply, and ...
  double kl_growth = 2;           // ... so many times the window before it
  double entropy_share = 0.2;     // of the first window's
  int64_t equal_steps = 3;        // in a row
  double trend_deviations = 2.5;  // a trend counts from so many standard errors
  double sampler_mean_abs = 0.05;
  double truncated_share = 0.95;
};

// The warnings that the history as it stands now gives rise to, at most one of a kind, in the
// order of HealthKind. A pure function: call it after every step with all steps so far.
[[nodiscard]] std::vector<HealthWarning> check_health(std::span<const HealthPoint> history,
                                                      const HealthLimits& limits = {});

}  // namespace candor
