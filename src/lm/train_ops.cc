#include "lm/train_ops.h"

#include <ATen/Parallel.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "base/check.h"
#include "lm/train_kernels.h"

namespace candor {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

constexpr uint32_t kDropoutStream = 0x64726f70;  // "drop"
constexpr int64_t kTileRows = 256;

constexpr int64_t kChunkRows = 32;  // fixed, so that sums do not depend on the threads

const uint16_t* bits(const at::Tensor& x) {
  return reinterpret_cast<const uint16_t*>(x.const_data_ptr<at::BFloat16>());
}
uint16_t* mutable_bits(const at::Tensor& x) {
  return reinterpret_cast<uint16_t*>(x.mutable_data_ptr<at::BFloat16>());
}
at::Tensor to_bf16(const at::Tensor& x) { return x.to(at::kBFloat16).contiguous(); }

template <typename Body>
void for_chunks(int64_t rows, const Body& body) {
  const int64_t chunks = (rows + kChunkRows - 1) / kChunkRows;
  at::parallel_for(0, chunks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t chunk = begin; chunk < end; ++chunk) {
      const int64_t first = chunk * kChunkRows;
      body(chunk, first, std::min(kChunkRows, rows - first));
    }
  });
}

class RmsFunction : public Function<RmsFunction> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            double epsilon) {
    const int64_t width = x.size(1);
    const at::Tensor out = at::empty(x.sizes(), at::kBFloat16);
    const at::Tensor scales = at::empty({x.size(0)}, at::kFloat);
    const auto* in = x.const_data_ptr<float>();
    const auto* w = weight.const_data_ptr<float>();
    uint16_t* result = mutable_bits(out);
    auto* s = scales.mutable_data_ptr<float>();
    for_chunks(x.size(0), [&](int64_t, int64_t first, int64_t rows) {
      rms_rows(in + first * width, w, {width, epsilon}, rows, result + first * width, s + first);
    });
    context->save_for_backward({x, weight, scales});
    return out;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list saved = context->get_saved_variables();
    const int64_t rows = saved[0].size(0);
    const int64_t width = saved[0].size(1);
    const at::Tensor dy = to_bf16(gradients[0]);
    const at::Tensor dx = at::empty(saved[0].sizes(), at::kFloat);
    const int64_t chunks = (rows + kChunkRows - 1) / kChunkRows;
    const bool wanted = context->needs_input_grad(1);
    at::Tensor partial;
    if (wanted) partial = at::zeros({chunks, width}, at::kFloat);
    float* sums = wanted ? partial.mutable_data_ptr<float>() : nullptr;
    const auto* x = saved[0].const_data_ptr<float>();
    const auto* weight = saved[1].const_data_ptr<float>();
    const auto* scales = saved[2].const_data_ptr<float>();
    const uint16_t* d = bits(dy);
    auto* out = dx.mutable_data_ptr<float>();
    for_chunks(rows, [&](int64_t chunk, int64_t first, int64_t count) {
      rms_rows_backward({x + first * width, weight, scales + first, d + first * width}, width,
                        count, out + first * width,
                        sums == nullptr ? nullptr : sums + chunk * width);
    });
    return {dx, wanted ? partial.sum(0) : at::Tensor(), at::Tensor()};
  }
};

class LinearFunction : public Function<LinearFunction> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            const at::Tensor& rounded) {
    const at::Tensor input = to_bf16(x);
    context->save_for_backward({weight.requires_grad() ? input : rounded, rounded});
    context->saved_data["f32_input"] = x.scalar_type() == at::kFloat;
    return at::linear(input, rounded);
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor dy = to_bf16(gradients[0]);
    variable_list out(3);
    if (context->needs_input_grad(0)) {
      out[0] = at::mm(dy, saved[1]);
      if (context->saved_data["f32_input"].toBool()) out[0] = out[0].to(at::kFloat);
    }
    if (context->needs_input_grad(1)) out[1] = at::mm(dy.t(), saved[0]).to(at::kFloat);
    return out;
  }
};

// Carries a C++ object from forward to backward.
template <typename Object>
struct Holder : torch::CustomClassHolder {
  explicit Holder(std::shared_ptr<Object> held) : object(std::move(held)) {}
  std::shared_ptr<Object> object;
};
template <typename Object>
c10::IValue held(std::shared_ptr<Object> object) {
  return c10::IValue::make_capsule(c10::make_intrusive<Holder<Object>>(std::move(object)));
}
template <typename Object>
std::shared_ptr<Object> held_object(const c10::IValue& value) {
  return static_cast<Holder<Object>&>(*value.toCapsule()).object;
}

using FrozenPointer = std::shared_ptr<const FrozenWeight>;

class FrozenLinearFunction : public Function<FrozenLinearFunction> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x,
                            const FrozenPointer& weight) {
    context->saved_data["weight"] = held(weight);
    context->saved_data["f32_input"] = x.scalar_type() == at::kFloat;
    return weight->product(to_bf16(x));
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto weight = held_object<const FrozenWeight>(context->saved_data["weight"]);
    at::Tensor dx = weight->product_backward(to_bf16(gradients[0]));
    if (context->saved_data["f32_input"].toBool()) dx = dx.to(at::kFloat);
    return {dx, at::Tensor()};
  }
};

class RotateFunction : public Function<RotateFunction> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x,
                            const at::Tensor& cosines, const at::Tensor& sines) {
    context->save_for_backward({cosines, sines});
    return rotate_all(x, cosines, sines, 1.0F);
  }
  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list saved = context->get_saved_variables();
    return {rotate_all(gradients[0], saved[0], saved[1], -1.0F), at::Tensor(), at::Tensor()};
  }

 private:
  static at::Tensor rotate_all(const at::Tensor& x, const at::Tensor& cosines,
                               const at::Tensor& sines, float direction) {
    const at::Tensor in = to_bf16(x);
    const at::Tensor out = at::empty(in.sizes(), at::kBFloat16);
    const int64_t heads = x.size(1);
    const int64_t width = x.size(2);
    const auto* c = cosines.const_data_ptr<float>();
    const auto* s = sines.const_data_ptr<float>();
    const uint16_t* from = bits(in);
    uint16_t* to = mutable_bits(out);
    for_chunks(x.size(0), [&](int64_t, int64_t first, int64_t rows) {
      for (int64_t t = first; t < first + rows; ++t) {
        for (int64_t head = t * heads; head < (t + 1) * heads; ++head) {
          rotate_head(from + head * width, c + t * (width / 2), s + t * (width / 2), width,
                      direction, to + head * width);
        }
      }
    });
    return out;
  }
};

class SiluFunction : public Function<SiluFunction> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& gate,
                            const at::Tensor& up) {
    const at::Tensor out = at::empty(gate.sizes(), at::kBFloat16);
    const int64_t width = gate.size(1);
    const uint16_t* g = bits(gate);
    const uint16_t* u = bits(up);
    uint16_t* to = mutable_bits(out);
    for_chunks(gate.size(0), [&](int64_t, int64_t first, int64_t rows) {
      silu_values(g + first * width, u + first * width, rows * width, to + first * width);
    });
    context->save_for_backward({gate, up});
    return out;
  }
  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor dy = to_bf16(gradients[0]);
    const at::Tensor dgate = at::empty(dy.sizes(), at::kBFloat16);
    const at::Tensor dup = at::empty(dy.sizes(), at::kBFloat16);
    const int64_t width = dy.size(1);
    const SiluGradient all = {bits(saved[0]), bits(saved[1]), bits(dy)};
    uint16_t* g = mutable_bits(dgate);
    uint16_t* u = mutable_bits(dup);
    for_chunks(dy.size(0), [&](int64_t, int64_t first, int64_t rows) {
      const int64_t place = first * width;
      silu_values_backward({all.gate + place, all.up + place, all.dy + place}, rows * width,
                           g + place, u + place);
    });
    return {dgate, dup};
  }
};

}  // namespace

const at::Tensor& RoundedCopy::of(const at::Tensor& weight) const {
  const auto version = static_cast<int64_t>(weight._version());
  if (!copy_.defined() || version != version_) {
    copy_ = weight.detach().to(at::kBFloat16);
    version_ = version;
  }
  return copy_;
}

at::Tensor embedding_rows(const at::Tensor& embedding, const at::Tensor& ids) {
  return embedding.index_select(0, ids);
}

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double epsilon, Dtype dtype) {
  if (dtype == Dtype::kBf16) return RmsFunction::apply(x.contiguous(), weight, epsilon);
  return x * at::rsqrt(x.square().mean(-1, true) + epsilon) * weight;
}

at::Tensor linear_product(const at::Tensor& x, const at::Tensor& weight,
                          const at::Tensor& rounded) {
  if (!rounded.defined()) return at::linear(x, weight);
  return LinearFunction::apply(x, weight, rounded);
}

at::Tensor linear_product(const at::Tensor& x, const FrozenPointer& weight) {
  return FrozenLinearFunction::apply(x, weight);
}

RotaryTable rotary_table(const PackedSequences& sequences, int64_t head_width, double rope_base) {
  const int64_t half = head_width / 2;
  const std::vector<int64_t>& offsets = sequences.offsets;
  const int64_t count = offsets.back();
  RotaryTable out{at::empty({count, 1, half}, at::kFloat), at::empty({count, 1, half}, at::kFloat)};
  auto* cosines = out.cosines.mutable_data_ptr<float>();
  auto* sines = out.sines.mutable_data_ptr<float>();
  std::vector<float> frequencies;
  for (int64_t i = 0; i < half; ++i) {
    frequencies.push_back(static_cast<float>(
        std::pow(rope_base, -static_cast<double>(i) / static_cast<double>(half))));
  }
  int64_t place = 0;
  for (size_t s = 1; s < offsets.size(); ++s) {
    const int64_t length = offsets[s] - offsets[s - 1];
    const std::vector<int64_t> none;
    const std::vector<VisibleTokens> visible =
        visible_tokens(length, sequences.branched(s - 1) ? sequences.branches[s - 1] : none);
    for (int64_t token = 0; token < length; ++token) {
      const auto position = static_cast<float>(visible[static_cast<size_t>(token)].position(token));
      for (const float frequency : frequencies) {
        cosines[place] = std::cos(position * frequency);
        sines[place++] = std::sin(position * frequency);
      }
    }
  }
  return out;
}

at::Tensor rotate_half(const at::Tensor& x, const RotaryTable& table) {
  if (x.scalar_type() == at::kBFloat16) {
    return RotateFunction::apply(x, table.cosines, table.sines);
  }
  const int64_t half = x.size(-1) / 2;
  const at::Tensor first = x.narrow(-1, 0, half);
  const at::Tensor second = x.narrow(-1, half, half);
  return at::cat(
      {first * table.cosines - second * table.sines, second * table.cosines + first * table.sines},
      -1);
}

at::Tensor silu_product(const at::Tensor& gate, const at::Tensor& up) {
  if (gate.scalar_type() == at::kBFloat16) {
    return SiluFunction::apply(gate.contiguous(), up.contiguous());
  }
  return at::silu(gate) * up;
}

namespace {

// One number for every element: 0, or 1 / (1 - rate).
template <typename Element>
void fill_mask(Element* mask, int64_t count, double rate, const DropoutKey& key) {
  const DropoutRule rule = {.stream = kDropoutStream,
                            .step = static_cast<uint32_t>(key.step),
                            .place = key.place,
                            .seed = key.seed,
                            .threshold = static_cast<uint32_t>(rate * 0x1.0p32),
                            .kept = static_cast<float>(1 / (1 - rate))};
  const int64_t pieces = (count + kDropoutPiece - 1) / kDropoutPiece;
  at::parallel_for(0, pieces, 16, [&](int64_t begin, int64_t end) {
    std::array<float, kDropoutPiece> values{};
    for (int64_t piece = begin; piece < end; ++piece) {
      const int64_t first = piece * kDropoutPiece;
      dropout_piece(rule, static_cast<uint32_t>(piece), values.data());
      const int64_t size = std::min(kDropoutPiece, count - first);
      for (int64_t i = 0; i < size; ++i) {
        mask[first + i] = static_cast<Element>(values[static_cast<size_t>(i)]);
      }
    }
  });
}

}  // namespace

at::Tensor keyed_dropout(const at::Tensor& x, double rate, const DropoutKey& key) {
  CANDOR_CHECK(rate >= 0 && rate < 1 && key.step < (uint64_t{1} << 32));
  const at::Tensor mask = at::empty(x.sizes(), x.scalar_type());
  if (x.scalar_type() == at::kBFloat16) {
    fill_mask(mask.mutable_data_ptr<at::BFloat16>(), mask.numel(), rate, key);
  } else {
    fill_mask(mask.mutable_data_ptr<float>(), mask.numel(), rate, key);
  }
  return x * mask;
}

namespace {

// One tile of rows of the head: logits, and what becomes of them.
struct Tile {
  const FrozenWeight* frozen = nullptr;  // the head, or `head`
  at::Tensor head;
  at::Tensor rows;     // [m, D], of the products' type
  at::Tensor targets;  // [m] i64
  double temperature = 1;
};

at::Tensor tile_logits(const Tile& tile) {
  return tile.frozen != nullptr ? tile.frozen->product(tile.rows)
                                : at::linear(tile.rows, tile.head);
}

at::Tensor tile_rows_gradient(const Tile& tile, const at::Tensor& dlogits) {
  return tile.frozen != nullptr ? tile.frozen->product_backward(dlogits)
                                : at::mm(dlogits, tile.head);
}

// Fills the tile's part of log sums, log-probabilities, entropies and correct.
void score_tile(const Tile& tile, const at::Tensor& logits, const std::vector<at::Tensor>& out) {
  if (logits.scalar_type() == at::kBFloat16) {
    const int64_t vocabulary = logits.size(1);
    const uint16_t* values = bits(logits);
    const auto* targets = tile.targets.const_data_ptr<int64_t>();
    std::array<float*, 4> to{};
    for (size_t i = 0; i < to.size(); ++i) to[i] = out[i].mutable_data_ptr<float>();
    at::parallel_for(0, logits.size(0), 1, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const RowScore score =
            score_row(values + row * vocabulary, vocabulary, static_cast<int32_t>(targets[row]),
                      static_cast<float>(1 / tile.temperature));
        to[0][row] = score.log_sum;
        to[1][row] = score.logprob;
        to[2][row] = score.entropy;
        to[3][row] = score.correct;
      }
    });
    return;
  }
  const at::Tensor scaled = logits / tile.temperature;
  const at::Tensor sum = at::logsumexp(scaled, 1);
  out[0].copy_(sum);
  out[1].copy_(scaled.gather(1, tile.targets.unsqueeze(1)).squeeze(1) - sum);
  out[2].copy_(sum - (at::exp(scaled - sum.unsqueeze(1)) * scaled).sum(1));
  out[3].copy_(scaled.argmax(1) == tile.targets);
}

// d log p_y / d logit_v = (1[v = y] - p_v) / temperature, times the row's gradient; the logits are
// spent.
at::Tensor tile_gradient(const Tile& tile, const at::Tensor& logits, const at::Tensor& sums,
                         const at::Tensor& gradient) {
  if (logits.scalar_type() == at::kBFloat16) {
    const int64_t vocabulary = logits.size(1);
    uint16_t* values = mutable_bits(logits);
    const auto* targets = tile.targets.const_data_ptr<int64_t>();
    const auto* log_sums = sums.const_data_ptr<float>();
    const auto* factors = gradient.const_data_ptr<float>();
    at::parallel_for(0, logits.size(0), 1, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        score_row_backward(values + row * vocabulary, vocabulary,
                           {static_cast<int32_t>(targets[row]), log_sums[row], factors[row],
                            static_cast<float>(1 / tile.temperature)});
      }
    });
    return logits;
  }
  const at::Tensor factor = gradient.unsqueeze(1);
  return (at::exp(logits / tile.temperature - sums.unsqueeze(1)) * -factor)
      .scatter_add_(1, tile.targets.unsqueeze(1), factor)
      .div_(tile.temperature);
}

class HeadFunction : public Function<HeadFunction> {
 public:
  // `uniform`: 0, or the gradient that every log-probability will have. A frozen head needs no such
  // promise: a row's gradient is its log-probability's times what the forward's tile gives.
  static variable_list forward(AutogradContext* context, const at::Tensor& h,
                               const at::Tensor& head, const at::Tensor& rounded,
                               const FrozenPointer& packed, const at::Tensor& targets,
                               double temperature, double uniform) {
    const bool f32 = rounded.numel() == 0 && packed == nullptr;
    const at::Tensor input = (f32 ? h : h.to(at::kBFloat16)).contiguous();
    const at::Tensor weight = f32 ? head : rounded;
    std::vector<at::Tensor> out;  // log sums, log-probabilities, entropies, correct
    for (int i = 0; i < 4; ++i) out.push_back(at::empty({h.size(0)}, at::kFloat));
    const bool frozen = !head.requires_grad();
    const bool now = frozen ? h.requires_grad() : uniform != 0;
    const double factor = frozen ? 1.0 : uniform;
    Gradients gradients(now, !frozen, h, head);
    const at::Tensor same = at::full({h.size(0)}, factor, at::kFloat);
    for (int64_t begin = 0; begin < h.size(0); begin += kTileRows) {
      const int64_t count = std::min(kTileRows, h.size(0) - begin);
      const Tile tile = {packed.get(), weight, input.narrow(0, begin, count),
                         targets.narrow(0, begin, count), temperature};
      std::vector<at::Tensor> part;
      part.reserve(out.size());
      for (const at::Tensor& all : out) part.push_back(all.narrow(0, begin, count));
      const at::Tensor logits = tile_logits(tile);
      score_tile(tile, logits, part);
      if (now)
        gradients.add(tile, begin,
                      tile_gradient(tile, logits, part[0], same.narrow(0, begin, count)));
    }
    if (now) {
      context->save_for_backward(frozen ? variable_list{gradients.dh}
                                        : variable_list{gradients.dh, gradients.dweight});
    } else {
      context->save_for_backward({h, head, rounded, targets, out[0]});
    }
    context->saved_data["temperature"] = temperature;
    context->saved_data["made_for"] = now ? factor : 0.0;
    context->mark_non_differentiable({out[2], out[3]});
    return {out[1], out[2], out[3]};
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list saved = context->get_saved_variables();
    const double made_for = context->saved_data["made_for"].toDouble();
    variable_list result(7);
    if (made_for != 0 && saved.size() == 1) {
      result[0] = saved[0] * gradients[0].unsqueeze(1);
      return result;
    }
    if (made_for != 0) {
      const double factor = gradients[0][0].item<double>() / made_for;
      for (size_t i = 0; i < 2; ++i) result[i] = factor == 1 ? saved[i] : saved[i] * factor;
      return result;
    }
    const at::Tensor& h = saved[0];
    const at::Tensor& head = saved[1];
    const bool f32 = saved[2].numel() == 0;
    const at::Tensor input = (f32 ? h : h.to(at::kBFloat16)).contiguous();
    const at::Tensor weight = f32 ? head : saved[2];
    const at::Tensor given = gradients[0].contiguous();
    const double temperature = context->saved_data["temperature"].toDouble();
    Gradients sums(true, context->needs_input_grad(1), h, head);
    for (int64_t begin = 0; begin < h.size(0); begin += kTileRows) {
      const int64_t count = std::min(kTileRows, h.size(0) - begin);
      const Tile tile = {nullptr, weight, input.narrow(0, begin, count),
                         saved[3].narrow(0, begin, count), temperature};
      sums.add(tile, begin,
               tile_gradient(tile, tile_logits(tile), saved[4].narrow(0, begin, count),
                             given.narrow(0, begin, count)));
    }
    result[0] = sums.dh;
    result[1] = sums.dweight;
    return result;
  }

 private:
  struct Gradients {
    Gradients(bool wanted, bool of_weight, const at::Tensor& h, const at::Tensor& head) {
      if (!wanted) return;
      dh = at::empty(h.sizes(), at::kFloat);
      if (of_weight) dweight = at::zeros(head.sizes(), at::kFloat);
    }
    void add(const Tile& tile, int64_t begin, const at::Tensor& dlogits) {
      dh.narrow(0, begin, dlogits.size(0)).copy_(tile_rows_gradient(tile, dlogits));
      if (dweight.defined()) dweight.add_(at::mm(dlogits.t(), tile.rows));
    }
    at::Tensor dh, dweight;
  };
};

class CheckpointFunction : public Function<CheckpointFunction> {
 public:
  static at::Tensor forward(AutogradContext* context, at::TensorList inputs,
                            const std::shared_ptr<CheckpointedFunction>& function) {
    const at::NoGradGuard no_gradient;
    context->save_for_backward(inputs.vec());
    context->saved_data["function"] = held(function);
    return (*function)(inputs[0].detach());
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    variable_list inputs = context->get_saved_variables();
    const auto function = held_object<CheckpointedFunction>(context->saved_data["function"]);
    const at::AutoGradMode with_gradient(true);
    const bool through = inputs[0].requires_grad();
    at::Tensor argument = inputs[0].detach().requires_grad_(through);
    variable_list wanted;
    if (through) wanted.push_back(argument);
    wanted.insert(wanted.end(), inputs.begin() + 1, inputs.end());
    variable_list found = torch::autograd::grad({(*function)(argument)}, wanted, {gradients[0]});
    if (!through) found.insert(found.begin(), at::Tensor());
    found.emplace_back();  // of the function
    return found;
  }
};

}  // namespace

HeadScores head_scores(const at::Tensor& h, const at::Tensor& head, const HeadOptions& options) {
  const at::Tensor targets = at::from_blob(const_cast<int32_t*>(options.targets.data()),
                                           {static_cast<int64_t>(options.targets.size())}, at::kInt)
                                 .to(at::kLong);
  // Autograd takes no undefined tensors: an empty one stands for none.
  const at::Tensor rounded =
      options.rounded.defined() ? options.rounded : at::empty({0}, at::kBFloat16);
  const variable_list out =
      HeadFunction::apply(h, head, rounded, options.frozen, targets, options.temperature,
                          options.uniform_gradient.value_or(0));
  return {out[0], out[1], out[2]};
}

at::Tensor checkpoint(const CheckpointedFunction& function, const std::vector<at::Tensor>& inputs) {
  return CheckpointFunction::apply(at::TensorList(inputs),
                                   std::make_shared<CheckpointedFunction>(function));
}

}  // namespace candor
