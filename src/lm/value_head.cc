#include "lm/value_head.h"

namespace candor {

ValueHead::ValueHead(int64_t width)
    : weight_(at::zeros({1, width}, at::kFloat)), bias_(at::zeros({1}, at::kFloat)) {
  weight_.requires_grad_(true);
  bias_.requires_grad_(true);
}

at::Tensor ValueHead::values(const at::Tensor& hidden_rows) const {
  return at::linear(hidden_rows, weight_, bias_).squeeze(1);
}

std::vector<NamedTensor> ValueHead::parameters() const {
  return {{"v_head.summary.weight", weight_}, {"v_head.summary.bias", bias_}};
}

}  // namespace candor
