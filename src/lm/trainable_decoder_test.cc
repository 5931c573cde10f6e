#include "lm/trainable_decoder.h"

#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>

#include "lm/adamw.h"
#include "lm/learning_rate.h"
#include "lm/rlhf_packing.h"
#include "lm/score.h"

namespace candor {
namespace {

namespace fs = std::filesystem;

fs::path stories() { return fs::path(CANDOR_SOURCE_DIR) / "examples" / "data" / "stories260k"; }

TrainableDecoder load(const TrainableOptions& options) {
  Result<TrainableDecoder> model = TrainableDecoder::load(stories(), options);
  EXPECT_TRUE(model.ok()) << (model.ok() ? "" : model.error().message);
  return std::move(model).value();
}

const std::vector<std::vector<int32_t>> kTexts = {
    {1, 403, 407, 261, 378, 403, 12, 99}, {1, 5, 6, 7, 8}, {1, 300, 20, 301, 17, 256, 311, 44, 45}};

PackedSequences packed(const std::vector<std::vector<int32_t>>& texts) {
  PackedSequences out{.token_ids = {}, .offsets = {0}};
  for (const auto& text : texts) {
    out.token_ids.insert(out.token_ids.end(), text.begin(), text.end());
    out.offsets.push_back(static_cast<int64_t>(out.token_ids.size()));
  }
  return out;
}

// Log-probabilities of every token after the first of each text.
at::Tensor all_logprobs(const TrainableDecoder& model,
                        const std::vector<std::vector<int32_t>>& texts,
                        const ForwardOptions& options = {}) {
  const PackedSequences sequences = packed(texts);
  std::vector<int64_t> rows;
  std::vector<int32_t> targets;
  for (size_t s = 0; s < texts.size(); ++s) {
    for (size_t t = 1; t < texts[s].size(); ++t) {
      rows.push_back(sequences.offsets[s] + static_cast<int64_t>(t) - 1);
      targets.push_back(texts[s][t]);
    }
  }
  const at::Tensor hidden = model.hidden(sequences, options);
  return model.token_scores(hidden.index_select(0, at::tensor(rows, at::kLong)), targets).logprobs;
}

// Two routes: the training forward on packed sequences, the decoder's on one after the other.
TEST(TrainableDecoder, LogProbabilitiesAreTheDecoders) {
  const TrainableDecoder model = load({.threads = 2});
  const at::Tensor got = all_logprobs(model, kTexts).detach();
  const LanguageModel decoder = *LanguageModel::load(stories(), {Dtype::kF32, 2});
  const LanguageModel snapshot = *model.sampler_model(Dtype::kF32);
  std::vector<ScoreRequest> requests;
  for (const auto& text : kTexts) requests.push_back({{text[0]}, {text.begin() + 1, text.end()}});
  const auto expected = *score(decoder, requests);
  EXPECT_EQ(*score(snapshot, requests), expected);
  int64_t place = 0;
  for (const auto& row : expected) {
    for (const double value : row) EXPECT_NEAR(got[place++].item<float>(), value, 2e-5);
  }
}

// d sum(logprobs) / d parameter against (f(p + h) - f(p - h)) / 2h, along random directions.
void check_gradients(const TrainableDecoder& model, const ForwardOptions& options) {
  for (const NamedTensor& parameter : model.parameters()) {
    for (const NamedTensor& other : model.parameters()) other.value.mutable_grad().reset();
    all_logprobs(model, kTexts, options).sum().backward();
    const at::NoGradGuard no_gradient;
    const at::Tensor direction = at::sign(parameter.value.grad() + 1e-12);
    const double slope = (parameter.value.grad() * direction).sum().item<double>();
    const double step = 2e-4;
    const at::Tensor saved = parameter.value.clone();
    parameter.value.add_(direction, step);
    const double above = all_logprobs(model, kTexts, options).to(at::kDouble).sum().item<double>();
    parameter.value.copy_(saved);
    parameter.value.add_(direction, -step);
    const double below = all_logprobs(model, kTexts, options).to(at::kDouble).sum().item<double>();
    parameter.value.copy_(saved);
    EXPECT_NEAR((above - below) / (2 * step), slope, 0.02 * std::abs(slope) + 0.05)
        << parameter.name;
  }
}

TEST(TrainableDecoder, GradientsAgreeWithDifferences) { check_gradients(load({.threads = 2}), {}); }

TrainableOptions lora_options() {
  return {.threads = 2,
          .lora = LoraSettings{.rank = 4,
                               .lora_alpha = 8,
                               .dropout = 0.1,
                               .target_modules = {"q_proj", "v_proj", "down_proj"}}};
}

// Factors that do something: B begins at zero.
void perturb(const TrainableDecoder& model) {
  const at::NoGradGuard no_gradient;
  int i = 0;
  for (const NamedTensor& parameter : model.parameters()) {
    if (parameter.name.find("lora_B") == std::string::npos) continue;
    parameter.value.add_(at::arange(parameter.value.numel(), at::kFloat)
                             .add(i++)
                             .sin()
                             .mul(0.05)
                             .view(parameter.value.sizes()));
  }
}

TEST(TrainableDecoder, LoraBeginsAtTheBaseAndLearns) {
  const TrainableDecoder base = load({.threads = 2});
  const TrainableDecoder model = load(lora_options());
  const at::Tensor expected = all_logprobs(base, kTexts).detach();
  EXPECT_TRUE(at::equal(all_logprobs(model, kTexts).detach(), expected));
  perturb(model);
  EXPECT_FALSE(at::allclose(all_logprobs(model, kTexts).detach(), expected, 1e-3, 1e-3));
  EXPECT_TRUE(at::equal(all_logprobs(model, kTexts, {.use_adapter = false}).detach(), expected));
  check_gradients(model, {.train = true, .step = 3});
}

TEST(TrainableDecoder, DropoutIsKeyed) {
  const TrainableDecoder model = load(lora_options());
  perturb(model);
  const auto at_step = [&](uint64_t step) {
    return all_logprobs(model, kTexts, {.train = true, .step = step}).detach();
  };
  EXPECT_TRUE(at::equal(at_step(1), at_step(1)));
  EXPECT_FALSE(at::equal(at_step(1), at_step(2)));
}

// The adapter as exported and merged by the decoder, against the factors in training.
TEST(TrainableDecoder, ExportedAdapterGivesTheSameModel) {
  const TrainableDecoder model = load(lora_options());
  perturb(model);
  const fs::path folder = fs::path(CANDOR_BINARY_DIR) / "trainable_decoder_test_adapter";
  fs::remove_all(folder);
  fs::create_directories(folder);
  ASSERT_TRUE(write_lora_adapter(model.adapter(), folder).ok());
  const at::Tensor expected = all_logprobs(model, kTexts).detach();
  for (const bool factors : {true, false}) {  // trained on, or merged
    TrainableOptions options = lora_options();
    if (!factors) options.lora.reset();
    const Result<TrainableDecoder> again = TrainableDecoder::load(stories(), options, folder);
    ASSERT_TRUE(again.ok());
    EXPECT_TRUE(at::allclose(all_logprobs(*again, kTexts).detach(), expected, 1e-4, 1e-4));
  }
}

TEST(TrainableDecoder, CheckpointingChangesNothing) {
  for (TrainableOptions options : {lora_options(), TrainableOptions{.threads = 2}}) {
    std::vector<std::vector<at::Tensor>> gradients;
    for (const bool again : {false, true}) {
      options.gradient_checkpointing = again;
      const TrainableDecoder model = load(options);
      if (options.lora.has_value()) perturb(model);
      all_logprobs(model, kTexts, {.train = true, .step = 5}).sum().backward();
      gradients.emplace_back();
      for (const NamedTensor& parameter : model.parameters()) {
        ASSERT_TRUE(parameter.value.grad().defined()) << parameter.name;
        gradients.back().push_back(parameter.value.grad().clone());
      }
    }
    for (size_t i = 0; i < gradients[0].size(); ++i) {
      EXPECT_TRUE(at::equal(gradients[0][i], gradients[1][i])) << i;
    }
  }
}

// bf16 products: the same model but for rounding, forwards and backwards.
TEST(TrainableDecoder, Bf16IsNearF32) {
  for (TrainableOptions options : {lora_options(), TrainableOptions{.threads = 2}}) {
    std::vector<at::Tensor> logprobs;
    std::vector<std::vector<at::Tensor>> gradients;
    for (const Dtype dtype : {Dtype::kF32, Dtype::kBf16}) {
      options.arithmetic = dtype;
      const TrainableDecoder model = load(options);
      if (options.lora.has_value()) perturb(model);
      const at::Tensor found = all_logprobs(model, kTexts, {.train = true, .step = 5});
      logprobs.push_back(found.detach());
      found.sum().backward();
      gradients.emplace_back();
      for (const NamedTensor& parameter : model.parameters()) {
        gradients.back().push_back(parameter.value.grad().flatten());
      }
    }
    EXPECT_LT((logprobs[0] - logprobs[1]).abs().max().item<double>(), 0.3);
    const at::Tensor exact = at::cat(gradients[0]);
    const at::Tensor rounded = at::cat(gradients[1]);
    EXPECT_LT(((exact - rounded).norm() / exact.norm()).item<double>(), 0.05);
  }
}

// Replies as branches behind their prompts against each reply alone behind its own copy: the same
// log-probabilities and gradients, with sequences that have no branch and replies of one token.
TEST(TrainableDecoder, BranchesAreTheRepliesAlone) {
  const std::vector<RlhfPrompt> prompts = {{{1, 403, 407, 261}, ""}, {{1, 300, 20}, ""}};
  const std::vector<std::pair<size_t, std::vector<int32_t>>> given = {
      {0, {378, 403, 12, 99}}, {0, {9}},        {0, {256, 311, 44, 45, 7}}, {0, {5, 6}},
      {1, {301, 17, 256}},     {1, {378, 403}}, {0, {378, 12, 11}}};
  std::vector<RlhfReply> replies;
  for (const auto& [prompt, ids] : given) {
    replies.push_back({.prompt = prompt, .token_ids = ids, .sampler_logprobs = {}, .text = {}});
  }
  const auto run = [&](const TrainableDecoder& model, const std::vector<size_t>& chosen) {
    const PackedReplies packed = pack_replies(replies, prompts, chosen);
    const at::Tensor rows =
        model.hidden(packed.sequences, {}).index_select(0, at::tensor(packed.rows, at::kLong));
    return model.token_scores(rows, packed.targets).logprobs;
  };
  for (TrainableOptions options : {lora_options(), TrainableOptions{.threads = 2}}) {
    const TrainableDecoder model = load(options);
    if (options.lora.has_value()) perturb(model);
    const at::Tensor together = run(model, {0, 1, 2, 3, 4, 5, 6});
    // Weights of their own, so that no two replies can be swapped.
    const at::Tensor weights = at::arange(together.numel(), at::kFloat).sin();
    (together * weights).sum().backward();
    std::vector<at::Tensor> gradients;
    for (const NamedTensor& parameter : model.parameters()) {
      gradients.push_back(parameter.value.grad().clone());
      parameter.value.mutable_grad().reset();
    }
    int64_t place = 0;
    for (size_t reply = 0; reply < replies.size(); ++reply) {
      const at::Tensor alone = run(model, {reply});
      const at::Tensor same = together.narrow(0, place, alone.numel());
      EXPECT_TRUE(at::allclose(alone, same, 1e-5, 1e-5)) << reply << alone << same;
      (alone * weights.narrow(0, place, alone.numel())).sum().backward();
      place += alone.numel();
    }
    EXPECT_EQ(place, together.numel());
    for (size_t i = 0; i < gradients.size(); ++i) {
      const NamedTensor parameter = model.parameters()[i];
      EXPECT_LT((parameter.value.grad() - gradients[i]).norm().item<double>(),
                1e-4 * gradients[i].norm().item<double>() + 1e-6)
          << parameter.name;
    }
  }
}

// What is packed: prompts once per neighbouring replies, and never beyond the longest.
TEST(TrainableDecoder, RepliesShareTheirPrompt) {
  const std::vector<RlhfPrompt> prompts = {{std::vector<int32_t>(600, 3), ""}, {{1, 2}, ""}};
  const RlhfReply long_reply = {
      .prompt = 0, .token_ids = std::vector<int32_t>(201, 4), .sampler_logprobs = {}, .text = {}};
  const RlhfReply short_reply = {
      .prompt = 1, .token_ids = {5, 6, 7}, .sampler_logprobs = {}, .text = {}};
  const std::vector<RlhfReply> replies = {long_reply, long_reply, long_reply, short_reply,
                                          short_reply};
  const std::vector<size_t> all = {0, 1, 2, 3, 4};
  const PackedReplies packed = pack_replies(replies, prompts, all);
  EXPECT_EQ(packed.sequences.offsets, (std::vector<int64_t>{0, 1000, 1800, 1806}));
  EXPECT_EQ(packed.sequences.branches, (std::vector<std::vector<int64_t>>{{600, 800}, {}, {2, 4}}));
  EXPECT_EQ(packed.sequences.token_ids.size(), 1806U);
  EXPECT_EQ(packed.offsets, (std::vector<int64_t>{0, 201, 402, 603, 606, 609}));
  EXPECT_EQ(packed.rows[603], 1801);  // the second prompt's last token, for either reply
  EXPECT_EQ(packed.rows[606], 1801);
  EXPECT_EQ(packed.rows[607], 1804);
  EXPECT_EQ(packed.targets[607], 6);
}

TEST(TrainableDecoder, SettingsOutOfRangeAreRefused) {
  TrainableOptions options = lora_options();
  options.lora->target_modules = {"q_prj"};
  const Result<TrainableDecoder> model = TrainableDecoder::load(stories(), options);
  ASSERT_FALSE(model.ok());
  EXPECT_NE(model.error().message.find("did you mean \"q_proj\""), std::string::npos);
  options = lora_options();
  options.lora->dropout = 1;
  EXPECT_FALSE(TrainableDecoder::load(stories(), options).ok());
  options = lora_options();
  options.lora->rank = 0;
  EXPECT_FALSE(TrainableDecoder::load(stories(), options).ok());
}

}  // namespace
}  // namespace candor
