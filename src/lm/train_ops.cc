#include "lm/train_ops.h"

#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <array>
#include <cmath>

#include "base/check.h"
#include "base/rng.h"

namespace candor {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

constexpr uint32_t kDropoutStream = 0x64726f70;  // "drop"
constexpr int64_t kTileRows = 128;

at::Tensor rounded(const at::Tensor& x, Dtype dtype) {
  return dtype == Dtype::kBf16 ? x.to(at::kBFloat16) : x;
}

}  // namespace

at::Tensor embedding_rows(const at::Tensor& embedding, const at::Tensor& ids) {
  return embedding.index_select(0, ids);
}

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double epsilon) {
  return x * at::rsqrt(x.square().mean(-1, true) + epsilon) * weight;
}

at::Tensor linear_product(const at::Tensor& x, const at::Tensor& weight, Dtype dtype) {
  if (dtype == Dtype::kF32) return at::linear(x, weight);
  return at::linear(x.to(at::kBFloat16), weight.to(at::kBFloat16)).to(at::kFloat);
}

RotaryTable rotary_table(const std::vector<int64_t>& offsets, int64_t head_width,
                         double rope_base) {
  const int64_t half = head_width / 2;
  const int64_t count = offsets.back();
  RotaryTable out{at::empty({count, 1, half}, at::kFloat), at::empty({count, 1, half}, at::kFloat)};
  auto* cosines = out.cosines.mutable_data_ptr<float>();
  auto* sines = out.sines.mutable_data_ptr<float>();
  for (size_t s = 1; s < offsets.size(); ++s) {
    for (int64_t token = offsets[s - 1]; token < offsets[s]; ++token) {
      const auto position = static_cast<float>(token - offsets[s - 1]);
      for (int64_t i = 0; i < half; ++i) {
        const auto frequency = static_cast<float>(
            std::pow(rope_base, -static_cast<double>(i) / static_cast<double>(half)));
        cosines[token * half + i] = std::cos(position * frequency);
        sines[token * half + i] = std::sin(position * frequency);
      }
    }
  }
  return out;
}

at::Tensor rotate_half(const at::Tensor& x, const RotaryTable& table) {
  const int64_t half = x.size(-1) / 2;
  const at::Tensor first = x.narrow(-1, 0, half);
  const at::Tensor second = x.narrow(-1, half, half);
  return at::cat(
      {first * table.cosines - second * table.sines, second * table.cosines + first * table.sines},
      -1);
}

at::Tensor packed_attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                            const std::vector<int64_t>& offsets) {
  std::vector<at::Tensor> parts;
  const int64_t group = query.size(1) / key.size(1);
  const double scale = 1 / std::sqrt(static_cast<double>(query.size(2)));
  for (size_t s = 1; s < offsets.size(); ++s) {
    const int64_t length = offsets[s] - offsets[s - 1];
    const auto part = [&](const at::Tensor& x) {
      return x.narrow(0, offsets[s - 1], length).transpose(0, 1);  // [H, L, W]
    };
    const at::Tensor keys = part(key).repeat_interleave(group, 0);
    const at::Tensor values = part(value).repeat_interleave(group, 0);
    const at::Tensor future = at::ones({length, length}, at::kBool).triu(1);
    const at::Tensor scores = at::matmul(part(query), keys.transpose(1, 2))
                                  .mul(scale)
                                  .masked_fill(future, -std::numeric_limits<float>::infinity());
    parts.push_back(at::matmul(at::softmax(scores, -1), values).transpose(0, 1));
  }
  return at::cat(parts, 0).reshape({query.size(0), -1});
}

at::Tensor silu_product(const at::Tensor& gate, const at::Tensor& up) {
  return at::silu(gate) * up;
}

at::Tensor keyed_dropout(const at::Tensor& x, double rate, const DropoutKey& key) {
  CANDOR_CHECK(rate >= 0 && rate < 1 && key.step < (uint64_t{1} << 32));
  const at::Tensor mask = at::empty(x.sizes(), at::kFloat);
  auto* values = mask.mutable_data_ptr<float>();
  const int64_t count = mask.numel();
  const auto threshold = static_cast<uint32_t>(rate * 0x1.0p32);
  const auto kept = static_cast<float>(1 / (1 - rate));
  for (int64_t block = 0; block * 4 < count; ++block) {
    const std::array<uint32_t, 4> bits = philox(
        {kDropoutStream, static_cast<uint32_t>(key.step), key.place, static_cast<uint32_t>(block)},
        {static_cast<uint32_t>(key.seed), static_cast<uint32_t>(key.seed >> 32)});
    for (int64_t i = 0; i < 4 && block * 4 + i < count; ++i) {
      values[block * 4 + i] = bits[static_cast<size_t>(i)] < threshold ? 0.0F : kept;
    }
  }
  return x * mask;
}

namespace {

class HeadFunction : public Function<HeadFunction> {
 public:
  static variable_list forward(AutogradContext* context, const at::Tensor& h,
                               const at::Tensor& head, const at::Tensor& targets,
                               double temperature, int64_t dtype) {
    const int64_t rows = h.size(0);
    const at::Tensor sums = at::empty({rows}, at::kFloat);  // log sum exp
    const at::Tensor logprobs = at::empty({rows}, at::kFloat);
    const at::Tensor entropies = at::empty({rows}, at::kFloat);
    const at::Tensor correct = at::empty({rows}, at::kFloat);
    const at::Tensor weight = rounded(head, static_cast<Dtype>(dtype));
    for (int64_t begin = 0; begin < rows; begin += kTileRows) {
      const int64_t count = std::min(kTileRows, rows - begin);
      const at::Tensor logits =
          tile_logits(h.narrow(0, begin, count), weight, temperature, static_cast<Dtype>(dtype));
      const at::Tensor sum = at::logsumexp(logits, 1);
      const at::Tensor chosen = logits.gather(1, targets.narrow(0, begin, count).unsqueeze(1));
      sums.narrow(0, begin, count).copy_(sum);
      logprobs.narrow(0, begin, count).copy_(chosen.squeeze(1) - sum);
      const at::Tensor mean = (at::exp(logits - sum.unsqueeze(1)) * logits).sum(1);
      entropies.narrow(0, begin, count).copy_(sum - mean);
      correct.narrow(0, begin, count).copy_(logits.argmax(1) == targets.narrow(0, begin, count));
    }
    context->save_for_backward({h, head, targets, sums});
    context->saved_data["temperature"] = temperature;
    context->saved_data["dtype"] = dtype;
    context->mark_non_differentiable({entropies, correct});
    return {logprobs, entropies, correct};
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor& h = saved[0];
    const at::Tensor& head = saved[1];
    const double temperature = context->saved_data["temperature"].toDouble();
    const auto dtype = static_cast<Dtype>(context->saved_data["dtype"].toInt());
    const at::Tensor weight = rounded(head, dtype);
    at::Tensor dh = at::empty_like(h);
    at::Tensor dweight;
    if (context->needs_input_grad(1)) dweight = at::zeros_like(head);
    for (int64_t begin = 0; begin < h.size(0); begin += kTileRows) {
      const int64_t count = std::min(kTileRows, h.size(0) - begin);
      const at::Tensor rows = h.narrow(0, begin, count);
      const at::Tensor gradient = gradients[0].narrow(0, begin, count).unsqueeze(1);
      const at::Tensor logits = tile_logits(rows, weight, temperature, dtype);
      // d log p_y / d logit_v = (1[v = y] - p_v) / temperature
      const at::Tensor dlogits =
          (at::exp(logits - saved[3].narrow(0, begin, count).unsqueeze(1)) * -gradient)
              .scatter_add_(1, saved[2].narrow(0, begin, count).unsqueeze(1), gradient)
              .div_(temperature);
      const at::Tensor factor = rounded(dlogits, dtype);
      dh.narrow(0, begin, count).copy_(at::mm(factor, weight));
      if (dweight.defined()) dweight.add_(at::mm(factor.t(), rounded(rows, dtype)));
    }
    return {dh, dweight, at::Tensor(), at::Tensor(), at::Tensor()};
  }

 private:
  static at::Tensor tile_logits(const at::Tensor& rows, const at::Tensor& weight,
                                double temperature, Dtype dtype) {
    return at::linear(rounded(rows, dtype), weight).to(at::kFloat).div_(temperature);
  }
};

class CheckpointFunction : public Function<CheckpointFunction> {
 public:
  static at::Tensor forward(AutogradContext* context, at::TensorList inputs,
                            const std::shared_ptr<CheckpointedFunction>& function) {
    const at::NoGradGuard no_gradient;
    context->save_for_backward(inputs.vec());
    context->saved_data["function"] =
        at::IValue::make_capsule(c10::make_intrusive<Holder>(function));
    return (*function)(inputs[0].detach());
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    variable_list inputs = context->get_saved_variables();
    const auto holder = context->saved_data["function"].toCapsule();
    const auto& function = *static_cast<Holder&>(*holder).function;
    const at::AutoGradMode with_gradient(true);
    const bool through = inputs[0].requires_grad();
    at::Tensor argument = inputs[0].detach().requires_grad_(through);
    variable_list wanted;
    if (through) wanted.push_back(argument);
    wanted.insert(wanted.end(), inputs.begin() + 1, inputs.end());
    variable_list found = torch::autograd::grad({function(argument)}, wanted, {gradients[0]});
    if (!through) found.insert(found.begin(), at::Tensor());
    found.emplace_back();  // of the function
    return found;
  }

 private:
  struct Holder : torch::CustomClassHolder {
    explicit Holder(std::shared_ptr<CheckpointedFunction> held) : function(std::move(held)) {}
    std::shared_ptr<CheckpointedFunction> function;
  };
};

}  // namespace

HeadScores head_scores(const at::Tensor& h, const at::Tensor& head, const HeadOptions& options) {
  const at::Tensor targets = at::from_blob(const_cast<int32_t*>(options.targets.data()),
                                           {static_cast<int64_t>(options.targets.size())}, at::kInt)
                                 .to(at::kLong);
  const variable_list out = HeadFunction::apply(h, head, targets, options.temperature,
                                                static_cast<int64_t>(options.dtype));
  return {out[0], out[1], out[2]};
}

at::Tensor checkpoint(const CheckpointedFunction& function, const std::vector<at::Tensor>& inputs) {
  return CheckpointFunction::apply(at::TensorList(inputs),
                                   std::make_shared<CheckpointedFunction>(function));
}

}  // namespace candor
