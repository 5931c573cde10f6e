#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace candor {

// The losses of RLHF as functions of log-probabilities, with their gradients: doubles in, doubles
// out, no tensors. Micro-batches add up: `normaliser` is the number of replies (RLOO) or tokens
// (PPO) of the whole mini-batch, and the sums over its parts are the means of the whole.

// Some replies of a mini-batch, tokens side by side. Offsets [S + 1] cut [M] tokens into replies.
struct PolicyTokens {
  std::span<const double> new_logprobs;  // [M], of the policy being changed
  std::span<const double> old_logprobs;  // [M], of the policy before the first update
  std::span<const int64_t> offsets;      // [S + 1]
};

struct LossPart {
  double loss = 0;
  std::vector<double> gradient;  // [M], d loss / d new_logprobs (or d values)
  double clip_fraction = 0;      // replies or tokens whose gradient the clip removed
  double approx_kl = 0;          // mean of (log new - log old)^2 / 2
  double ratio = 0;              // mean of new / old, per token for PPO, per reply for RLOO
};

// RLOO: the ratio of whole replies r_s = exp(sum_t log new - log old),
//
//   loss = -(1/S) sum_s weight_s min(r_s A_s, clip(r_s, 1 - range, 1 + range) A_s)
//
// Source   Ahmadian et al. 2024; TRL's RLOOTrainer. At r = 1 the gradient is that of REINFORCE
//          with a leave-one-out baseline.
// Shapes   advantages and weights [S].
struct ReplyWeights {
  std::span<const double> advantages;
  std::span<const double> weights;  // truncated importance weights of the sampler; 1: none
};
[[nodiscard]] LossPart rloo_loss(const PolicyTokens& tokens, const ReplyWeights& replies,
                                 double clip_range, double normaliser);

// PPO (Schulman et al. 2017) token by token:
//
//   loss = (1/M) sum_t weight_t max(-A_t r_t, -A_t clip(r_t, 1 - range, 1 + range))
//
// Shapes   advantages and weights [M].
[[nodiscard]] LossPart ppo_loss(const PolicyTokens& tokens, const ReplyWeights& per_token,
                                double clip_range, double normaliser);

// The clipped value loss of PPO:
//
//   loss = (1/2M) sum_t max((V_t - R_t)^2, (clip(V_t, old_t - range, old_t + range) - R_t)^2)
//
// Shapes   [M] each; clip_fraction counts tokens whose clipped loss is the larger.
struct ValueTokens {
  std::span<const double> new_values;
  std::span<const double> old_values;
  std::span<const double> returns;
};
[[nodiscard]] LossPart value_loss(const ValueTokens& tokens, double clip_range, double normaliser);

}  // namespace candor
