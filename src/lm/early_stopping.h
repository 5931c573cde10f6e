#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "lm/trainable_decoder.h"

namespace candor {

// Errors: kInvalidArgument where the loss of an evaluation is not finite: the model is lost.
Status check_eval_loss(int64_t step, double loss);

// The parameters of the lowest evaluation loss, and when to give up looking for a lower one.
class EarlyStopping {
 public:
  // `parameters`: those that are trained; changed by restore() alone. `patience`: evaluations
  // without a lower loss until training stops; 0: never, and nothing is kept.
  EarlyStopping(std::vector<NamedTensor> parameters, int64_t patience)
      : parameters_(std::move(parameters)), patience_(patience) {}

  // The loss of an evaluation after `step`. Cost: a copy of the parameters where it is the lowest.
  void consider(int64_t step, double loss);
  [[nodiscard]] bool stopped() const { return stopped_; }
  // Writes the best parameters back, where there are any.
  void restore();

  // "stopped_early", and "best_step" and "best_eval_loss" where something was kept.
  void put_summary(Json& summary) const;

  // For checkpoints: the numbers, and copies that are saved and read in place. read() makes the
  // copies that its numbers speak of; their values come with the checkpoint's tensors. Errors are
  // the reader's.
  void put(Json& state) const;
  void read(JsonReader& state);
  [[nodiscard]] const std::vector<NamedTensor>& tensors() const { return best_; }

 private:
  void make_copies();

  std::vector<NamedTensor> parameters_;
  int64_t patience_;
  std::vector<NamedTensor> best_;
  int64_t best_step_ = 0;
  double best_loss_ = std::numeric_limits<double>::infinity();
  int64_t evaluations_since_best_ = 0;
  bool stopped_ = false;
};

}  // namespace candor
