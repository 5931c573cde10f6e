#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "lm/advantages.h"

namespace candor {

enum class RlhfAlgorithm { kRloo, kPpo };

// How a policy is trained against rewards. Names and meanings are TRL's where TRL has them; where a
// default differs, the reason is the mechanism (MATH 8): maximise E rm - kl_coefficient KL exactly,
// because that is SW-Max of the group alone.
struct RlhfSettings {
  RlhfAlgorithm algorithm = RlhfAlgorithm::kRloo;
  double kl_coefficient = 0.05;  // L / sum of the weights; held fixed
  // Replication only: "ziegler2019" adapts the coefficient to hold the KL near a target. The run
  // is then not SW-Max of its rewards; summary.json has the final coefficient.
  std::string preset = "none";
  AdaptiveKl adaptive;

  // One step: per_device_train_batch_size x gradient_accumulation_steps x num_mini_batches replies,
  // num_generations of each prompt.
  int64_t num_generations = 4;
  int64_t per_device_train_batch_size = 8;  // replies per forward and backward pass
  int64_t gradient_accumulation_steps = 4;
  int64_t num_mini_batches = 1;  // optimiser steps of one pass over the step's replies
  int64_t num_ppo_epochs = 1;    // passes
  int64_t total_steps = 60;

  int64_t max_new_tokens = 48;
  double temperature = 1;  // of the policy: sampled, learnt and compared at this temperature
  double missing_eos_penalty = 0;  // taken from the score of a reply that does not end

  double learning_rate = 5e-5;
  std::string lr_scheduler_type = "linear";  // constant, linear, cosine
  int64_t warmup_steps = 0;
  double adam_beta1 = 0.9;
  double adam_beta2 = 0.999;
  double adam_epsilon = 1e-8;
  double weight_decay = 0;
  double max_grad_norm = 1;  // 0: no clipping

  double cliprange = 0.2;
  bool normalize_advantages = false;            // RLOO
  bool whiten_advantages = true;                // PPO, over the tokens of a step
  bool whiten_rewards = false;                  // PPO
  KlEstimator kl_estimator = KlEstimator::kK1;  // of the penalty; RLOO takes k1
  double cliprange_value = 0.2;
  double value_coefficient = 0.1;
  double value_learning_rate = 1e-3;
  double gamma = 1;
  double gae_lambda = 1;  // below 1 values that are not exact move the optimum; TRL: 0.95
  // TRL of old let the value loss change the policy's weights too, which moves the optimum.
  bool value_trains_policy = false;

  // exp(log p_trainer - log p_sampler) of a reply (RLOO) or token (PPO) weighs its gradient, at
  // most this; 0: no weights.
  double sampler_weight_cap = 2;

  bool use_peft = true;  // LoRA; false: every weight
  int64_t lora_r = 64;
  double lora_alpha = 128;
  double lora_dropout = 0;  // dropout makes the updated policy another one than the sampled
  std::vector<std::string> lora_target_modules = {"q_proj", "v_proj"};
  bool gradient_checkpointing = false;
  bool bf16 = false;          // arithmetic of training; master weights are f32
  bool sampler_bf16 = false;  // weights of the sampler
  int64_t save_steps = 10;    // a checkpoint every so many steps, where there is a place for it

  [[nodiscard]] int64_t mini_batch_size() const {
    return per_device_train_batch_size * gradient_accumulation_steps;
  }
  [[nodiscard]] int64_t batch_size() const { return mini_batch_size() * num_mini_batches; }
  [[nodiscard]] int64_t prompts_per_step() const { return batch_size() / num_generations; }
};

// Every field under the name it has here; absent ones keep their default (PPO: 4 epochs, one reply
// a prompt). Errors are the reader's; the caller finishes it.
[[nodiscard]] RlhfSettings read_rlhf_settings(JsonReader& in);
// All fields, for summary.json and for telling whether a checkpoint belongs to a run.
[[nodiscard]] Json rlhf_settings_json(const RlhfSettings& settings);
// Errors: kInvalidArgument: values that do not go together, with the numbers found.
Status check_rlhf_settings(const RlhfSettings& settings);

}  // namespace candor
