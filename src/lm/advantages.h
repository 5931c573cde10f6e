#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace candor {

// What a reply was worth: the arithmetic of RLHF between the rewards and the loss, in doubles and
// without tensors.

// Leave-one-out advantages (RLOO; Kool et al. 2019, Ahmadian et al. 2024): every reply against the
// mean of the other replies to the same prompt,
//
//   A_i = R_i - (1/(K-1)) sum_{j != i} R_j
//
// The baseline of reply i does not depend on reply i, so the gradient stays unbiased. Where the
// policy is SW-Max of this reward, R = rm - b log(p/p0) is constant and every advantage is 0.
// Shapes   rewards [prompts x group_size], a prompt's replies side by side; as many advantages.
// REQUIRES group_size >= 2, rewards.size() a multiple of it.
[[nodiscard]] std::vector<double> leave_one_out_advantages(std::span<const double> rewards,
                                                           int64_t group_size);

struct GaeOptions {
  double gamma = 1;
  double lambda = 1;  // 1: reward-to-go minus value, unbiased whatever the values are
};
struct AdvantagesAndReturns {
  std::vector<double> advantages;  // [T]
  std::vector<double> returns;     // [T], advantage + value: what the value head learns
};
// Generalised advantage estimation (Schulman et al. 2016) of one reply whose last token ends it:
//
//   d_t = r_t + gamma V_{t+1} - V_t,   A_t = d_t + gamma lambda A_{t+1},   V_T = A_T = 0
//
// Shapes   rewards and values [T].
[[nodiscard]] AdvantagesAndReturns generalised_advantages(std::span<const double> rewards,
                                                          std::span<const double> values,
                                                          const GaeOptions& options);

// (x - mean) / sqrt(variance + 1e-8), the variance over n - 1; with keep_mean the mean is added
// back (TRL's whitening). One value, or none, has no variance and stays as it is.
enum class Whitening { kShiftMean, kKeepMean };
void whiten(std::span<double> values, Whitening whitening);
// (x - mean) / (deviation + 1e-4), the deviation over n - 1: TRL's normalize_advantages of RLOO.
void standardise(std::span<double> values);

// Estimators of KL(p||p0) from one token drawn from p with d = log p - log p0 (Schulman 2020):
// k1 = d, unbiased; k2 = d^2 / 2; k3 = exp(-d) - 1 + d, unbiased and never negative.
enum class KlEstimator { kK1, kK2, kK3 };
[[nodiscard]] double kl_estimate(KlEstimator estimator, double policy_logprob,
                                 double reference_logprob);

// The reward of every token of a reply, as PPO sees it: -coefficient x KL estimate at each, and
// the score of the whole reply at its last token. Shapes: [T] each, T >= 1.
struct TokenRewardOptions {
  KlEstimator estimator = KlEstimator::kK1;
  double kl_coefficient = 0;
  double score = 0;
};
[[nodiscard]] std::vector<double> token_rewards(std::span<const double> policy_logprobs,
                                                std::span<const double> reference_logprobs,
                                                const TokenRewardOptions& options);

// A group's reward on the scale that is priced: (score - low) / (high - low), clipped to [0, 1].
// REQUIRES: low < high, a finite score.
[[nodiscard]] double normalised_reward(double score, double low, double high);

// How far the log-probabilities of two programs for the same sampled tokens lie apart. `sampler`:
// of the program that drew them; `trainer`: of the one that learns from them.
struct Disagreement {
  double mean_abs = 0;  // of log p_trainer - log p_sampler, per token
  double max_abs = 0;
  double kl = 0;  // KL(sampler||trainer) per token by k3, which is unbiased and never negative
};
[[nodiscard]] Disagreement disagreement(std::span<const double> sampler,
                                        std::span<const double> trainer);

// The weight exp(log p_trainer - log p_sampler) of a draw, at most `cap`: truncated importance
// sampling (Ionides 2008) keeps the variance finite for a bias that is 0 where nothing is cut.
[[nodiscard]] double truncated_weight(double log_ratio, double cap);

// The adaptive KL coefficient of Ziegler et al. 2019 (TRL's AdaptiveKLController):
//   b <- b (1 + clip(kl / target - 1, -0.2, 0.2) n / horizon).
// Not what the mechanism needs (MATH 8): only under the preset that names it.
struct AdaptiveKl {
  double target = 6;
  double horizon = 10000;
};
[[nodiscard]] double adapted_coefficient(double coefficient, double kl, int64_t episodes,
                                         const AdaptiveKl& options);

}  // namespace candor
