// PolicyTrainer against an update written out by hand: replies one by one, losses and gradients by
// automatic differentiation of their formulas, whole log-softmaxes. On the tiny Llama, with the
// replies and scores of tests/golden/rlhf.json.
#include "lm/rlhf_step.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/rng.h"
#include "lm/rlhf_golden.h"

namespace candor {
namespace {

namespace fs = std::filesystem;

const fs::path kModel = fs::path(CANDOR_SOURCE_DIR) / "tests" / "golden" / "tiny_llama";
constexpr uint64_t kSeed = 3;
constexpr size_t kSteps = 3;
constexpr double kTolerance = 1e-4;  // of the way that the parameters went

TrainableDecoder load(bool checkpointing = false) {
  return *TrainableDecoder::load(kModel, {.threads = 1, .gradient_checkpointing = checkpointing});
}

std::vector<double> values_of(const std::vector<NamedTensor>& parameters) {
  std::vector<double> out;
  for (const NamedTensor& parameter : parameters) {
    const at::Tensor flat = parameter.value.detach().contiguous();
    const auto* data = flat.const_data_ptr<float>();
    out.insert(out.end(), data, data + flat.numel());
  }
  return out;
}

double distance(const std::vector<double>& a, const std::vector<double>& b) {
  EXPECT_EQ(a.size(), b.size());
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += (a[i] - b[i]) * (a[i] - b[i]);
  return std::sqrt(sum);
}

// Parameters after the first steps of the golden file, by PolicyTrainer.
std::vector<double> trained(const RlhfSettings& settings, bool checkpointing = false) {
  TrainableDecoder policy = load(checkpointing);
  const TrainableDecoder reference = load();
  const std::vector<RlhfPrompt> all = rlhf_golden_prompts();
  PolicyTrainer trainer(policy, &reference, all, settings);
  for (size_t step = 0; step < kSteps; ++step) {
    Rollout rollout = rlhf_golden_rollout(step);
    const auto report = trainer.update(rollout, settings.kl_coefficient,
                                       {.seed = kSeed, .step = static_cast<int64_t>(step)});
    EXPECT_TRUE(report.ok()) << report.error().message;
  }
  std::vector<NamedTensor> parameters = policy.parameters();
  if (trainer.value_optimizer() != nullptr) {
    for (const NamedTensor& p : trainer.value_optimizer()->parameters()) parameters.push_back(p);
  }
  return values_of(parameters);
}

// log softmax(logits / temperature) at the reply's tokens, all of it with gradient.  // [M]
at::Tensor logprobs_by_hand(const TrainableDecoder& model, const std::vector<int32_t>& prompt,
                            const std::vector<int32_t>& reply, double temperature) {
  PackedSequences one;
  one.token_ids = prompt;
  one.token_ids.insert(one.token_ids.end(), reply.begin(), reply.end());
  one.offsets = {0, static_cast<int64_t>(one.token_ids.size())};
  const at::Tensor hidden = model.hidden(one, {.train = true});
  const auto first = static_cast<int64_t>(prompt.size()) - 1;
  const auto count = static_cast<int64_t>(reply.size());
  at::Tensor head;
  for (const NamedTensor& parameter : model.parameters()) {
    if (parameter.name == "lm_head.weight") head = parameter.value;
    if (parameter.name == "model.embed_tokens.weight" && !head.defined()) head = parameter.value;
  }
  const at::Tensor logits = at::matmul(hidden.slice(0, first, first + count), head.t());
  std::vector<int64_t> targets(reply.begin(), reply.end());
  return at::log_softmax(logits / temperature, -1)
      .gather(1, at::tensor(targets, at::kLong).unsqueeze(1))
      .squeeze(1);
}

// The order in which an epoch's mini-batches take the replies: by keyed random bits.
std::vector<size_t> order_by_hand(size_t count, const RlhfSettings& settings, size_t step,
                                  int64_t epoch) {
  std::vector<std::pair<uint64_t, size_t>> keys;
  for (size_t reply = 0; reply < count; ++reply) {
    const uint64_t key = random_bits({.seed = kSeed,
                                      .stream = 0x726c7368,
                                      .prompt = static_cast<uint32_t>(step),
                                      .sample = static_cast<uint32_t>(epoch),
                                      .position = static_cast<uint32_t>(reply)});
    keys.emplace_back(settings.num_mini_batches > 1 ? key : reply, reply);
  }
  std::sort(keys.begin(), keys.end());
  std::vector<size_t> out(count);
  std::ranges::transform(keys, out.begin(), [](const auto& key) { return key.second; });
  return out;
}

// RLOO: rewards score - b KL, each against the mean of the prompt's others, at the old policy.
std::vector<double> advantages_by_hand(const Rollout& rollout, const std::vector<at::Tensor>& old,
                                       const std::vector<at::Tensor>& reference,
                                       const RlhfSettings& settings) {
  std::vector<double> rewards;
  for (size_t i = 0; i < old.size(); ++i) {
    const double kl = (old[i] - reference[i]).sum().item<double>();
    rewards.push_back(rollout.scores[i] - settings.kl_coefficient * kl);
  }
  std::vector<double> out;
  const auto k = static_cast<size_t>(settings.num_generations);
  for (size_t i = 0; i < rewards.size(); ++i) {
    const size_t group = i / k * k;
    double others = 0;
    for (size_t j = group; j < group + k; ++j) others += j == i ? 0 : rewards[j];
    out.push_back(rewards[i] - others / static_cast<double>(k - 1));
  }
  return out;
}

// -(1/S) sum_s min(r_s A_s, clip(r_s) A_s) of one mini-batch.
at::Tensor loss_by_hand(const Rollout& rollout, std::span<const size_t> batch,
                        const TrainableDecoder& policy, const std::vector<at::Tensor>& old,
                        const std::vector<double>& advantages, const RlhfSettings& settings) {
  at::Tensor total = at::zeros({}, at::kFloat);
  const std::vector<RlhfPrompt> all = rlhf_golden_prompts();
  for (const size_t i : batch) {
    const RlhfReply& reply = rollout.replies[i];
    const at::Tensor now = logprobs_by_hand(policy, all[reply.prompt].token_ids, reply.token_ids,
                                            settings.temperature);
    const at::Tensor ratio = (now.sum() - old[i].sum()).exp();
    const at::Tensor clipped = ratio.clamp(1 - settings.cliprange, 1 + settings.cliprange);
    total = total - at::minimum(ratio * advantages[i], clipped * advantages[i]);
  }
  return total / static_cast<double>(batch.size());
}

std::vector<double> trained_by_hand(const RlhfSettings& settings) {
  TrainableDecoder policy = load();
  const TrainableDecoder reference = load();
  AdamW optimizer(policy.parameters(), {});
  const std::vector<RlhfPrompt> all = rlhf_golden_prompts();
  for (size_t step = 0; step < kSteps; ++step) {
    const Rollout rollout = rlhf_golden_rollout(step);
    std::vector<at::Tensor> old;
    std::vector<at::Tensor> base;
    for (const RlhfReply& reply : rollout.replies) {
      const std::vector<int32_t>& prompt = all[reply.prompt].token_ids;
      old.push_back(
          logprobs_by_hand(policy, prompt, reply.token_ids, settings.temperature).detach());
      base.push_back(
          logprobs_by_hand(reference, prompt, reply.token_ids, settings.temperature).detach());
    }
    const std::vector<double> advantages = advantages_by_hand(rollout, old, base, settings);
    for (int64_t epoch = 0; epoch < settings.num_ppo_epochs; ++epoch) {
      const std::vector<size_t> order =
          order_by_hand(rollout.replies.size(), settings, step, epoch);
      const size_t size = order.size() / static_cast<size_t>(settings.num_mini_batches);
      for (size_t begin = 0; begin < order.size(); begin += size) {
        loss_by_hand(rollout, std::span(order).subspan(begin, size), policy, old, advantages,
                     settings)
            .backward();
        clip_gradients(optimizer.parameters(), settings.max_grad_norm);
        optimizer.step(settings.learning_rate);
        optimizer.clear_gradients();
      }
    }
  }
  return values_of(policy.parameters());
}

// How far both end from each other, as a share of the way they went.
double relative_distance(const std::vector<double>& one, const std::vector<double>& other) {
  std::vector<double> start = values_of(load().parameters());
  start.resize(one.size(), 0.0);  // a value head begins at 0
  const double way = distance(one, start);
  EXPECT_GT(way, 0.1) << "nothing moved: the comparison says nothing";
  return distance(one, other) / way;
}

TEST(RlhfStep, TemperatureEntersTheLosses) {
  RlhfSettings at_low = rlhf_golden_settings("rloo");
  at_low.temperature = 0.7;
  EXPECT_LT(relative_distance(trained(at_low), trained_by_hand(at_low)), kTolerance);
  EXPECT_GT(relative_distance(trained(at_low), trained(rlhf_golden_settings("rloo"))),
            100 * kTolerance);
}

TEST(RlhfStep, MiniBatchesAreStepsOfTheirOwn) {
  RlhfSettings two = rlhf_golden_settings("rloo");
  two.num_mini_batches = 2;
  two.per_device_train_batch_size = 2;
  two.gradient_accumulation_steps = 2;
  EXPECT_LT(relative_distance(trained(two), trained_by_hand(two)), kTolerance);
  EXPECT_GT(relative_distance(trained(two), trained(rlhf_golden_settings("rloo"))),
            100 * kTolerance);
}

// Two parts of 4, four of 2, eight of 1: one path reads every group at once, the other measures the
// old policy first.
TEST(RlhfStep, AccumulatedPartsAreOneBatch) {
  for (const std::string algorithm : {"rloo", "ppo"}) {
    for (const int64_t epochs : {1, 2}) {
      RlhfSettings whole = rlhf_golden_settings(algorithm);
      whole.num_ppo_epochs = epochs;
      const std::vector<double> expected = trained(whole);
      if (algorithm == "rloo") {
        EXPECT_LT(relative_distance(trained_by_hand(whole), expected), kTolerance);
      }
      for (const int64_t part : {4, 2, 1}) {
        RlhfSettings parts = whole;
        parts.per_device_train_batch_size = part;
        parts.gradient_accumulation_steps = 8 / part;
        EXPECT_LT(relative_distance(trained(parts), expected), kTolerance)
            << algorithm << ", " << epochs << " epochs, parts of " << part;
      }
    }
  }
}

TEST(RlhfStep, CheckpointingChangesNoStep) {
  for (const std::string algorithm : {"rloo", "ppo"}) {
    EXPECT_EQ(trained(rlhf_golden_settings(algorithm), true),
              trained(rlhf_golden_settings(algorithm)))
        << algorithm;
  }
}

}  // namespace
}  // namespace candor
