#include "lm/early_stopping.h"

#include <ATen/core/grad_mode.h>

#include <cmath>

#include "base/strings.h"

namespace candor {

Status check_eval_loss(int64_t step, double loss) {
  if (std::isfinite(loss)) return {};
  return invalid_argument(str_cat("step ", step, ": the evaluation's loss is ", loss,
                                  "; training stops (a smaller learning rate may help)"));
}

void EarlyStopping::consider(int64_t step, double loss) {
  if (patience_ == 0) return;
  if (!(loss < best_loss_)) {
    stopped_ = ++evaluations_since_best_ >= patience_;
    return;
  }
  best_loss_ = loss;
  best_step_ = step;
  evaluations_since_best_ = 0;
  if (best_.empty()) make_copies();
  const at::NoGradGuard no_gradient;
  for (size_t i = 0; i < best_.size(); ++i) best_[i].value.copy_(parameters_[i].value);
}

void EarlyStopping::restore() {
  const at::NoGradGuard no_gradient;
  for (size_t i = 0; i < best_.size(); ++i) parameters_[i].value.copy_(best_[i].value);
}

void EarlyStopping::put_summary(Json& summary) const {
  summary["stopped_early"] = stopped_;
  if (best_.empty()) return;
  summary["best_step"] = best_step_;
  summary["best_eval_loss"] = best_loss_;
}

void EarlyStopping::put(Json& state) const {
  state["stopped_early"] = stopped_;
  state["evaluations_since_best"] = evaluations_since_best_;
  state["best_step"] = best_step_;
  state["has_best"] = !best_.empty();
  if (std::isfinite(best_loss_)) state["best_eval_loss"] = best_loss_;
}

void EarlyStopping::read(JsonReader& state) {
  stopped_ = state.boolean("stopped_early");
  evaluations_since_best_ = state.integer("evaluations_since_best", 0, INT64_MAX);
  best_step_ = state.integer("best_step", 0, INT64_MAX);
  best_loss_ = state.number_or("best_eval_loss", best_loss_);
  if (state.boolean("has_best") && state.ok() && best_.empty()) make_copies();
}

void EarlyStopping::make_copies() {
  for (const NamedTensor& parameter : parameters_) {
    best_.push_back({"best." + parameter.name, parameter.value.detach().clone()});
  }
}

}  // namespace candor
