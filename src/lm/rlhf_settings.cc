#include "lm/rlhf_settings.h"

#include "base/strings.h"

namespace candor {

const std::vector<std::string>& rlhf_algorithm_names() {
  static const std::vector<std::string> kNames = {"rloo", "ppo"};
  return kNames;
}
const std::vector<std::string>& kl_estimator_names() {
  static const std::vector<std::string> kNames = {"k1", "k2", "k3"};
  return kNames;
}
const std::vector<std::string>& rlhf_preset_names() {
  static const std::vector<std::string> kNames = {"none", "ziegler2019"};
  return kNames;
}

RlhfSettings read_rlhf_settings(JsonReader& in) {
  RlhfSettings s;
  if (in.choice_or("algorithm", "rloo", rlhf_algorithm_names()) == "ppo") {
    s.num_generations = 1;
    s.num_ppo_epochs = 4;
  }
  read_fields(in, s);
  return s;
}

Status check_rlhf_settings(const RlhfSettings& s) {
  CANDOR_RETURN_IF_ERROR(check_fields(s));
  const bool rloo = s.algorithm == RlhfAlgorithm::kRloo;
  if (rloo && s.num_generations < 2) {
    return invalid_argument(str_cat("num_generations: found ", s.num_generations,
                                    "; rloo compares a reply with others: expected 2 or more"));
  }
  const double replies = static_cast<double>(s.per_device_train_batch_size) *
                         static_cast<double>(s.gradient_accumulation_steps) *
                         static_cast<double>(s.num_mini_batches);
  if (replies > RlhfSettings::kMany) {
    return invalid_argument(str_cat(
        "per_device_train_batch_size x gradient_accumulation_steps x num_mini_batches: found ",
        replies, " replies; expected at most ", RlhfSettings::kMany));
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
