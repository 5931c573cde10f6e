#include "lm/advantages.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/check.h"

namespace candor {

namespace {

struct Moments {
  double mean = 0;
  double variance = 0;  // over n - 1
};

Moments moments(std::span<const double> values) {
  const auto count = static_cast<double>(values.size());
  Moments out;
  out.mean = std::accumulate(values.begin(), values.end(), 0.0) / count;
  for (const double value : values) out.variance += (value - out.mean) * (value - out.mean);
  out.variance /= count - 1;
  return out;
}

}  // namespace

std::vector<double> leave_one_out_advantages(std::span<const double> rewards, int64_t group_size) {
  CANDOR_CHECK(group_size >= 2);
  const auto size = static_cast<size_t>(group_size);
  CANDOR_CHECK(rewards.size() % size == 0);
  std::vector<double> advantages;
  advantages.reserve(rewards.size());
  for (size_t begin = 0; begin < rewards.size(); begin += size) {
    const std::span<const double> group = rewards.subspan(begin, size);
    // Equal rewards must give exactly 0, so the sum is of differences, not of rewards.
    for (size_t i = 0; i < size; ++i) {
      double sum = 0;
      for (const double reward : group) sum += group[i] - reward;
      advantages.push_back(sum / static_cast<double>(group_size - 1));
    }
  }
  return advantages;
}

AdvantagesAndReturns generalised_advantages(std::span<const double> rewards,
                                            std::span<const double> values,
                                            const GaeOptions& options) {
  CANDOR_CHECK(rewards.size() == values.size());
  const size_t length = rewards.size();
  AdvantagesAndReturns out{std::vector<double>(length), std::vector<double>(length)};
  double next_advantage = 0;
  double next_value = 0;
  for (size_t t = length; t-- > 0;) {
    const double delta = rewards[t] + options.gamma * next_value - values[t];
    next_advantage = delta + options.gamma * options.lambda * next_advantage;
    next_value = values[t];
    out.advantages[t] = next_advantage;
    out.returns[t] = next_advantage + values[t];
  }
  return out;
}

void whiten(std::span<double> values, Whitening whitening) {
  if (values.size() < 2) return;
  const Moments m = moments(values);
  const double scale = 1 / std::sqrt(m.variance + 1e-8);
  const double back = whitening == Whitening::kKeepMean ? m.mean : 0;
  for (double& value : values) value = (value - m.mean) * scale + back;
}

void standardise(std::span<double> values) {
  if (values.size() < 2) return;
  const Moments m = moments(values);
  const double scale = 1 / (std::sqrt(m.variance) + 1e-4);
  for (double& value : values) value = (value - m.mean) * scale;
}

double kl_estimate(KlEstimator estimator, double policy_logprob, double reference_logprob) {
  const double d = policy_logprob - reference_logprob;
  switch (estimator) {
    case KlEstimator::kK1:
      return d;
    case KlEstimator::kK2:
      return d * d / 2;
    case KlEstimator::kK3:
      return std::expm1(-d) + d;
  }
  CANDOR_CHECK(false);
}

std::vector<double> token_rewards(std::span<const double> policy_logprobs,
                                  std::span<const double> reference_logprobs,
                                  const TokenRewardOptions& options) {
  CANDOR_CHECK(policy_logprobs.size() == reference_logprobs.size() && !policy_logprobs.empty());
  std::vector<double> rewards;
  rewards.reserve(policy_logprobs.size());
  for (size_t t = 0; t < policy_logprobs.size(); ++t) {
    rewards.push_back(-options.kl_coefficient *
                      kl_estimate(options.estimator, policy_logprobs[t], reference_logprobs[t]));
  }
  rewards.back() += options.score;
  return rewards;
}

double normalised_reward(double score, double low, double high) {
  CANDOR_CHECK(low < high && std::isfinite(score));
  return std::clamp((score - low) / (high - low), 0.0, 1.0);
}

Disagreement disagreement(std::span<const double> sampler, std::span<const double> trainer) {
  CANDOR_CHECK(sampler.size() == trainer.size());
  Disagreement out;
  if (sampler.empty()) return out;
  for (size_t t = 0; t < sampler.size(); ++t) {
    const double difference = std::abs(trainer[t] - sampler[t]);
    out.mean_abs += difference;
    out.max_abs = std::max(out.max_abs, difference);
    out.kl += kl_estimate(KlEstimator::kK3, sampler[t], trainer[t]);
  }
  out.mean_abs /= static_cast<double>(sampler.size());
  out.kl /= static_cast<double>(sampler.size());
  return out;
}

double truncated_weight(double log_ratio, double cap) { return std::min(std::exp(log_ratio), cap); }

double adapted_coefficient(double coefficient, double kl, int64_t episodes,
                           const AdaptiveKl& options) {
  const double error = std::clamp(kl / options.target - 1, -0.2, 0.2);
  return coefficient * (1 + error * static_cast<double>(episodes) / options.horizon);
}

}  // namespace candor
