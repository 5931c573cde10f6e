// Settings, early stopping and the order of batches of supervised fine-tuning.
#include "lm/sft.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>

#include "base/file.h"
#include "formats/records.h"

namespace candor {
namespace {

namespace fs = std::filesystem;

const fs::path kGolden = fs::path(CANDOR_SOURCE_DIR) / "tests" / "golden";
const TrainInputs kInputs = {{"model", "tiny"}, {"data", "train"}};

TEST(SftSettings, ValuesOutOfRangeAreNamed) {
  EXPECT_TRUE(check_fields(SftSettings()).ok());
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const double infinite = std::numeric_limits<double>::infinity();
  const std::vector<std::pair<const char*, std::function<void(SftSettings&)>>> bad = {
      {"learning_rate", [](SftSettings& s) { s.learning_rate = -1e-9; }},
      {"learning_rate", [=](SftSettings& s) { s.learning_rate = nan; }},
      {"learning_rate", [=](SftSettings& s) { s.learning_rate = infinite; }},
      {"num_train_epochs", [](SftSettings& s) { s.num_train_epochs = 0; }},
      {"num_train_epochs", [=](SftSettings& s) { s.num_train_epochs = infinite; }},
      {"warmup_ratio", [](SftSettings& s) { s.warmup_ratio = 1.01; }},
      {"warmup_ratio", [=](SftSettings& s) { s.warmup_ratio = nan; }},
      {"weight_decay", [](SftSettings& s) { s.weight_decay = -1; }},
      {"max_grad_norm", [=](SftSettings& s) { s.max_grad_norm = nan; }},
      {"per_device_train_batch_size", [](SftSettings& s) { s.per_device_train_batch_size = 0; }},
      {"gradient_accumulation_steps", [](SftSettings& s) { s.gradient_accumulation_steps = 0; }},
      {"max_steps", [](SftSettings& s) { s.max_steps = -1; }},
      {"max_length", [](SftSettings& s) { s.max_length = 1; }},
      {"logging_steps", [](SftSettings& s) { s.logging_steps = 0; }},
      {"save_steps", [](SftSettings& s) { s.save_steps = -1; }},
      {"eval_steps", [](SftSettings& s) { s.eval_steps = -1; }},
      {"early_stopping_patience", [](SftSettings& s) { s.early_stopping_patience = -1; }}};
  for (const auto& [name, change] : bad) {
    SftSettings settings;
    change(settings);
    const Status status = check_fields(settings);
    ASSERT_FALSE(status.ok()) << name;
    EXPECT_TRUE(status.error().message.starts_with(name)) << status.error().message;
  }
}

class SftTest : public testing::Test {
 protected:
  SftTest() {
    std::string pattern = (fs::temp_directory_path() / "candor-sft-XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
    std::ofstream(folder_ / "train.jsonl") << R"({"prompt":"the cat","completion":" sat on a mat"}
{"prompt":"the ship","completion":" lay at rest"}
)";
    // The opposite of what is trained: it gets worse from some step on.
    std::ofstream(folder_ / "eval.jsonl") << R"({"prompt":"the cat","completion":" zzqx!! ##"})";
  }
  ~SftTest() override { fs::remove_all(folder_); }
  [[nodiscard]] Json run(const TrainableDecoder& model, const SftSettings& settings) const {
    const SftRun files = {.data = folder_ / "train.jsonl",
                          .eval_data = folder_ / "eval.jsonl",
                          .folder = folder_,
                          .inputs = kInputs};
    const Result<Json> summary =
        run_sft(model, settings, files, [](uint64_t, uint64_t, std::string_view) {});
    EXPECT_TRUE(summary.ok()) << (summary.ok() ? "" : summary.error().message);
    return summary.ok() ? *summary : Json();
  }
  // The loss on the evaluation data, computed here.
  [[nodiscard]] double loss_of(const TrainableDecoder& model) const {
    const SftData data = *read_sft_data(folder_ / "eval.jsonl", model.file(), 64);
    const std::vector<MicroBatch> batches = {batch_of(data.examples, {0})};
    const SftSums sums = sft_evaluate(model, batches);
    return sums.loss / static_cast<double>(sums.learnt_tokens);
  }
  fs::path folder_;
};

TEST_F(SftTest, EarlyStoppingKeepsTheBestParameters) {
  SftSettings settings{.learning_rate = 2e-2,
                       .per_device_train_batch_size = 1,
                       .max_steps = 60,
                       .max_length = 64,
                       .lr_scheduler_type = Schedule::kConstant,
                       .eval_steps = 1,
                       .early_stopping_patience = 3};
  const TrainableDecoder model = *TrainableDecoder::load(kGolden / "tiny_llama", {.threads = 1});
  const Json summary = run(model, settings);
  ASSERT_TRUE(summary["stopped_early"].get<bool>()) << summary;
  const std::vector<Json> lines = *read_jsonl(folder_ / "metrics.jsonl");
  double best = std::numeric_limits<double>::infinity();
  int64_t best_step = 0;
  int64_t last_step = 0;
  for (const Json& line : lines) {
    if (!line.contains("eval_loss")) continue;
    last_step = line["step"];
    if (line["eval_loss"].get<double>() >= best) continue;
    best = line["eval_loss"];
    best_step = last_step;
  }
  EXPECT_EQ(summary["steps"], last_step);
  EXPECT_EQ(summary["best_step"], best_step);
  EXPECT_EQ(last_step, best_step + 3) << "patience";
  EXPECT_LT(last_step, 60);
  EXPECT_DOUBLE_EQ(summary["best_eval_loss"].get<double>(), best);
  // The model that is left is the best one, not the last.
  EXPECT_NEAR(loss_of(model), best, 1e-6);
  settings.early_stopping_patience = 0;
  settings.max_steps = last_step;
  const TrainableDecoder whole = *TrainableDecoder::load(kGolden / "tiny_llama", {.threads = 1});
  const Json all = run(whole, settings);
  EXPECT_FALSE(all["stopped_early"].get<bool>());
  EXPECT_FALSE(all.contains("best_step"));
  EXPECT_NEAR(loss_of(whole), all["eval_loss"].get<double>(), 1e-6);
  EXPECT_GT(loss_of(whole), best + 1e-4);
}

TEST_F(SftTest, WhatCannotRunIsNamed) {
  const TrainableDecoder model = *TrainableDecoder::load(kGolden / "tiny_llama", {.threads = 1});
  const auto refuse = [&](const SftSettings& settings, bool evaluation, const std::string& part) {
    SftRun files = {
        .data = folder_ / "train.jsonl", .eval_data = {}, .folder = folder_, .inputs = kInputs};
    if (evaluation) files.eval_data = folder_ / "eval.jsonl";
    const auto result =
        run_sft(model, settings, files, [](uint64_t, uint64_t, std::string_view) {});
    ASSERT_FALSE(result.ok()) << part;
    EXPECT_NE(result.error().message.find(part), std::string::npos) << result.error().message;
  };
  refuse({.max_length = 64, .early_stopping_patience = 1}, false, "early_stopping_patience");
  refuse({.max_length = 129}, true, "the model's context has 128");
  refuse({.learning_rate = -1, .max_length = 64}, true, "learning_rate");
}

}  // namespace
}  // namespace candor
