#pragma once

#include <cstdint>

#include "base/fields.h"
#include "lm/learning_rate.h"

namespace candor {

// Supervised fine-tuning. Names and meanings are TRL's SFTConfig's.
struct SftSettings {
  double learning_rate = 2e-5;
  int64_t per_device_train_batch_size = 8;  // bins where packed, else examples
  int64_t gradient_accumulation_steps = 1;
  double num_train_epochs = 3;
  int64_t max_steps = 0;  // 0: as the epochs say
  int64_t max_length = 1024;
  bool packing = true;
  Schedule lr_scheduler_type = Schedule::kLinear;
  double warmup_ratio = 0;
  double weight_decay = 0;
  double max_grad_norm = 1;  // 0: no clipping
  int64_t logging_steps = 10;
  int64_t save_steps = 0;  // 0: no checkpoints
  int64_t eval_steps = 0;  // 0: after every epoch, where there is evaluation data
  // Evaluations without a lower loss before training ends, with the best parameters; 0: all steps
  // are made and the last parameters stay.
  int64_t early_stopping_patience = 0;
  uint64_t seed = 1;

  static constexpr auto fields() {
    using S = SftSettings;
    return std::tuple(
        field(&S::learning_rate, {.name = "learning_rate", .range = kNotNegative}),
        field(&S::per_device_train_batch_size,
              {.name = "per_device_train_batch_size",
               .range = {1, kLargestCount},
               .help = "Packed bins (or records, without packing) in a forward pass"}),
        field(&S::gradient_accumulation_steps,
              {.name = "gradient_accumulation_steps", .range = {1, kLargestCount}}),
        field(&S::num_train_epochs, {.name = "num_train_epochs", .range = {0, 1e6, true}}),
        field(&S::max_steps,
              {.name = "max_steps", .range = {0, kLargestCount}, .help = "0: as the epochs say"}),
        field(&S::max_length,
              {.name = "max_length",
               .range = {2, kLargestCount},
               .help = "Tokens of a bin, records are cut to it: 1024, or the model's context if "
                       "shorter"}),
        field(&S::packing, {.name = "packing",
                            .help = "Records side by side up to --max-length (the default)",
                            .flag = "--packing,!--no-packing"}),
        field(&S::lr_scheduler_type, {.name = "lr_scheduler_type", .choices = schedule_names}),
        field(&S::warmup_ratio, {.name = "warmup_ratio", .range = {0, 1}}),
        field(&S::weight_decay, {.name = "weight_decay", .range = {0, 1e6}}),
        field(&S::max_grad_norm,
              {.name = "max_grad_norm", .range = kNotNegative, .help = "0: no clipping"}),
        field(&S::logging_steps, {.name = "logging_steps", .range = {1, kLargestCount}}),
        field(&S::save_steps, {.name = "save_steps",
                               .range = {0, kLargestCount},
                               .help = "Steps between checkpoints; 0: none"}),
        field(&S::eval_steps,
              {.name = "eval_steps", .range = {0, kLargestCount}, .help = "0: after every epoch"}),
        field(&S::early_stopping_patience,
              {.name = "early_stopping_patience",
               .range = {0, kLargestCount},
               .help = "Evaluations without a better loss before training ends with the best; 0: "
                       "off"}),
        field(&S::seed, {.name = "seed", .of_run = true}));
  }
};
static_assert(lists_every_member<SftSettings>());

}  // namespace candor
