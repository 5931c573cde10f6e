#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

namespace candor {

// How the learning rate moves over a run of `total_steps` optimiser steps, as transformers'
// get_scheduler has it: after `warmup_steps` of a straight rise from 0,
//
//   constant   1  ("constant_with_warmup" in transformers)
//   linear     (total - t) / (total - warmup)
//   cosine     (1 + cos(pi (t - warmup) / (total - warmup))) / 2
enum class Schedule { kConstant, kLinear, kCosine };

[[nodiscard]] const std::vector<std::string>& schedule_names();
// Errors: kInvalidArgument for another name, with the names there are.
Result<Schedule> schedule_of(const std::string& name);

struct LearningRate {
  double peak = 0;
  Schedule schedule = Schedule::kLinear;
  int64_t warmup_steps = 0;
  int64_t total_steps = 1;

  // The rate of optimiser step `step`, 0 the first.
  [[nodiscard]] double at_step(int64_t step) const;
};

// ceil(total_steps * ratio), as transformers' get_warmup_steps.
[[nodiscard]] int64_t warmup_steps_of(int64_t total_steps, double ratio);

}  // namespace candor
