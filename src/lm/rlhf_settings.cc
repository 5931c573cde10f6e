#include "lm/rlhf_settings.h"

#include <array>

#include "base/strings.h"

namespace candor {

namespace {

constexpr int64_t kMany = 1 << 24;

const std::vector<std::string>& algorithm_names() {
  static const std::vector<std::string> kNames = {"rloo", "ppo"};
  return kNames;
}
const std::vector<std::string>& estimator_names() {
  static const std::vector<std::string> kNames = {"k1", "k2", "k3"};
  return kNames;
}

void read_batches(JsonReader& in, RlhfSettings& s) {
  s.num_generations = in.integer_or("num_generations", s.num_generations, 1, kMany);
  s.per_device_train_batch_size =
      in.integer_or("per_device_train_batch_size", s.per_device_train_batch_size, 1, kMany);
  s.gradient_accumulation_steps =
      in.integer_or("gradient_accumulation_steps", s.gradient_accumulation_steps, 1, kMany);
  s.num_mini_batches = in.integer_or("num_mini_batches", s.num_mini_batches, 1, kMany);
  s.num_ppo_epochs = in.integer_or("num_ppo_epochs", s.num_ppo_epochs, 1, kMany);
  s.total_steps = in.integer_or("total_steps", s.total_steps, 1, INT32_MAX);
  s.max_new_tokens = in.integer_or("max_new_tokens", s.max_new_tokens, 1, 1 << 20);
  s.temperature = in.number_or("temperature", s.temperature, 1e-3, 100);
  s.missing_eos_penalty = in.number_or("missing_eos_penalty", s.missing_eos_penalty, 0, 1e6);
}

void read_optimiser(JsonReader& in, RlhfSettings& s) {
  static const std::vector<std::string> kSchedules = {"constant", "linear", "cosine"};
  s.learning_rate = in.number_or("learning_rate", s.learning_rate, 0, 1e3);
  s.lr_scheduler_type = in.choice_or("lr_scheduler_type", s.lr_scheduler_type, kSchedules);
  s.warmup_steps = in.integer_or("warmup_steps", s.warmup_steps, 0, INT32_MAX);
  s.adam_beta1 = in.number_or("adam_beta1", s.adam_beta1, 0, 1);
  s.adam_beta2 = in.number_or("adam_beta2", s.adam_beta2, 0, 1);
  s.adam_epsilon = in.number_or("adam_epsilon", s.adam_epsilon, 1e-30, 1);
  s.weight_decay = in.number_or("weight_decay", s.weight_decay, 0, 1e3);
  s.max_grad_norm = in.number_or("max_grad_norm", s.max_grad_norm, 0, 1e9);
}

void read_losses(JsonReader& in, RlhfSettings& s) {
  s.cliprange = in.number_or("cliprange", s.cliprange, 0, 1e9);
  s.normalize_advantages = in.boolean_or("normalize_advantages", s.normalize_advantages);
  s.whiten_advantages = in.boolean_or("whiten_advantages", s.whiten_advantages);
  s.whiten_rewards = in.boolean_or("whiten_rewards", s.whiten_rewards);
  const std::string estimator = in.choice_or("kl_estimator", "k1", estimator_names());
  s.kl_estimator = estimator == "k1"   ? KlEstimator::kK1
                   : estimator == "k2" ? KlEstimator::kK2
                                       : KlEstimator::kK3;
  s.cliprange_value = in.number_or("cliprange_value", s.cliprange_value, 0, 1e9);
  s.value_coefficient = in.number_or("value_coefficient", s.value_coefficient, 0, 1e9);
  s.value_learning_rate = in.number_or("value_learning_rate", s.value_learning_rate, 0, 1e3);
  s.gamma = in.number_or("gamma", s.gamma, 0, 1);
  s.gae_lambda = in.number_or("gae_lambda", s.gae_lambda, 0, 1);
  s.value_trains_policy = in.boolean_or("value_trains_policy", s.value_trains_policy);
  s.sampler_weight_cap = in.number_or("sampler_weight_cap", s.sampler_weight_cap, 0, 1e9);
}

void read_model(JsonReader& in, RlhfSettings& s) {
  s.use_peft = in.boolean_or("use_peft", s.use_peft);
  s.lora_r = in.integer_or("lora_r", s.lora_r, 1, 4096);
  s.lora_alpha = in.number_or("lora_alpha", s.lora_alpha, 1e-6, 1e6);
  s.lora_dropout = in.number_or("lora_dropout", s.lora_dropout, 0, 0.99);
  if (in.has("lora_target_modules")) s.lora_target_modules = in.texts("lora_target_modules");
  s.gradient_checkpointing = in.boolean_or("gradient_checkpointing", s.gradient_checkpointing);
  s.bf16 = in.boolean_or("bf16", s.bf16);
  s.sampler_bf16 = in.boolean_or("sampler_bf16", s.sampler_bf16);
  s.save_steps = in.integer_or("save_steps", s.save_steps, 1, INT32_MAX);
}

}  // namespace

RlhfSettings read_rlhf_settings(JsonReader& in) {
  static const std::vector<std::string> kPresets = {"none", "ziegler2019"};
  RlhfSettings s;
  if (in.choice_or("algorithm", "rloo", algorithm_names()) == "ppo") {
    s.algorithm = RlhfAlgorithm::kPpo;
    s.num_generations = 1;
    s.num_ppo_epochs = 4;
  }
  s.kl_coefficient = in.number_or("kl_coefficient", s.kl_coefficient, 0, 1e6);
  s.preset = in.choice_or("preset", s.preset, kPresets);
  s.adaptive.target = in.number_or("kl_target", s.adaptive.target, 1e-9, 1e9);
  s.adaptive.horizon = in.number_or("kl_horizon", s.adaptive.horizon, 1, 1e12);
  read_batches(in, s);
  read_optimiser(in, s);
  read_losses(in, s);
  read_model(in, s);
  return s;
}

Json rlhf_settings_json(const RlhfSettings& s) {
  return {{"algorithm", algorithm_names()[s.algorithm == RlhfAlgorithm::kRloo ? 0 : 1]},
          {"kl_coefficient", s.kl_coefficient},
          {"preset", s.preset},
          {"kl_target", s.adaptive.target},
          {"kl_horizon", s.adaptive.horizon},
          {"num_generations", s.num_generations},
          {"per_device_train_batch_size", s.per_device_train_batch_size},
          {"gradient_accumulation_steps", s.gradient_accumulation_steps},
          {"num_mini_batches", s.num_mini_batches},
          {"num_ppo_epochs", s.num_ppo_epochs},
          {"total_steps", s.total_steps},
          {"max_new_tokens", s.max_new_tokens},
          {"temperature", s.temperature},
          {"missing_eos_penalty", s.missing_eos_penalty},
          {"learning_rate", s.learning_rate},
          {"lr_scheduler_type", s.lr_scheduler_type},
          {"warmup_steps", s.warmup_steps},
          {"adam_beta1", s.adam_beta1},
          {"adam_beta2", s.adam_beta2},
          {"adam_epsilon", s.adam_epsilon},
          {"weight_decay", s.weight_decay},
          {"max_grad_norm", s.max_grad_norm},
          {"cliprange", s.cliprange},
          {"normalize_advantages", s.normalize_advantages},
          {"whiten_advantages", s.whiten_advantages},
          {"whiten_rewards", s.whiten_rewards},
          {"kl_estimator", estimator_names()[static_cast<size_t>(s.kl_estimator)]},
          {"cliprange_value", s.cliprange_value},
          {"value_coefficient", s.value_coefficient},
          {"value_learning_rate", s.value_learning_rate},
          {"gamma", s.gamma},
          {"gae_lambda", s.gae_lambda},
          {"value_trains_policy", s.value_trains_policy},
          {"sampler_weight_cap", s.sampler_weight_cap},
          {"use_peft", s.use_peft},
          {"lora_r", s.lora_r},
          {"lora_alpha", s.lora_alpha},
          {"lora_dropout", s.lora_dropout},
          {"lora_target_modules", s.lora_target_modules},
          {"gradient_checkpointing", s.gradient_checkpointing},
          {"bf16", s.bf16},
          {"sampler_bf16", s.sampler_bf16},
          {"save_steps", s.save_steps}};
}

Status check_rlhf_settings(const RlhfSettings& s) {
  const bool rloo = s.algorithm == RlhfAlgorithm::kRloo;
  if (rloo && s.num_generations < 2) {
    return invalid_argument(str_cat("num_generations: found ", s.num_generations,
                                    "; rloo compares a reply with others: expected 2 or more"));
  }
  if (s.batch_size() % s.num_generations != 0) {
    return invalid_argument(str_cat(
        "per_device_train_batch_size x gradient_accumulation_steps x num_mini_batches: found ",
        s.batch_size(), " replies; expected a multiple of num_generations, ", s.num_generations));
  }
  if (rloo && s.kl_estimator != KlEstimator::kK1) {
    return invalid_argument(
        "kl_estimator: rloo's penalty is the log-ratio of the whole reply; expected \"k1\"");
  }
  if (s.adam_beta1 >= 1 || s.adam_beta2 >= 1) {
    return invalid_argument("adam_beta1, adam_beta2: expected numbers below 1");
  }
  if (s.sampler_weight_cap != 0 && s.sampler_weight_cap < 1) {
    return invalid_argument(str_cat("sampler_weight_cap: found ", s.sampler_weight_cap,
                                    "; expected 0 (no weights) or 1 and more"));
  }
  if (s.use_peft && s.lora_target_modules.empty()) {
    return invalid_argument("lora_target_modules: names no module; there is nothing to train");
  }
  return {};
}

}  // namespace candor
