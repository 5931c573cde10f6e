#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/fields.h"
#include "base/json.h"
#include "base/result.h"
#include "lm/advantages.h"
#include "lm/learning_rate.h"
#include "lm/lora_settings.h"

namespace candor {

enum class RlhfAlgorithm { kRloo, kPpo };
[[nodiscard]] const std::vector<std::string>& rlhf_algorithm_names();
[[nodiscard]] const std::vector<std::string>& kl_estimator_names();
[[nodiscard]] const std::vector<std::string>& rlhf_preset_names();

// How a policy is trained against rewards. Names and meanings are TRL's where TRL has them; where a
// default differs, the reason is the mechanism (MATH 8): maximise E rm - kl_coefficient KL exactly,
// because that is SW-Max of the group alone.
struct RlhfSettings {
  RlhfAlgorithm algorithm = RlhfAlgorithm::kRloo;
  double kl_coefficient = 0.05;  // L / sum of the weights; held fixed
  // Replication only: "ziegler2019" adapts the coefficient to hold the KL near a target. The run
  // is then not SW-Max of its rewards; summary.json has the final coefficient.
  std::string preset = "none";
  double kl_target = 6;  // of AdaptiveKl
  double kl_horizon = 10000;

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
  Schedule lr_scheduler_type = Schedule::kLinear;
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

  static constexpr auto fields();
  // It in parts.
  static constexpr auto batch_fields();
  static constexpr auto optimiser_fields();
  static constexpr auto loss_fields();
  static constexpr auto model_fields();
  static constexpr double kMany = 1 << 24;
  static constexpr double kSteps = INT32_MAX;
};

constexpr auto RlhfSettings::batch_fields() {
  using S = RlhfSettings;
  return std::tuple(
      field(&S::algorithm, {.name = "algorithm", .choices = rlhf_algorithm_names}),
      field(&S::kl_coefficient,
            {.name = "kl_coefficient",
             .range = {0, 1e6},
             .help = "L / sum of the weights: what SW-Max of these groups needs",
             .flag = "--kl-coefficient,--beta"}),
      field(&S::preset, {.name = "preset",
                         .help = "ziegler2019: an adaptive KL coefficient, for replications only",
                         .choices = rlhf_preset_names}),
      field(&S::kl_target, {.name = "kl_target", .range = {1e-9, 1e9}, .help = "ziegler2019"}),
      field(&S::kl_horizon, {.name = "kl_horizon", .range = {1, 1e12}, .help = "ziegler2019"}),
      field(&S::num_generations, {.name = "num_generations",
                                  .range = {1, kMany},
                                  .help = "Replies to each prompt: 4, ppo 1",
                                  .flag = "--num-generations,--rloo-k"}),
      field(&S::per_device_train_batch_size, {.name = "per_device_train_batch_size",
                                              .range = {1, kMany},
                                              .help = "Replies in one forward and backward pass"}),
      field(&S::gradient_accumulation_steps,
            {.name = "gradient_accumulation_steps", .range = {1, kMany}}),
      field(&S::num_mini_batches,
            {.name = "num_mini_batches", .range = {1, kMany}, .help = "Optimiser steps per pass"}),
      field(&S::num_ppo_epochs, {.name = "num_ppo_epochs",
                                 .range = {1, kMany},
                                 .help = "Passes over a step's replies: 1, ppo 4"}),
      field(&S::total_steps, {.name = "total_steps", .range = {1, kSteps}}),
      field(&S::max_new_tokens, {.name = "max_new_tokens",
                                 .range = {1, 1 << 20},
                                 .flag = "--max-new-tokens,--response-length"}),
      field(&S::temperature, {.name = "temperature", .range = {1e-3, 100}}),
      field(&S::missing_eos_penalty,
            {.name = "missing_eos_penalty",
             .range = {0, 1e6},
             .help = "Taken from the score of a reply that does not end"}));
}

constexpr auto RlhfSettings::optimiser_fields() {
  using S = RlhfSettings;
  return std::tuple(
      field(&S::learning_rate, {.name = "learning_rate", .range = {0, 1e3}}),
      field(&S::lr_scheduler_type, {.name = "lr_scheduler_type", .choices = schedule_names}),
      field(&S::warmup_steps, {.name = "warmup_steps", .range = {0, kSteps}}),
      field(&S::adam_beta1, {.name = "adam_beta1", .range = {0, 1}}),
      field(&S::adam_beta2, {.name = "adam_beta2", .range = {0, 1}}),
      field(&S::adam_epsilon, {.name = "adam_epsilon", .range = {1e-30, 1}}),
      field(&S::weight_decay, {.name = "weight_decay", .range = {0, 1e3}}),
      field(&S::max_grad_norm,
            {.name = "max_grad_norm", .range = {0, 1e9}, .help = "0: no clipping"}));
}

constexpr auto RlhfSettings::loss_fields() {
  using S = RlhfSettings;
  return std::tuple(
      field(&S::cliprange, {.name = "cliprange", .range = {0, 1e9}}),
      field(&S::normalize_advantages, {.name = "normalize_advantages", .help = "rloo"}),
      field(&S::whiten_advantages, {.name = "whiten_advantages",
                                    .help = "ppo (the default)",
                                    .flag = "--whiten-advantages,!--no-whiten-advantages"}),
      field(&S::whiten_rewards, {.name = "whiten_rewards", .help = "ppo"}),
      field(&S::kl_estimator, {.name = "kl_estimator",
                               .help = "Of the penalty: k1, with ppo also k2 or k3",
                               .choices = kl_estimator_names}),
      field(&S::cliprange_value, {.name = "cliprange_value", .range = {0, 1e9}}),
      field(&S::value_coefficient,
            {.name = "value_coefficient", .range = {0, 1e9}, .flag = "--vf-coef"}),
      field(&S::value_learning_rate, {.name = "value_learning_rate", .range = {0, 1e3}}),
      field(&S::gamma, {.name = "gamma", .range = {0, 1}}),
      field(&S::gae_lambda, {.name = "gae_lambda",
                             .range = {0, 1},
                             .help = "lambda of GAE; below 1 the optimum moves",
                             .flag = "--lam"}),
      field(&S::value_trains_policy,
            {.name = "value_trains_policy",
             .help = "The value loss changes the policy too, as TRL of old; the optimum moves"}),
      field(&S::sampler_weight_cap,
            {.name = "sampler_weight_cap",
             .range = {0, 1e9},
             .help = "Cap of the importance weights between sampler and trainer; 0: none"}));
}

constexpr auto RlhfSettings::model_fields() {
  using S = RlhfSettings;
  return std::tuple(
      field(&S::use_peft, {.name = "use_peft",
                           .help = "Train LoRA factors (the default); --full: every weight",
                           .flag = "--use-peft,!--full"}),
      field(&S::lora_r, {.name = "lora_r", .range = kLoraRank}),
      field(&S::lora_alpha, {.name = "lora_alpha", .range = kLoraAlpha}),
      field(&S::lora_dropout, {.name = "lora_dropout", .range = kLoraDropout}),
      field(&S::lora_target_modules, {.name = "lora_target_modules"}),
      field(&S::gradient_checkpointing,
            {.name = "gradient_checkpointing",
             .help = "Less memory: layers are computed again in the backward pass"}),
      field(&S::bf16, {.name = "bf16", .help = "bf16 products in training and sampling"}),
      field(&S::sampler_bf16,
            {.name = "sampler_bf16", .help = "bf16 weights of the sampler (as --bf16)"}),
      field(&S::save_steps,
            {.name = "save_steps", .range = {1, kSteps}, .help = "Steps between checkpoints"}));
}

constexpr auto RlhfSettings::fields() {
  return std::tuple_cat(batch_fields(), optimiser_fields(), loss_fields(), model_fields());
}
static_assert(lists_every_member<RlhfSettings>());

// Every field under the name it has here; absent ones keep their default (PPO: 4 epochs, one reply
// a prompt). Errors are the reader's; the caller finishes it.
[[nodiscard]] RlhfSettings read_rlhf_settings(JsonReader& in);
// Errors: kInvalidArgument: values that do not go together, with the numbers found.
Status check_rlhf_settings(const RlhfSettings& settings);

}  // namespace candor
