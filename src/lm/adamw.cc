#include "lm/adamw.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "base/strings.h"
#include "lm/train_kernels.h"

namespace candor {

namespace {

constexpr int64_t kBlock = 1 << 15;  // fixed, so that sums do not depend on the threads

// "input_layernorm.weight", "embeddings.LayerNorm.weight"; "score.bias".
bool decays(const std::string& name) {
  return name.find("orm.weight") == std::string::npos && !name.ends_with(".bias");
}

}  // namespace

AdamW::AdamW(std::vector<NamedTensor> parameters, const AdamWOptions& options)
    : parameters_(std::move(parameters)), options_(options) {
  for (const NamedTensor& parameter : parameters_) {
    CANDOR_CHECK(parameter.value.is_contiguous() && parameter.value.scalar_type() == at::kFloat);
    first_.push_back(at::zeros(parameter.value.sizes(), at::kFloat));
    second_.push_back(at::zeros(parameter.value.sizes(), at::kFloat));
  }
}

void AdamW::step(double learning_rate) {
  ++step_count_;
  const auto count = static_cast<double>(step_count_);
  AdamRates rates;
  rates.step = static_cast<float>(learning_rate / (1 - std::pow(options_.adam_beta1, count)));
  rates.root = static_cast<float>(std::sqrt(1 - std::pow(options_.adam_beta2, count)));
  rates.beta1 = static_cast<float>(options_.adam_beta1);
  rates.beta2 = static_cast<float>(options_.adam_beta2);
  rates.epsilon = static_cast<float>(options_.epsilon);
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const at::Tensor& value = parameters_[i].value;
    if (!value.grad().defined()) continue;
    const double decay = decays(parameters_[i].name) ? options_.weight_decay : 0;
    rates.keep = static_cast<float>(1 - learning_rate * decay);
    const at::Tensor gradient = value.grad().contiguous();
    auto* p = value.mutable_data_ptr<float>();
    const auto* g = gradient.const_data_ptr<float>();
    auto* m = first_[i].mutable_data_ptr<float>();
    auto* v = second_[i].mutable_data_ptr<float>();
    at::parallel_for(0, value.numel(), kBlock, [&](int64_t begin, int64_t end) {
      adam_values(p + begin, g + begin, m + begin, v + begin, end - begin, rates);
    });
    value.unsafeGetTensorImpl()->bump_version();  // copies made of it are stale now
  }
}

void AdamW::clear_gradients() {
  for (const NamedTensor& parameter : parameters_) parameter.value.mutable_grad().reset();
}

double clip_gradients(const std::vector<NamedTensor>& parameters, double max_norm) {
  double square = 0;
  for (const NamedTensor& parameter : parameters) {
    if (!parameter.value.grad().defined()) continue;
    const at::Tensor gradient = parameter.value.grad().contiguous();
    const auto* g = gradient.const_data_ptr<float>();
    const int64_t blocks = (gradient.numel() + kBlock - 1) / kBlock;
    std::vector<double> sums(static_cast<size_t>(blocks));
    at::parallel_for(0, blocks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t block = begin; block < end; ++block) {
        const int64_t stop = std::min(gradient.numel(), (block + 1) * kBlock);
        double sum = 0;
        for (int64_t i = block * kBlock; i < stop; ++i) sum += double{g[i]} * g[i];
        sums[static_cast<size_t>(block)] = sum;
      }
    });
    for (const double sum : sums) square += sum;
  }
  const double norm = std::sqrt(square);
  const double factor = max_norm / (norm + 1e-6);
  if (max_norm <= 0 || !(factor < 1)) return norm;
  for (const NamedTensor& parameter : parameters) {
    if (parameter.value.grad().defined()) parameter.value.mutable_grad().mul_(factor);
  }
  return norm;
}

Result<double> guarded_step(AdamW& optimizer, const GuardedStep& step) {
  const double norm = clip_gradients(optimizer.parameters(), step.max_grad_norm);
  if (!std::isfinite(norm) || !std::isfinite(step.loss)) {
    optimizer.clear_gradients();
    return invalid_argument(str_cat("training: the loss is ", step.loss,
                                    " and its gradient's norm ", norm,
                                    "; a smaller learning rate may help"));
  }
  optimizer.step(step.learning_rate);
  optimizer.clear_gradients();
  return norm;
}

}  // namespace candor
