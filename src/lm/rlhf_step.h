#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "lm/adamw.h"
#include "lm/rlhf_rollout.h"
#include "lm/trainable_decoder.h"
#include "lm/value_head.h"

namespace candor {

// Internal to lm: one step of RLHF on the training engine. [E] replies, [M] their tokens.

// A step's replies and what the losses read of them. Log-probabilities of the old policy and of the
// reference come from the training engine, never from the sampler.
struct Rollout {
  std::vector<RlhfReply> replies;          // [E], a prompt's side by side
  std::vector<int64_t> offsets;            // [E + 1] into tokens
  std::vector<double> sampler_logprobs;    // [M], untempered, as the sampler reported them
  std::vector<double> trainer_logprobs;    // [M], untempered, of the same policy
  std::vector<double> old_logprobs;        // [M], at the policy's temperature
  std::vector<double> reference_logprobs;  // [M]
  std::vector<double> entropies;           // [M]
  std::vector<double> old_values;          // [M], PPO
  std::vector<double> scores;              // [E], penalties of missing ends included
  std::vector<double> advantages;          // [E] RLOO, [M] PPO
  std::vector<double> weights;             // as advantages: the sampler's truncated weights
  std::vector<double> returns;             // [M], PPO

  [[nodiscard]] int64_t reply_count() const { return static_cast<int64_t>(replies.size()); }
  [[nodiscard]] int64_t token_count() const { return offsets.back(); }
};
[[nodiscard]] Rollout make_rollout(std::vector<RlhfReply> replies);

// What the optimiser did with a step, averaged over its optimiser steps.
struct UpdateReport {
  double policy_loss = 0;
  double value_loss = 0;
  double approx_kl = 0;
  double clip_fraction = 0;
  double value_clip_fraction = 0;
  double ratio = 0;
  double gradient_norm = 0;  // before clipping
};

class PolicyTrainer {
 public:
  // `reference`: frozen, for full fine-tuning; with LoRA it is the policy without its factors.
  PolicyTrainer(TrainableDecoder& policy, const TrainableDecoder* reference,
                std::span<const RlhfPrompt> prompts, const RlhfSettings& settings);

  // Fills what the engine knows of the replies and changes the policy. `step` counts from 0 and
  // keys shuffling and dropout. REQUIRES: scores are there.
  // Errors: kInvalidArgument: a loss or gradient is not finite; the policy is left as it was.
  struct StepKey {
    uint64_t seed = 1;
    int64_t step = 0;
  };
  Result<UpdateReport> update(Rollout& rollout, double kl_coefficient, const StepKey& key);

  // Both optimisers, the policy's and (PPO) the value head's, for checkpoints.
  [[nodiscard]] AdamW& policy_optimizer() { return policy_optimizer_; }
  [[nodiscard]] AdamW* value_optimizer() {
    return value_optimizer_.has_value() ? &*value_optimizer_ : nullptr;
  }

 private:
  // A forward pass over some replies.
  struct Pass {
    std::vector<size_t> replies;
    std::vector<int64_t> offsets;  // [replies + 1] into this pass's tokens
    at::Tensor logprobs;           // [m], with gradient where asked for
    at::Tensor plain_logprobs;     // [m], untempered, without gradient
    at::Tensor entropies;          // [m]
    at::Tensor values;             // [m], PPO
  };
  enum class Purpose { kReference, kOldPolicy, kUpdate };
  [[nodiscard]] Pass forward(const Rollout& rollout, std::span<const size_t> replies,
                             Purpose purpose, uint64_t dropout_step) const;
  void measure_reference(Rollout& rollout) const;
  void measure_old(Rollout& rollout) const;
  void keep_old(const Pass& pass, Rollout& rollout) const;
  void make_advantages(Rollout& rollout, size_t begin, size_t end, double kl_coefficient) const;
  void make_ppo_advantages(Rollout& rollout, size_t begin, size_t end, double kl_coefficient) const;
  void make_weights(Rollout& rollout, size_t begin, size_t end) const;
  [[nodiscard]] bool one_pass() const;
  [[nodiscard]] std::vector<size_t> order_of_epoch(const Rollout& rollout, const StepKey& key,
                                                   int64_t epoch) const;
  void backward(const Rollout& rollout, const Pass& pass, double normaliser,
                UpdateReport& report) const;
  Status apply(UpdateReport& report, int64_t step);
  [[nodiscard]] bool ppo() const { return settings_.algorithm == RlhfAlgorithm::kPpo; }

  TrainableDecoder& policy_;
  const TrainableDecoder* reference_;
  std::span<const RlhfPrompt> prompts_;
  const RlhfSettings& settings_;
  std::optional<ValueHead> value_head_;
  AdamW policy_optimizer_;
  std::optional<AdamW> value_optimizer_;
};

}  // namespace candor
