// Every operator with a gradient of its own, in bf16, against LibTorch's autograd on f32 copies.
#include "lm/train_ops.h"

#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <functional>

#include "base/rng.h"

namespace candor {
namespace {

using Inputs = std::vector<at::Tensor>;
using Function = std::function<at::Tensor(const Inputs&)>;

at::Tensor normal(uint64_t seed, const std::vector<int64_t>& shape) {
  RandomStream random({.seed = seed, .stream = 1});
  const at::Tensor out = at::empty(shape, at::kFloat);
  auto* values = out.mutable_data_ptr<float>();
  for (int64_t i = 0; i < out.numel(); ++i) values[i] = static_cast<float>(random.normal());
  return out;
}

at::Tensor bf16(const at::Tensor& x) { return x.to(at::kBFloat16); }
double distance(const at::Tensor& a, const at::Tensor& b) {
  return ((a.to(at::kDouble) - b.to(at::kDouble)).norm() / b.to(at::kDouble).norm()).item<double>();
}

// Values and all gradients of `ours` against those of `plain`, which rounds nothing.
void compare(const Function& ours, const Function& plain, const Inputs& inputs,
             double tolerance = 0.01) {
  const auto run = [&](const Function& function, Inputs& gradients) {
    Inputs leaves;
    for (const at::Tensor& input : inputs) {
      leaves.push_back(input.detach().clone().requires_grad_(true));
    }
    const at::Tensor out = function(leaves).to(at::kFloat);
    const at::Tensor weights = normal(99, out.sizes().vec());
    gradients = torch::autograd::grad({(out * weights).sum()}, leaves);
    return out.detach();
  };
  Inputs got;
  Inputs expected;
  const at::Tensor value = run(ours, got);
  EXPECT_LT(distance(value, run(plain, expected)), tolerance);
  for (size_t i = 0; i < got.size(); ++i) {
    EXPECT_LT(distance(got[i], expected[i]), tolerance) << "gradient of input " << i;
    // The test can fail: a gradient that is a tenth off is seen.
    EXPECT_GT(distance(got[i] * 1.1, expected[i]), tolerance);
  }
}

TEST(TrainOps, RmsNorm) {
  for (const int64_t width : {32, 45, 576}) {
    compare([](const Inputs& x) { return rms_norm(x[0], x[1], 1e-5, Dtype::kBf16); },
            [](const Inputs& x) { return rms_norm(x[0], x[1], 1e-5, Dtype::kF32); },
            {normal(1, {70, width}), normal(2, {width})});
  }
}

TEST(TrainOps, LinearProduct) {
  compare([](const Inputs& x) { return linear_product(x[0], x[1], bf16(x[1].detach())); },
          [](const Inputs& x) { return at::linear(x[0], x[1]); },
          {normal(1, {70, 48}), normal(2, {33, 48})});
  const at::Tensor weight = normal(2, {33, 48});
  const auto frozen = std::make_shared<const FrozenWeight>(weight);
  compare([&](const Inputs& x) { return linear_product(x[0], frozen); },
          [&](const Inputs& x) { return at::linear(x[0], weight); }, {normal(1, {70, 48})});
}

TEST(TrainOps, RotateHalf) {
  const RotaryTable table = rotary_table({.token_ids = {}, .offsets = {0, 20, 50, 70}}, 16, 10000);
  compare([&](const Inputs& x) { return rotate_half(bf16(x[0]), table); },
          [&](const Inputs& x) { return rotate_half(x[0], table); }, {normal(1, {70, 3, 16})});
}

TEST(TrainOps, SiluProduct) {
  compare([](const Inputs& x) { return silu_product(bf16(x[0]), bf16(x[1])); },
          [](const Inputs& x) { return silu_product(x[0], x[1]); },
          {normal(1, {70, 45}) * 3, normal(2, {70, 45})});
}

// Which elements drop is what the generator says, whole pieces of them or not.
TEST(TrainOps, DropoutIsKeyedByElement) {
  const DropoutKey key = {.seed = 0x123456789abcULL, .step = 7, .place = 3};
  for (const auto type : {at::kFloat, at::kBFloat16}) {
    const at::Tensor out =
        keyed_dropout(at::ones({5, 45}, type), 0.25, key).to(at::kFloat).flatten();
    for (int64_t e = 0; e < out.numel(); ++e) {
      const auto random =
          philox({0x64726f70, 7, 3, static_cast<uint32_t>(e / 4)}, {0x56789abc, 0x1234});
      const bool dropped = random[static_cast<size_t>(e % 4)] < 0x40000000;
      EXPECT_NEAR(out[e].item<float>(), dropped ? 0 : 4.0 / 3, 0.01) << e;
    }
  }
}

// Sequences of different and of equal lengths, without and with branches.
TEST(TrainOps, PackedAttention) {
  PackedSequences sequences = {.token_ids = {}, .offsets = {0, 1, 21, 41, 61, 70}};
  for (const bool branched : {false, true}) {
    if (branched) sequences.branches = {{}, {5, 9, 16}, {}, {1, 2}, {3, 8}};
    const AttentionLayout layout = attention_layout(sequences);
    compare(
        [&](const Inputs& x) {
          return packed_attention(bf16(x[0]), bf16(x[1]), bf16(x[2]), layout);
        },
        [&](const Inputs& x) { return packed_attention(x[0], x[1], x[2], layout); },
        {normal(1, {70, 6, 16}), normal(2, {70, 2, 16}), normal(3, {70, 2, 16})}, 0.02);
  }
}

// The head against logits that are held whole, in f32 and in bf16, more rows than a tile has.
TEST(TrainOps, HeadScores) {
  std::vector<int32_t> targets;
  for (int i = 0; i < 300; ++i) targets.push_back((i * 37) % 101);
  const at::Tensor ids =
      at::tensor(std::vector<int64_t>(targets.begin(), targets.end()), at::kLong);
  const Function plain = [&](const Inputs& x) {
    return at::log_softmax(at::linear(x[0], x[1]) / 0.7, 1).gather(1, ids.unsqueeze(1)).squeeze(1);
  };
  const Inputs inputs = {normal(1, {300, 24}) * 0.5, normal(2, {101, 24}) * 0.5};
  for (const bool rounded : {false, true}) {
    HeadOptions options;
    options.targets = targets;
    options.temperature = 0.7;
    const auto ours = [&](const Inputs& x) {
      if (rounded) options.rounded = bf16(x[1].detach());
      return head_scores(x[0], x[1], options).logprobs;
    };
    compare(ours, plain, inputs, rounded ? 0.02 : 1e-5);
    // A frozen head: the gradient comes from the forward's tiles.
    compare(
        [&](const Inputs& x) {
          return ours({x[0], inputs[1]});
        },
        [&](const Inputs& x) {
          return plain({x[0], inputs[1]});
        },
        {inputs[0]}, rounded ? 0.02 : 1e-5);
    if (rounded) {
      HeadOptions packed = {.targets = targets, .temperature = 0.7, .rounded = {}};
      packed.frozen = std::make_shared<const FrozenWeight>(inputs[1]);
      compare([&](const Inputs& x) { return head_scores(x[0], inputs[1], packed).logprobs; },
              [&](const Inputs& x) {
                return plain({x[0], inputs[1]});
              },
              {inputs[0]}, 0.02);
    }
    const at::NoGradGuard no_gradient;
    const HeadScores scores = head_scores(inputs[0], inputs[1], options);
    const at::Tensor logs = at::log_softmax(at::linear(inputs[0], inputs[1]) / 0.7, 1);
    EXPECT_LT(distance(scores.entropies, -(logs.exp() * logs).sum(1)), rounded ? 0.01 : 1e-5);
    const at::Tensor correct = (logs.argmax(1) == ids).to(at::kFloat);
    EXPECT_LE((scores.correct - correct).abs().sum().item<double>(), rounded ? 6 : 0);
  }
}

// The gradient made in the forward's tiles is the one that the backward pass makes.
TEST(TrainOps, UniformGradientIsTheGradient) {
  std::vector<int32_t> targets;
  for (int i = 0; i < 300; ++i) targets.push_back((i * 37) % 101);
  const at::Tensor h = normal(1, {300, 24}).requires_grad_(true);
  const at::Tensor head = normal(2, {101, 24}).requires_grad_(true);
  for (const bool rounded : {false, true}) {
    HeadOptions options;
    options.targets = targets;
    if (rounded) options.rounded = bf16(head.detach());
    const auto gradients = [&] {
      return torch::autograd::grad({-head_scores(h, head, options).logprobs.sum() / 8}, {h, head});
    };
    const Inputs apart = gradients();
    options.uniform_gradient = -1.0 / 8;
    const Inputs together = gradients();
    for (size_t i = 0; i < 2; ++i) EXPECT_LT(distance(together[i], apart[i]), 1e-6) << i;
    options.uniform_gradient = -1.0 / 32;  // scaled by backward
    const Inputs scaled = gradients();
    for (size_t i = 0; i < 2; ++i) {
      EXPECT_LT(distance(scaled[i], apart[i]), rounded ? 1e-2 : 1e-6) << i;
    }
  }
}

}  // namespace
}  // namespace candor
