#pragma once

#include <ATen/ATen.h>

namespace candor {

// A weight that training does not change, rounded to bf16 and laid out for its two products once.
// LibTorch's own products lay it out again at every call: a sixth of their time at a few hundred
// rows. Where oneDNN has no bf16 (cpu flags), it is kept as it is and multiplied by LibTorch.
// Memory: 4 bytes a number, or 2 without oneDNN.
class FrozenWeight {
 public:
  // weight [outputs, inputs] f32.
  explicit FrozenWeight(const at::Tensor& weight);

  // x [T, inputs] bf16 -> x W^T [T, outputs] bf16, summed in f32.
  [[nodiscard]] at::Tensor product(const at::Tensor& x) const;
  // dy [T, outputs] bf16 -> dy W [T, inputs] bf16, the gradient of x.
  [[nodiscard]] at::Tensor product_backward(const at::Tensor& dy) const;

 private:
  at::Tensor plain_;               // undefined where the other two are there
  at::Tensor forward_, backward_;  // in oneDNN's layout
};

}  // namespace candor
