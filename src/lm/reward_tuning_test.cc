// Reward models with a decoder underneath against TRL's RewardTrainer, transformers and peft:
// tests/golden/reward.json, made by tools/make_reward_goldens.py.
#include "lm/reward_tuning.h"

#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <set>

#include "base/json.h"
#include "base/rng.h"
#include "formats/safetensors.h"
#include "lm/encoder_reward.h"
#include "lm/tiny_model.h"

namespace candor {
namespace {

namespace fs = std::filesystem;

const fs::path kGolden = fs::path(CANDOR_SOURCE_DIR) / "tests" / "golden";

Json golden_of(const std::string& name) {
  return (*read_json_file((kGolden / "reward.json").string()))[name];
}

// |got - expected| / |expected| over a whole tensor.
double relative_difference(const at::Tensor& got, const std::vector<float>& expected) {
  const at::Tensor wanted =
      at::from_blob(const_cast<float*>(expected.data()), got.sizes(), at::kFloat);
  return ((got - wanted).norm() / wanted.norm()).item<double>();
}

// The model as it was before TRL's first step.
DecoderReward model_before(const std::string& name) {
  TrainableOptions options = {.threads = 2};
  if (name == "lora") {
    options.lora = LoraSettings{.rank = 4,
                                .lora_alpha = 12,
                                .dropout = 0,
                                .target_modules = {"q_proj", "v_proj", "o_proj", "down_proj"}};
  }
  DecoderReward model =
      *DecoderReward::start(kGolden / "tiny_llama", options, RewardLayout::kPromptCompletion);
  const SafeTensors tensors = *SafeTensors::open(kGolden / ("reward_" + name + ".safetensors"));
  const at::NoGradGuard no_gradient;
  int copied = 0;
  for (NamedTensor& parameter : model.parameters()) {
    if (!tensors.tensors().contains("before." + parameter.name)) continue;
    std::vector<float> values = *tensors.floats("before." + parameter.name);
    parameter.value.copy_(at::from_blob(values.data(), parameter.value.sizes(), at::kFloat));
    ++copied;
  }
  EXPECT_EQ(copied, name == "lora" ? 17 : 1);
  return model;
}

std::vector<RewardExample> examples_of(const Json& batch) {
  std::vector<RewardExample> out;
  for (size_t i = 0; i < batch["chosen"].size(); ++i) {
    out.push_back({.text = batch["chosen"][i].get<std::vector<int32_t>>(),
                   .rejected = batch["rejected"][i].get<std::vector<int32_t>>(),
                   .margin = batch.contains("margin") ? batch["margin"][i].get<double>() : 0});
  }
  return out;
}

RewardBatch batch_of(const std::vector<RewardExample>& examples) {
  RewardBatch out;
  for (const RewardExample& example : examples) out.push_back(&example);
  return out;
}

// One line of TRL's log against the sums of our step.
void compare_log(const RewardSums& sums, double grad_norm, const Json& log) {
  const auto near = [&](const char* key, double got) {
    const double expected = log[key].get<double>();
    EXPECT_NEAR(got, expected, 1e-4 * std::max(std::abs(expected), 0.1))
        << key << " of step " << log["step"];
  };
  near("loss", sums.loss / static_cast<double>(sums.examples));
  near("grad_norm", grad_norm);
  near("accuracy", sums.correct / static_cast<double>(sums.examples));
  near("margin", sums.margin / static_cast<double>(sums.pairs));
  near("min_reward", sums.min_reward / static_cast<double>(sums.batches));
  near("mean_reward", sums.mean_reward / static_cast<double>(sums.batches));
  near("max_reward", sums.max_reward / static_cast<double>(sums.batches));
}

void compare_run(const std::string& name) {
  const Json golden = golden_of(name);
  const Json& settings = golden["settings"];
  const DecoderReward model = model_before(name);
  AdamW optimizer(model.parameters(), {.weight_decay = settings["weight_decay"].get<double>()});
  const LearningRate rate = {.peak = settings["learning_rate"].get<double>(),
                             .schedule = *schedule_of(settings["lr_scheduler_type"]),
                             .warmup_steps = settings["warmup_steps"].get<int64_t>(),
                             .total_steps = 10};
  int64_t tokens = 0;
  for (int64_t step = 0; step < 10; ++step) {
    const Json& log = golden["logs"][static_cast<size_t>(step)];
    const auto first = static_cast<size_t>(2 * step);
    const std::vector<RewardExample> a = examples_of(golden["micro_batches"][first]);
    const std::vector<RewardExample> b = examples_of(golden["micro_batches"][first + 1]);
    const std::vector<RewardBatch> batches = {batch_of(a), batch_of(b)};
    const double now = rate.at_step(step);
    EXPECT_NEAR(now, log["learning_rate"].get<double>(), 1e-12);
    const RewardStep got = *reward_step(
        model, optimizer, batches,
        {.learning_rate = now,
         .max_grad_norm = settings["max_grad_norm"].get<double>(),
         .center_rewards_coefficient = settings.value("center_rewards_coefficient", 0.0)});
    tokens += got.sums.tokens;
    EXPECT_EQ(static_cast<double>(tokens), log["num_tokens"].get<double>());
    compare_log(got.sums, got.grad_norm, log);
  }
  const SafeTensors tensors = *SafeTensors::open(kGolden / ("reward_" + name + ".safetensors"));
  for (const NamedTensor& parameter : model.parameters()) {
    const std::vector<float> after = *tensors.floats("after." + parameter.name);
    EXPECT_LT(relative_difference(parameter.value.detach(), after), 1e-4) << parameter.name;
  }
}

TEST(RewardTuning, TenStepsOfFullTrainingAreTrls) { compare_run("full"); }
TEST(RewardTuning, TenStepsOfLoraAreTrlsAndPefts) { compare_run("lora"); }

// TRL's tokens of the same records.
TEST(RewardTuning, TokensAreTrls) {
  const DecoderReward model = model_before("full");
  const Json golden = golden_of("full");
  std::set<std::vector<int32_t>> ours;
  for (const Json& record : golden["data"]) {
    for (const char* side : {"chosen", "rejected"}) {
      ours.insert(*model.encode({record["prompt"], record[side]}));
    }
  }
  size_t seen = 0;
  for (const Json& batch : golden["micro_batches"]) {
    for (const char* side : {"chosen", "rejected"}) {
      for (const Json& ids : batch[side]) {
        EXPECT_TRUE(ours.contains(ids.get<std::vector<int32_t>>())) << ids.dump();
        ++seen;
      }
    }
  }
  EXPECT_EQ(seen, 120U);
}

void expect_their_rewards(const DecoderReward& model, const Json& texts) {
  std::vector<PromptedText> asked;
  for (const Json& text : texts) asked.push_back({text["prompt"], text["completion"]});
  const std::vector<double> got = *model.score(asked);
  for (size_t i = 0; i < got.size(); ++i) {
    EXPECT_NEAR(got[i], texts[i]["reward"].get<double>(), 2e-5) << texts[i].dump();
  }
}

// Ten steps of a BERT under mean pooling and a head, on pairs and labelled texts together, by torch
// (and peft for the factors).
void compare_encoder(const std::string& name) {
  const Json golden = golden_of(name);
  const SafeTensors tensors = *SafeTensors::open(kGolden / ("reward_" + name + ".safetensors"));
  EncoderRewardOptions options = {.threads = 2};
  if (name == "encoder_lora") {
    options.lora = LoraSettings{
        .rank = 3, .lora_alpha = 6, .dropout = 0, .target_modules = {"query", "value"}};
  }
  const RewardHead head = {.weight = std::vector<double>(16, 0.0), .bias = 0};
  const EncoderReward model = *EncoderReward::start(kGolden / "tiny_bert", head, options);
  size_t copied = 0;
  for (NamedTensor& parameter : model.parameters()) {
    if (!tensors.tensors().contains("before." + parameter.name)) continue;
    const at::NoGradGuard no_gradient;
    std::vector<float> values = *tensors.floats("before." + parameter.name);
    parameter.value.copy_(at::from_blob(values.data(), parameter.value.sizes(), at::kFloat));
    ++copied;
  }
  EXPECT_EQ(copied, options.lora.has_value() ? 10U : 2U);
  AdamW optimizer(model.parameters(), {.weight_decay = 0.05});
  for (const Json& step : golden["steps"]) {
    std::vector<RewardExample> examples;
    for (const Json& pair : step["pairs"])
      examples.push_back({.text = pair[0], .rejected = pair[1]});
    for (const Json& labelled : step["labels"]) {
      examples.push_back({.text = labelled[0], .rejected = {}, .label = labelled[1]});
    }
    const std::vector<RewardBatch> batches = {batch_of(examples)};
    const RewardStep got = *reward_step(model, optimizer, batches, {.learning_rate = 1e-2});
    EXPECT_NEAR(got.sums.loss / 5, step["loss"].get<double>(), 1e-4 * step["loss"].get<double>());
    EXPECT_NEAR(got.grad_norm, step["grad_norm"].get<double>(),
                1e-4 * step["grad_norm"].get<double>());
  }
  size_t compared = 0;
  for (const NamedTensor& parameter : model.parameters()) {
    ++compared;
    // The softmax does not see a key's bias: its gradient is rounding, and AdamW makes steps of it.
    if (parameter.name.ends_with(".key.bias")) continue;
    const std::vector<float> after = *tensors.floats("after." + parameter.name);
    const at::Tensor value = parameter.value.detach();
    const double norm = std::max(0.1, value.norm().item<double>());
    EXPECT_LT(relative_difference(value, after) * value.norm().item<double>() / norm, 1e-4)
        << parameter.name;
  }
  EXPECT_EQ(compared, options.lora.has_value() ? 10U : 39U);
}

TEST(EncoderTuning, TenStepsOfFullTrainingAreTorchs) { compare_encoder("encoder"); }
TEST(EncoderTuning, TenStepsOfLoraAreTorchsAndPefts) { compare_encoder("encoder_lora"); }

TEST(EncoderTuning, BadSettingsAreNamed) {
  const auto message = [](const RewardHead& head, const LoraSettings& lora) {
    const Result<EncoderReward> model =
        EncoderReward::start(kGolden / "tiny_bert", head, {.threads = 1, .lora = lora});
    return model.ok() ? std::string() : model.error().message;
  };
  const RewardHead head = {.weight = std::vector<double>(16, 0.0), .bias = 0};
  EXPECT_EQ(message(head, {.target_modules = {"dense"}}), "");
  EXPECT_NE(message(head, {.target_modules = {"q_proj"}}).find("expected query"),
            std::string::npos);
  EXPECT_NE(message(head, {.rank = 0}).find("LoRA: r: found 0; expected"), std::string::npos);
  EXPECT_NE(message({.weight = {1.0}, .bias = 0}, {}).find("this head has 1"), std::string::npos);
}

// Folders that save_pretrained wrote, with the rewards that transformers and peft give.
TEST(RewardFolders, TheirFoldersGiveTheirRewards) {
  const DecoderReward full = *DecoderReward::load(kGolden / "tiny_reward", {}, 2);
  expect_their_rewards(full, golden_of("full")["texts"]);
  const DecoderReward lora =
      *DecoderReward::load(kGolden / "tiny_reward_lora", kGolden / "tiny_llama", 2);
  expect_their_rewards(lora, golden_of("lora")["texts"]);
}

// Written and read again: the same rewards, and the files say what they are.
TEST(RewardFolders, OursRoundTrip) {
  for (const std::string name : {"full", "lora"}) {
    const DecoderReward model = model_before(name);
    const fs::path folder = fs::path(testing::TempDir()) / ("reward_folder_" + name);
    fs::remove_all(folder);
    fs::create_directories(folder);
    ASSERT_TRUE(model.write(folder).ok());
    const DecoderReward again = *DecoderReward::load(folder, {}, 2);  // the base by its own path
    const std::vector<PromptedText> texts = {{"the cat", " sat"}, {"a", " the sea"}};
    const std::vector<double> before = *model.score(texts);
    const std::vector<double> after = *again.score(texts);
    for (size_t i = 0; i < texts.size(); ++i) EXPECT_NEAR(before[i], after[i], 1e-5);
    const Json config = *read_json_file(
        (folder / (name == "lora" ? "adapter_config.json" : "config.json")).string());
    if (name == "lora") {
      EXPECT_EQ(config["task_type"], "SEQ_CLS");
      EXPECT_EQ(config["modules_to_save"], Json::array({"score"}));
      EXPECT_FALSE(load_lora_adapter(folder).ok());  // no adapter of a language model
    } else {
      EXPECT_EQ(config["architectures"], Json::array({"LlamaForSequenceClassification"}));
      EXPECT_EQ(config["pad_token_id"], 0);
      const Result<LanguageModel> talks = LanguageModel::load(folder, {});
      ASSERT_FALSE(talks.ok());
      EXPECT_NE(talks.error().message.find("$.architectures"), std::string::npos);
    }
  }
}

// From a GGUF file: the folder is written anew, and is the folder's model's twin.
TEST(RewardFolders, FromAGgufFile) {
  const auto start = [](const char* name) {
    return *DecoderReward::start(kGolden / name, {.threads = 2, .seed = 5},
                                 RewardLayout::kPromptCompletion);
  };
  const DecoderReward model = start("tiny_llama.gguf");
  const fs::path folder = fs::path(testing::TempDir()) / "reward_of_gguf";
  fs::remove_all(folder);
  fs::create_directories(folder);
  ASSERT_TRUE(model.write(folder).ok());
  const DecoderReward again = *DecoderReward::load(folder, {}, 2);
  const std::vector<PromptedText> texts = {{"the cat", " sat"}, {"a", " the sea"}};
  const std::vector<double> of_gguf = *model.score(texts);
  const std::vector<double> of_folder = *start("tiny_llama").score(texts);
  const std::vector<double> read = *again.score(texts);
  for (size_t i = 0; i < texts.size(); ++i) {
    EXPECT_NEAR(of_gguf[i], of_folder[i], 1e-6);
    EXPECT_NEAR(of_gguf[i], read[i], 1e-6);
  }
}

TEST(RewardFolders, BadFoldersAreRefused) {
  const auto message = [](const fs::path& folder, const std::optional<fs::path>& base) {
    const Result<DecoderReward> loaded = DecoderReward::load(folder, base, 1);
    return loaded.ok() ? "" : loaded.error().message;
  };
  const auto contains = [](const std::string& text, const std::string& part) {
    EXPECT_NE(text.find(part), std::string::npos) << text;
  };
  contains(message(kGolden / "tiny_llama", {}), "score.weight");
  contains(message(kGolden / "tiny_reward_lora", fs::path("/none")), "is not there; name it");
  contains(message(kGolden / "tiny_reward", kGolden / "tiny_llama"), "no adapter over");
  contains(message(kGolden / "tiny_lora", kGolden / "tiny_llama"), "score.weight");
  // A reading that the folder cannot follow.
  const fs::path folder = fs::path(testing::TempDir()) / "reward_reading";
  fs::remove_all(folder);
  fs::copy(kGolden / "tiny_reward", folder);
  const auto with = [&](const char* text) {
    std::ofstream(folder / "reward.json") << text;
    return message(folder, {});
  };
  contains(with(R"({"candor":"reward-model/1","features":"completion","chat_template":true,)"
                R"("pad_token_id":0})"),
           "carry no chat template");
  contains(with(R"({"candor":"reward-model/1","features":"all","chat_template":false,)"
                R"("pad_token_id":0})"),
           "$.features");
  EXPECT_EQ(with(R"({"candor":"reward-model/1","features":"completion","chat_template":false,)"
                 R"("pad_token_id":0})"),
            "");
}

// A reply that spells the end token gets no end token: its reward is that of its letters.
TEST(RewardFolders, RepliesCannotSpellSpecialTokens) {
  const DecoderReward model = *DecoderReward::load(kGolden / "tiny_reward", {}, 1);
  const std::vector<int32_t> ids = *model.encode({"the cat", " sat<|endoftext|>"});
  EXPECT_EQ(std::ranges::count(ids, 0), 1);  // the one at the end
  EXPECT_EQ(ids.back(), 0);
  const std::vector<int32_t> plain = *model.encode({"the cat", " sat"});
  EXPECT_GT(ids.size(), plain.size() + 5);
}

// Under a chat template the text is what the template makes of two turns, also after a round trip,
// and for a folder of transformers' that carries one.
TEST(RewardFolders, ChatTemplates) {
  const fs::path base = fs::path(testing::TempDir()) / "reward_chat_base";
  const fs::path written = fs::path(testing::TempDir()) / "reward_chat";
  for (const fs::path& folder : {base, written}) fs::remove_all(folder);
  fs::copy(kGolden / "tiny_llama", base);
  std::ofstream(base / "chat_template.jinja")
      << "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + "
         "message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ "
         "'<|im_start|>assistant\n' }}{% endif %}";
  const DecoderReward model =
      *DecoderReward::start(base, {.threads = 1}, RewardLayout::kPromptCompletion);
  fs::create_directories(written);
  ASSERT_TRUE(model.write(written).ok());
  const DecoderReward ours = *DecoderReward::load(written, {}, 1);
  fs::remove(written / "reward.json");
  const DecoderReward theirs = *DecoderReward::load(written, {}, 1);
  const auto tokenizer = *tokenizer_from_folder(base);
  const std::vector<int32_t> expected = *tokenizer->encode(
      "<|im_start|>user\nthe cat<|im_end|>\n<|im_start|>assistant\n the sea<|im_end|>\n");
  for (const DecoderReward* one : {&model, &ours, &theirs}) {
    EXPECT_TRUE(one->reading().chat_template);
    EXPECT_EQ(one->reading().pad_token_id, 0);
    EXPECT_EQ(*one->encode({"the cat", " the sea"}), expected);
    // A special token that the reply spells stays text, wherever it stands.
    EXPECT_EQ(std::ranges::count(*one->encode({"the cat", "<|endoftext|> a"}), 0), 0);
    EXPECT_EQ(std::ranges::count(*one->encode({"<|endoftext|>", " a"}), 0), 0);
  }
  // The reply alone has no turns.
  const DecoderReward alone =
      *DecoderReward::start(base, {.threads = 1}, RewardLayout::kCompletion);
  EXPECT_FALSE(alone.reading().chat_template);
  EXPECT_EQ(*alone.encode({"the cat", "the sea"}), *tokenizer->encode("the sea<|endoftext|>"));
}

// A text that is too long is named, not cut.
TEST(RewardFolders, LongTextsAreNamed) {
  const DecoderReward model = *DecoderReward::load(kGolden / "tiny_reward", {}, 1);
  const std::string longest(300, 'x');
  const std::vector<PromptedText> texts = {{"a", "b"}, {"a", longest}};
  const Result<std::vector<double>> scores = model.score(texts);
  ASSERT_FALSE(scores.ok());
  EXPECT_EQ(scores.error().message, "text 2: found 302 tokens; the reward model reads 128");
}

// Texts of three letters, the better one with more of the letter "a"; labels by the same rule.
std::vector<RewardExample> letters(size_t count, uint64_t seed, bool pairs, bool noise = false) {
  RandomStream random({.seed = seed, .stream = 3});
  const auto text = [&] {
    std::vector<int32_t> ids;
    for (int i = 0; i < 6; ++i) ids.push_back(static_cast<int32_t>(random.below(3)));
    return ids;
  };
  std::vector<RewardExample> out;
  while (out.size() < count) {
    RewardExample example = {.text = text(), .rejected = {}};
    const auto a = std::ranges::count(example.text, 0);
    if (pairs) {
      example.rejected = text();
      const auto b = std::ranges::count(example.rejected, 0);
      if (a == b) continue;
      if ((a < b) != (noise && random.uniform() < 0.5)) std::swap(example.text, example.rejected);
    } else {
      if (a == 2) continue;
      example.label = (a > 2) != (noise && random.uniform() < 0.5) ? 1 : 0;
    }
    out.push_back(std::move(example));
  }
  return out;
}

DecoderReward letter_model(const std::string& name) {
  const fs::path folder = fs::path(testing::TempDir()) / name;
  fs::remove_all(folder);
  write_tiny_model({.spread = 0.15}, folder);
  return *DecoderReward::start(folder, {.threads = 2}, RewardLayout::kCompletion);
}

TEST(RewardTuning, LearnsPairsAndLabels) {
  for (const bool pairs : {true, false}) {
    const DecoderReward model = letter_model("reward_letters");
    const std::vector<RewardExample> train = letters(400, 5, pairs);
    const std::vector<RewardExample> held_out = letters(200, 6, pairs);
    const RewardTuningResult result = *tune_reward(model,
                                                   {.learning_rate = 3e-3,
                                                    .per_device_train_batch_size = 16,
                                                    .num_train_epochs = 4,
                                                    .logging_steps = 5},
                                                   train, held_out, {});
    const RewardSums sums = reward_evaluate(model, std::vector<RewardBatch>{batch_of(held_out)}, 0);
    EXPECT_GT(sums.correct / 200, 0.95) << (pairs ? "pairs" : "labels");
    EXPECT_EQ(result.summary["steps"], 100);
    EXPECT_EQ(result.log.size(), 25U);  // 20 lines of training, the start and 4 of validation
    EXPECT_EQ(result.log.back()["eval_accuracy"].is_number(), true);
    EXPECT_EQ(result.log.back().contains("eval_margin"), pairs);
  }
}

// On labels that are half noise the validation loss turns: training ends before its steps, and what
// stays is the best evaluation's, not the last one's.
TEST(RewardTuning, EarlyStoppingKeepsTheBest) {
  const std::vector<RewardExample> train = letters(64, 7, true, true);
  const std::vector<RewardExample> validation = letters(100, 8, true, true);
  const std::vector<RewardBatch> judged = {batch_of(validation)};
  RewardTuning tuning = {.learning_rate = 5e-3,
                         .per_device_train_batch_size = 100,
                         .num_train_epochs = 60,
                         .lr_scheduler_type = Schedule::kConstant,
                         .early_stopping_patience = 2};
  const DecoderReward model = letter_model("reward_stopping");
  const RewardTuningResult result = *tune_reward(model, tuning, train, validation, {});
  ASSERT_TRUE(result.summary["stopped_early"].get<bool>());
  const auto best = result.summary["best_step"].get<int64_t>();
  const auto steps = result.summary["steps"].get<int64_t>();
  EXPECT_EQ(steps, best + 2);
  double lowest = 1e9;
  for (const Json& line : result.log) lowest = std::min(lowest, line.value("eval_loss", 1e9));
  EXPECT_EQ(result.summary["best_eval_loss"].get<double>(), lowest);
  EXPECT_GT(result.summary["eval_loss"].get<double>(), lowest);
  const RewardSums now = reward_evaluate(model, judged, 0);
  EXPECT_NEAR(now.loss / 100, lowest, 1e-6);
  // The other route: the same training, told to end at that step.
  tuning.max_steps = best;
  tuning.early_stopping_patience = 0;
  const DecoderReward again = letter_model("reward_stopping");
  ASSERT_TRUE(tune_reward(again, tuning, train, {}, {}).ok());
  for (size_t i = 0; i < model.parameters().size(); ++i) {
    EXPECT_TRUE(model.parameters()[i].value.equal(again.parameters()[i].value))
        << model.parameters()[i].name;
  }
}

// How the examples are cut into batches changes nothing but rounding, uneven cuts too.
TEST(RewardTuning, AccumulationIsOneBatch) {
  std::vector<RewardExample> examples = letters(5, 9, true);
  for (RewardExample& labelled : letters(4, 10, false)) examples.push_back(std::move(labelled));
  const RewardBatch all = batch_of(examples);
  const std::vector<RewardBatch> whole = {all};
  const std::vector<RewardBatch> cut = {{all.begin(), all.begin() + 4},
                                        {all.begin() + 4, all.begin() + 6},
                                        {all.begin() + 6, all.end()}};
  std::vector<at::Tensor> heads;
  for (const auto& batches : {whole, cut}) {
    const DecoderReward model = letter_model("reward_batches");
    AdamW optimizer(model.parameters(), {});
    const RewardStep step = *reward_step(model, optimizer, batches, {.learning_rate = 1e-3});
    EXPECT_EQ(step.sums.examples, 9);
    EXPECT_EQ(step.sums.pairs, 5);
    heads.push_back(model.parameters().back().value.detach().clone());
  }
  EXPECT_LT((heads[0] - heads[1]).abs().max().item<double>(), 2e-5);
}

TEST(RewardTuning, BadSettingsAreNamed) {
  const auto message = [](const RewardTuning& tuning) {
    const Status status = check_fields(tuning);
    return status.ok() ? std::string() : status.error().message;
  };
  EXPECT_EQ(message({}), "");
  EXPECT_EQ(message({.max_length = 1}),
            "max_length: found 1; expected a whole number from 2 to 1099511627776");
  EXPECT_EQ(message({.warmup_ratio = 2}), "warmup_ratio: found 2; expected a number from 0 to 1");
  EXPECT_EQ(message({.learning_rate = std::nan("")}).substr(0, 13), "learning_rate");
  const DecoderReward model = letter_model("reward_settings");
  EXPECT_FALSE(tune_reward(model, {}, letters(4, 1, true), {}, {}).ok());
}

}  // namespace
}  // namespace candor
