#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <vector>

#include "base/result.h"
#include "lm/trainable_decoder.h"

namespace candor {

// AdamW (Loshchilov and Hutter 2019) as torch.optim.AdamW computes it, in f32:
//
//   p <- p - lr * weight_decay * p
//   m <- b1 m + (1 - b1) g,  v <- b2 v + (1 - b2) g^2
//   p <- p - lr / (1 - b1^t) * m / (sqrt(v) / sqrt(1 - b2^t) + epsilon)
struct AdamWOptions {
  double adam_beta1 = 0.9;
  double adam_beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0;
};

class AdamW {
 public:
  // The parameters, and which of them decay: as transformers' Trainer has it, weights of norms
  // and biases do not. REQUIRES: contiguous f32 on the CPU.
  AdamW(std::vector<NamedTensor> parameters, const AdamWOptions& options);

  // One step along the parameters' .grad(); a parameter without one stays, as in torch. Writes the
  // parameters in place. Cost: one pass over parameters, gradients and both moments.
  void step(double learning_rate);
  void clear_gradients();

  // The optimiser's state, to be saved and put back: two moments per parameter, in order, and the
  // number of steps so far.
  [[nodiscard]] const std::vector<NamedTensor>& parameters() const { return parameters_; }
  [[nodiscard]] std::vector<at::Tensor>& first_moments() { return first_; }
  [[nodiscard]] std::vector<at::Tensor>& second_moments() { return second_; }
  [[nodiscard]] int64_t step_count() const { return step_count_; }
  void set_step_count(int64_t count) { step_count_ = count; }

 private:
  std::vector<NamedTensor> parameters_;
  AdamWOptions options_;
  std::vector<at::Tensor> first_, second_;
  int64_t step_count_ = 0;
};

// torch.nn.utils.clip_grad_norm_: the 2-norm of all gradients together, each of which is multiplied
// by min(1, max_norm / (norm + 1e-6)). max_norm <= 0 clips nothing (transformers' meaning of 0).
// Returns the norm before clipping; not finite where a gradient is not.
double clip_gradients(const std::vector<NamedTensor>& parameters, double max_norm);

// Clips the gradients, takes one step along them and clears them.
// Result: the gradients' norm before clipping. Errors: kInvalidArgument: it or the loss is not
// finite; the gradients are cleared and the parameters as they were.
struct GuardedStep {
  double learning_rate = 0;
  double max_grad_norm = 0;
  double loss = 0;  // what the gradients are of, per example or token
};
Result<double> guarded_step(AdamW& optimizer, const GuardedStep& step);

}  // namespace candor
