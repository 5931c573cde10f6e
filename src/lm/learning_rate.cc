#include "lm/learning_rate.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/strings.h"

namespace candor {

const std::vector<std::string>& schedule_names() {
  static const std::vector<std::string> kNames = {"constant", "linear", "cosine"};
  return kNames;
}

Result<Schedule> schedule_of(const std::string& name) {
  const auto& names = schedule_names();
  const auto found = std::ranges::find(names, name);
  if (found == names.end()) {
    return invalid_argument(str_cat("learning-rate schedule: found ", quote(name), "; expected ",
                                    join(names, ", "), did_you_mean(name, names)));
  }
  return static_cast<Schedule>(found - names.begin());
}

double LearningRate::at_step(int64_t step) const {
  const auto now = static_cast<double>(step);
  const auto warmup = static_cast<double>(warmup_steps);
  if (step < warmup_steps) return peak * now / std::max(1.0, warmup);
  if (schedule == Schedule::kConstant) return peak;
  const double span = std::max(1.0, static_cast<double>(total_steps) - warmup);
  if (schedule == Schedule::kLinear) {
    return peak * std::max(0.0, static_cast<double>(total_steps) - now) / span;
  }
  const double wave = (1 + std::cos(std::numbers::pi * (now - warmup) / span)) / 2;
  return peak * std::max(0.0, wave);
}

int64_t warmup_steps_of(int64_t total_steps, double ratio) {
  return static_cast<int64_t>(std::ceil(static_cast<double>(total_steps) * ratio));
}

}  // namespace candor
