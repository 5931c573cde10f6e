#include "lm/frozen_weight.h"

#include <ATen/core/dispatch/Dispatcher.h>

#include <optional>
#include <string>

namespace candor {

namespace {

constexpr int64_t kTypicalRows = 512;  // of the products; others work too, a little slower

template <typename Signature>
auto operation(const char* name) {
  return c10::Dispatcher::singleton().findSchemaOrThrow(name, "").typed<Signature>();
}

bool packs() {
  static const bool answer = operation<bool()>("mkldnn::_is_mkldnn_bf16_supported").call();
  return answer;
}

at::Tensor pack(const at::Tensor& weight) {
  static const auto reorder = operation<at::Tensor(const at::Tensor&, std::optional<c10::SymInt>)>(
      "mkldnn::_reorder_linear_weight");
  return reorder.call(weight, c10::SymInt(kTypicalRows));
}

at::Tensor packed_product(const at::Tensor& x, const at::Tensor& packed) {
  static const auto linear =
      operation<at::Tensor(const at::Tensor&, const at::Tensor&, const std::optional<at::Tensor>&,
                           c10::string_view, c10::List<std::optional<at::Scalar>>,
                           std::optional<c10::string_view>)>("mkldnn::_linear_pointwise");
  return linear.call(x, packed, std::nullopt, "none", c10::List<std::optional<at::Scalar>>(), "");
}

}  // namespace

FrozenWeight::FrozenWeight(const at::Tensor& weight) {
  const at::NoGradGuard no_gradient;
  const at::Tensor rounded = weight.detach().to(at::kBFloat16);
  if (packs()) {
    forward_ = pack(rounded);
    backward_ = pack(rounded.t().contiguous());
  } else {
    plain_ = rounded;
  }
}

at::Tensor FrozenWeight::product(const at::Tensor& x) const {
  return plain_.defined() ? at::linear(x, plain_) : packed_product(x, forward_);
}

at::Tensor FrozenWeight::product_backward(const at::Tensor& dy) const {
  return plain_.defined() ? at::mm(dy, plain_) : packed_product(dy, backward_);
}

}  // namespace candor
