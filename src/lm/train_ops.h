#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "lm/frozen_weight.h"
#include "lm/language_model.h"
#include "lm/packed_sequences.h"

namespace candor {

// A weight rounded to bf16, made again when the weight has changed.
class RoundedCopy {
 public:
  [[nodiscard]] const at::Tensor& of(const at::Tensor& weight) const;

 private:
  mutable at::Tensor copy_;
  mutable int64_t version_ = -1;
};

// The pieces of a decoder's forward with their gradients. [T] tokens, [D] width, [H] heads, [G]
// key/value heads, [W] head width, [V] vocabulary. With kF32 all is f32, by LibTorch's own
// operators. With kBf16 the activations between norms and residual stream are bf16, each a product
// or a function of products summed in f32.

// Rows of the embedding [V, D] -> [T, D]; ids [T] i64.
[[nodiscard]] at::Tensor embedding_rows(const at::Tensor& embedding, const at::Tensor& ids);

// x / sqrt(mean(x^2) + epsilon) * weight, row by row. x f32 [T, D], weight f32 [D]; the result of
// `dtype`.
[[nodiscard]] at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double epsilon,
                                  Dtype dtype);

// x [T, inputs] weight [outputs, inputs]^T -> [T, outputs]. `rounded`: the weight in bf16;
// undefined for f32. The weight's gradient is f32.
[[nodiscard]] at::Tensor linear_product(const at::Tensor& x, const at::Tensor& weight,
                                        const at::Tensor& rounded);
// The same, in bf16, for a weight without a gradient.
[[nodiscard]] at::Tensor linear_product(const at::Tensor& x,
                                        const std::shared_ptr<const FrozenWeight>& weight);

// Cosines and sines of every token's position in its own sequence. [T, 1, W / 2] each.
struct RotaryTable {
  at::Tensor cosines, sines;
};
[[nodiscard]] RotaryTable rotary_table(const PackedSequences& sequences, int64_t head_width,
                                       double rope_base);
// Rotary positions in the rotate-half layout: pairs (i, i + W / 2). x [T, H, W].
[[nodiscard]] at::Tensor rotate_half(const at::Tensor& x, const RotaryTable& table);

// Who attends to whom, made once for all layers of a forward.
struct AttentionLayout {
  std::vector<int64_t> offsets;
  // [T, 2] i64: what a causal token does not see of its own sequence's past, from .. to - 1.
  // [0, 2] where no sequence has branches.
  at::Tensor holes;
};
[[nodiscard]] AttentionLayout attention_layout(const PackedSequences& sequences);

// Causal attention inside each sequence, H / G query heads to a key/value head.
// query [T, H, W], key and value [T, G, W] -> [T, H * W].
[[nodiscard]] at::Tensor packed_attention(const at::Tensor& query, const at::Tensor& key,
                                          const at::Tensor& value, const AttentionLayout& layout);

// silu(gate) * up.
[[nodiscard]] at::Tensor silu_product(const at::Tensor& gate, const at::Tensor& up);

// x with each element zero with probability `rate`, the others divided by 1 - rate; element e
// depends on (key, e) alone.
struct DropoutKey {
  uint64_t seed = 0;
  uint64_t step = 0;
  uint32_t place = 0;
};
[[nodiscard]] at::Tensor keyed_dropout(const at::Tensor& x, double rate, const DropoutKey& key);

// log softmax(h head^T / temperature) at the targets, and the entropies, without the logits of more
// than a tile of rows at a time; where the head is trained too, the backward pass makes them again.
// h [M, D], head [V, D].
struct HeadOptions {
  std::vector<int32_t> targets;  // [M]
  double temperature = 1;
  at::Tensor rounded;                               // the head in bf16; undefined for f32
  std::shared_ptr<const FrozenWeight> frozen = {};  // in its place where the head has no gradient
  // Where all log-probabilities will have this one gradient, it is made in the forward's tiles, and
  // backward only scales it: the caller's backward must hand a constant vector.
  std::optional<double> uniform_gradient = {};
};
struct HeadScores {
  at::Tensor logprobs;   // [M], with gradient
  at::Tensor entropies;  // [M], without
  at::Tensor correct;    // [M], 1 where the target has the largest logit, else 0
};
[[nodiscard]] HeadScores head_scores(const at::Tensor& h, const at::Tensor& head,
                                     const HeadOptions& options);

// function(inputs[0]), keeping only the inputs: the backward pass computes it again.
// `inputs`: the argument, then every leaf with gradient that the function uses.
using CheckpointedFunction = std::function<at::Tensor(const at::Tensor&)>;
[[nodiscard]] at::Tensor checkpoint(const CheckpointedFunction& function,
                                    const std::vector<at::Tensor>& inputs);

}  // namespace candor
