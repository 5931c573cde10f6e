#pragma once

#include <cstdint>

#include "base/fields.h"
#include "lm/learning_rate.h"

namespace candor {

// Training of a whole reward model, or of its LoRA factors. Names, defaults and meanings are TRL's
// RewardConfig's, but for early stopping, which is on.
struct RewardTuning {
  double learning_rate = 1e-4;
  int64_t per_device_train_batch_size = 8;  // pairs and labelled texts
  int64_t gradient_accumulation_steps = 1;
  double num_train_epochs = 3;
  int64_t max_steps = 0;      // 0: as the epochs say
  int64_t max_length = 1024;  // examples with a longer text are left out, as TRL does
  Schedule lr_scheduler_type = Schedule::kLinear;
  double warmup_ratio = 0;
  double weight_decay = 0;
  double max_grad_norm = 1;  // 0: no clipping
  double center_rewards_coefficient = 0;
  int64_t logging_steps = 10;
  int64_t save_steps = 0;  // 0: no checkpoints but the one of a run that is interrupted
  int64_t eval_steps = 0;  // 0: after every epoch
  // Evaluations without a lower loss before training ends. The parameters of the lowest loss are
  // kept, those before the first step among them. 0: all steps are made and the last parameters
  // stay.
  int64_t early_stopping_patience = 3;
  uint64_t seed = 1;

  static constexpr auto fields() {
    using S = RewardTuning;
    return std::tuple(
        field(&S::learning_rate, {.name = "learning_rate", .range = {0, 1e6}}),
        field(&S::per_device_train_batch_size,
              {.name = "per_device_train_batch_size", .range = {1, kLargestCount}}),
        field(&S::gradient_accumulation_steps,
              {.name = "gradient_accumulation_steps", .range = {1, kLargestCount}}),
        field(&S::num_train_epochs, {.name = "num_train_epochs", .range = {0, 1e6, true}}),
        field(&S::max_steps,
              {.name = "max_steps", .range = {0, kLargestCount}, .help = "0: as the epochs say"}),
        field(&S::max_length,
              {.name = "max_length",
               .range = {2, kLargestCount},
               .help = "Examples with a text of more tokens are left out of training"}),
        field(&S::lr_scheduler_type, {.name = "lr_scheduler_type", .choices = schedule_names}),
        field(&S::warmup_ratio, {.name = "warmup_ratio", .range = {0, 1}}),
        field(&S::weight_decay, {.name = "weight_decay", .range = {0, 1e6}}),
        field(&S::max_grad_norm,
              {.name = "max_grad_norm", .range = kNotNegative, .help = "0: no clipping"}),
        field(&S::center_rewards_coefficient,
              {.name = "center_rewards_coefficient", .range = {0, 1e6}}),
        field(&S::logging_steps, {.name = "logging_steps", .range = {1, kLargestCount}}),
        field(
            &S::save_steps,
            {.name = "save_steps",
             .range = {0, kLargestCount},
             .help = "Steps between checkpoints in OUTPUT.checkpoints; 0: only when interrupted"}),
        field(&S::eval_steps,
              {.name = "eval_steps", .range = {0, kLargestCount}, .help = "0: after every epoch"}),
        field(&S::early_stopping_patience,
              {.name = "early_stopping_patience",
               .range = {0, kLargestCount},
               .help = "Validations without a better loss before training ends with the best; 0: "
                       "off"}),
        field(&S::seed, {.name = "seed", .of_run = true}));
  }
};
static_assert(lists_every_member<RewardTuning>());

}  // namespace candor
