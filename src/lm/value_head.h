#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <vector>

#include "lm/trainable_decoder.h"

namespace candor {

// PPO's critic: V(prefix) = weight . h + bias on the policy's hidden state after that prefix. It
// starts at 0 everywhere, so the first step's advantages are the rewards to go.
class ValueHead {
 public:
  explicit ValueHead(int64_t width);

  // hidden_rows [M, D] -> [M], with gradient; into the hidden states only where the caller left
  // them attached.
  [[nodiscard]] at::Tensor values(const at::Tensor& hidden_rows) const;
  // "v_head.summary.weight" [1, D] and "v_head.summary.bias" [1], TRL's names.
  [[nodiscard]] std::vector<NamedTensor> parameters() const;

 private:
  at::Tensor weight_;  // [1, D]
  at::Tensor bias_;    // [1]
};

}  // namespace candor
