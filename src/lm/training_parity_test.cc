// Ten optimiser steps against TRL's SFTTrainer (transformers' Trainer and peft underneath) on a
// tiny random Llama: tests/golden/training.json, made by tools/make_training_goldens.py.
#include <gtest/gtest.h>

#include <cmath>

#include "base/json.h"
#include "formats/records.h"
#include "formats/safetensors.h"
#include "lm/packing.h"
#include "lm/sft.h"

namespace candor {
namespace {

namespace fs = std::filesystem;

const fs::path kGolden = fs::path(CANDOR_SOURCE_DIR) / "tests" / "golden";

MicroBatch batch_of_golden(const Json& json) {
  MicroBatch out;
  out.sequences.token_ids = json["token_ids"].get<std::vector<int32_t>>();
  const auto labels = json["labels"].get<std::vector<int32_t>>();
  const auto positions = json["position_ids"].get<std::vector<int64_t>>();
  for (size_t t = 0; t < labels.size(); ++t) {
    if (positions[t] == 0) out.sequences.offsets.push_back(static_cast<int64_t>(t));
    out.in_loss.push_back(positions[t] != 0 && labels[t] >= 0 ? 1 : 0);
  }
  out.sequences.offsets.push_back(static_cast<int64_t>(labels.size()));
  return out;
}

// |got - expected| / |expected| over a whole tensor.
double relative_difference(const at::Tensor& got, const std::vector<float>& expected) {
  const at::Tensor wanted =
      at::from_blob(const_cast<float*>(expected.data()), got.sizes(), at::kFloat);
  return ((got - wanted).norm() / wanted.norm()).item<double>();
}

void compare_run(const std::string& name, const TrainableDecoder& model) {
  const Json golden = (*read_json_file((kGolden / "training.json").string()))[name];
  const SafeTensors tensors = *SafeTensors::open(kGolden / ("training_" + name + ".safetensors"));
  const Json& settings = golden["settings"];
  AdamW optimizer(model.parameters(), {.weight_decay = settings["weight_decay"].get<double>()});
  const LearningRate rate = {.peak = settings["learning_rate"].get<double>(),
                             .schedule = *schedule_of(settings["lr_scheduler_type"]),
                             .warmup_steps = settings["warmup_steps"].get<int64_t>(),
                             .total_steps = 10};
  size_t next = 0;
  int64_t tokens = 0;
  for (int64_t step = 0; step < 10; ++step) {
    const Json& log = golden["logs"][static_cast<size_t>(step)];
    std::vector<MicroBatch> batches;
    while (next < golden["micro_batches"].size() && tokens < log["num_tokens"].get<int64_t>()) {
      batches.push_back(batch_of_golden(golden["micro_batches"][next++]));
      tokens += static_cast<int64_t>(batches.back().sequences.token_ids.size());
    }
    ASSERT_EQ(tokens, log["num_tokens"].get<int64_t>());
    const double now = rate.at_step(step);
    EXPECT_NEAR(now, log["learning_rate"].get<double>(), 1e-12);
    const SftStep got =
        *sft_step(model, optimizer, batches,
                  {.learning_rate = now, .max_grad_norm = settings["max_grad_norm"].get<double>()});
    const double loss = got.sums.loss / static_cast<double>(got.sums.learnt_tokens);
    const double expected = log["loss"].get<double>();
    EXPECT_NEAR(loss, expected, 1e-4 * expected) << "step " << step;
    const double norm = log["grad_norm"].get<double>();
    EXPECT_NEAR(got.grad_norm, norm, 1e-4 * norm) << "step " << step;
  }
  EXPECT_EQ(next, golden["micro_batches"].size());
  for (const NamedTensor& parameter : model.parameters()) {
    const std::vector<float> after = *tensors.floats("after." + parameter.name);
    EXPECT_LT(relative_difference(parameter.value.detach(), after), 1e-4) << parameter.name;
  }
}

TEST(TrainingParity, FullFineTuningIsTrls) {
  compare_run("full", *TrainableDecoder::load(kGolden / "tiny_llama", {.threads = 2}));
}

TEST(TrainingParity, LoraFineTuningIsPefts) {
  compare_run("lora", *TrainableDecoder::load(kGolden / "tiny_llama",
                                              {.threads = 2, .lora = LoraSettings{.dropout = 0}},
                                              kGolden / "tiny_lora"));
}

// The clipped gradient of the first step, each parameter's.
TEST(TrainingParity, GradientsAreTheirs) {
  for (const std::string name : {"full", "lora"}) {
    const Json golden = (*read_json_file((kGolden / "training.json").string()))[name];
    const SafeTensors tensors = *SafeTensors::open(kGolden / ("training_" + name + ".safetensors"));
    const bool lora = name == "lora";
    const TrainableDecoder model = *TrainableDecoder::load(
        kGolden / "tiny_llama",
        {.threads = 2, .lora = lora ? std::optional(LoraSettings{.dropout = 0}) : std::nullopt},
        lora ? std::optional(kGolden / "tiny_lora") : std::nullopt);
    const auto count = golden["settings"]["gradient_accumulation_steps"].get<size_t>();
    std::vector<MicroBatch> batches;
    double all = 0;
    for (size_t i = 0; i < count; ++i) {
      batches.push_back(batch_of_golden(golden["micro_batches"][i]));
      for (const uint8_t learnt : batches.back().in_loss) all += learnt;
    }
    for (const MicroBatch& batch : batches) {
      std::vector<int64_t> rows;
      std::vector<int32_t> targets;
      for (size_t t = 0; t < batch.in_loss.size(); ++t) {
        if (batch.in_loss[t] == 0) continue;
        rows.push_back(static_cast<int64_t>(t) - 1);
        targets.push_back(batch.sequences.token_ids[t]);
      }
      const at::Tensor hidden = model.hidden(batch.sequences, {.train = true});
      model.mean_loss(hidden.index_select(0, at::tensor(rows, at::kLong)), targets, all)
          .loss.backward();
    }
    clip_gradients(model.parameters(), golden["settings"]["max_grad_norm"].get<double>());
    for (const NamedTensor& parameter : model.parameters()) {
      const std::vector<float> expected = *tensors.floats("gradient." + parameter.name);
      EXPECT_LT(relative_difference(parameter.value.grad(), expected), 1e-4) << parameter.name;
    }
  }
}

// TRL's own packing of the same records, bin by bin; the tokens too.
TEST(TrainingParity, PackingIsTrls) {
  const Json golden = (*read_json_file((kGolden / "training.json").string()))["full"];
  const TrainableDecoder model = *TrainableDecoder::load(kGolden / "tiny_llama", {.threads = 1});
  const SftData data = *read_sft_data(kGolden / "training_records.jsonl", model.file(), 64);
  std::vector<int64_t> lengths;
  for (const SftExample& example : data.examples) {
    lengths.push_back(static_cast<int64_t>(example.token_ids.size()));
  }
  const auto bins = pack_best_fit(lengths, 64);
  const auto expected = golden["packed"].get<std::vector<std::vector<int64_t>>>();
  ASSERT_EQ(bins.size(), expected.size());
  std::vector<std::vector<int32_t>> ours;
  for (size_t bin = 0; bin < bins.size(); ++bin) {
    std::vector<int64_t> found;
    for (const size_t index : bins[bin]) found.push_back(lengths[index]);
    EXPECT_EQ(found, expected[bin]) << bin;
  }
}

}  // namespace
}  // namespace candor
