// Menus of a real model: stories260k (examples/data) with the two adapters of tests/golden.
#include <gtest/gtest.h>

#include <cmath>

#include "base/json.h"
#include "formats/test_data.h"
#include "lm/divergence_estimate.h"
#include "lm/menu_check.h"
#include "lm/menu_score.h"
#include "lm/mixture_generate.h"
#include "lm/score.h"

namespace candor {
namespace {

namespace fs = std::filesystem;

class StoriesMenu : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = shared_data("stories260k");
    ASSERT_FALSE(folder_.empty()) << "examples/data/stories260k is part of the repository";
    const fs::path golden = fs::path(CANDOR_SOURCE_DIR) / "tests" / "golden";
    adapters_ = {golden / "lora_a", golden / "lora_b"};
    const Json json = *read_json_file((folder_ / "golden.json").string());
    const auto greedy = json["greedy"].get<std::vector<int32_t>>();
    for (uint32_t p = 0; p < 3; ++p) {
      prompts_.push_back({{greedy.begin(), greedy.begin() + 3 + 5 * p}, p});
    }
  }
  [[nodiscard]] LanguageModel load(const LoadOptions& options) const {
    Result<LanguageModel> model = LanguageModel::load(folder_, options);
    EXPECT_TRUE(model.ok()) << (model.ok() ? "" : model.error().message);
    return std::move(model).value();
  }
  [[nodiscard]] LanguageModel merged(double a, double b) const {
    return load({Dtype::kF32, 1, {{adapters_[0], a}, {adapters_[1], b}}});
  }
  [[nodiscard]] LanguageModel beside(Dtype dtype = Dtype::kF32, int threads = 1) const {
    return load({.dtype = dtype, .threads = threads, .row_adapters = adapters_});
  }
  [[nodiscard]] std::vector<MenuReply> replies_of(const std::vector<Generation>& generations,
                                                  size_t samples) const {
    std::vector<MenuReply> out;
    for (size_t r = 0; r < generations.size(); ++r) {
      out.push_back({r / samples / prompts_.size(), prompts_[r / samples % prompts_.size()].ids,
                     generations[r].token_ids});
    }
    return out;
  }

  fs::path folder_;
  std::vector<fs::path> adapters_;
  std::vector<MenuPrompt> prompts_;
};

std::vector<CandidateSpec> some_menu() {
  const CandidateKind soup = CandidateKind::kSoup;
  const CandidateKind mixture = CandidateKind::kMixture;
  return {{.name = "initial"},
          {.name = "soup-1-0", .kind = soup, .weights = {1, 0}},
          {.name = "soup-0.3-0.7", .kind = soup, .weights = {0.3, 0.7}},
          {.name = "kl-0.3-0.7", .kind = mixture, .weights = {0.3, 0.7}},
          {.name = "kl-0-1", .kind = mixture, .weights = {0, 1}},
          {.name = "js-0.5-0.5",
           .kind = mixture,
           .weights = {0.5, 0.5},
           .divergence = {.kind = DivergenceKind::kJs}},
          {.name = "b", .kind = CandidateKind::kAdapter, .adapter = 1}};
}

std::vector<CandidateModel> decoded(const std::vector<CandidateSpec>& items) {
  std::vector<CandidateModel> out;
  out.reserve(items.size());
  for (const CandidateSpec& item : items) out.push_back(*candidate_of(item, 2));
  return out;
}

// What the menu's initial model gives is what `generate` gives, bit for bit; an adapter and a soup
// are what merged weights give, up to rounding.
TEST_F(StoriesMenu, SoupsAreMergedModels) {
  const LanguageModel model = beside();
  const GenerateOptions options{.max_new_tokens = 24, .seed = 5};
  const auto menu = decoded(some_menu());
  const auto all = *generate_menu(LanguageSlotModel(model), menu, prompts_, 4, options);
  const auto compare = [&](size_t candidate, const LanguageModel& other, double tolerance) {
    std::vector<GenerateRequest> requests;
    std::vector<ScoreRequest> scoring;
    const size_t first = candidate * 12;
    for (size_t r = 0; r < 12; ++r) {
      const MenuPrompt& prompt = prompts_[r / 4];
      requests.push_back({prompt.ids, prompt.index, static_cast<uint32_t>(r % 4)});
      scoring.push_back({prompt.ids, all[first + r].token_ids});
    }
    const auto expected = *generate(other, requests, options);
    const auto scored = *score(other, scoring);
    size_t same = 0;
    for (size_t r = 0; r < 12; ++r) {
      same += all[first + r].token_ids == expected[r].token_ids ? 1 : 0;
      for (size_t t = 0; t < scored[r].size(); ++t) {
        EXPECT_NEAR(scored[r][t], all[first + r].token_logprobs[t], tolerance) << r << " " << t;
      }
    }
    return same;
  };
  EXPECT_EQ(compare(0, load({Dtype::kF32, 1}), 0), 12);
  EXPECT_GE(compare(1, merged(1, 0), 1e-4), 11);
  EXPECT_GE(compare(2, merged(0.3, 0.7), 1e-4), 11);
  EXPECT_GE(compare(6, merged(0, 1), 1e-4), 11);
}

// KL's closed form from three models with merged weights, on what the mixture sampled.
TEST_F(StoriesMenu, MixturesLogProbabilitiesAreTheClosedForm) {
  const LanguageModel model = beside();
  const std::vector<CandidateModel> menu = {
      *mixture_candidate("kl", {{}, {0.5, 0.8}}, 2)};  // the power of pi_0 is -0.3
  const auto all =
      *generate_menu(LanguageSlotModel(model), menu, prompts_, 3, {.max_new_tokens = 20});
  const LanguageModel models[3] = {load({Dtype::kF32, 1}), merged(1, 0), merged(0, 1)};
  const double powers[3] = {-0.3, 0.5, 0.8};
  const auto vocabulary = static_cast<size_t>(model.config().vocabulary_size);
  for (size_t r = 0; r < all.size(); ++r) {
    std::vector<int32_t> ids = prompts_[r / 3].ids;
    const size_t first = ids.size() - 1;
    ids.insert(ids.end(), all[r].token_ids.begin(), all[r].token_ids.end());
    std::vector<double> mixed(ids.size() * vocabulary, 0.0);
    for (size_t m = 0; m < 3; ++m) {
      const std::vector<float> part = *logits(models[m], ids);
      for (size_t i = 0; i < mixed.size(); ++i) mixed[i] += powers[m] * part[i];
    }
    for (size_t t = 0; t < all[r].token_ids.size(); ++t) {
      const double* row = mixed.data() + (first + t) * vocabulary;
      double sum = 0;
      for (size_t v = 0; v < vocabulary; ++v) sum += std::exp(row[v]);
      const double expected = row[static_cast<size_t>(all[r].token_ids[t])] - std::log(sum);
      ASSERT_NEAR(all[r].token_logprobs[t], expected, 1e-4) << r << " " << t;
    }
  }
}

TEST_F(StoriesMenu, BatchesAndThreadsDoNotMatter) {
  const auto menu = decoded(some_menu());
  for (const Dtype dtype : {Dtype::kF32, Dtype::kBf16}) {
    const LanguageModel model = beside(dtype, 2);
    const LanguageModel single = beside(dtype);
    GenerateOptions options{.max_new_tokens = 10, .temperature = 0.9, .seed = 2};
    const auto reference = *generate_menu(LanguageSlotModel(model), menu, prompts_, 2, options);
    for (const int64_t batch : {1, 8}) {
      options.batch = batch;
      const auto again = *generate_menu(LanguageSlotModel(single), menu, prompts_, 2, options);
      for (size_t r = 0; r < reference.size(); ++r) {
        ASSERT_EQ(again[r].token_ids, reference[r].token_ids) << batch << " " << r;
        ASSERT_EQ(again[r].token_logprobs, reference[r].token_logprobs);
      }
    }
    const auto scored = *score_menu(LanguageSlotModel(model), menu, replies_of(reference, 2), {});
    for (size_t r = 0; r < reference.size(); ++r) {
      for (size_t t = 0; t < scored[r].size(); ++t) {
        ASSERT_NEAR(scored[r][t].candidate_log, reference[r].token_logprobs[t], 1e-5);
        ASSERT_GE(scored[r][t].kl, 0);
        if (r >= 6) continue;
        ASSERT_EQ(scored[r][t].kl, 0) << "the initial model's distance from itself";
      }
    }
  }
}

// Two unbiased estimates of one KL divergence agree within their noise.
TEST_F(StoriesMenu, TokenWiseKlAgreesWithTheLogRatio) {
  const LanguageModel model = beside();
  const LanguageSlotModel slots(model);
  const auto menu = decoded(some_menu());
  const auto all = *generate_menu(slots, menu, prompts_, 40, {.max_new_tokens = 8, .batch = 64});
  const auto scored = *score_menu(slots, menu, replies_of(all, 40), {});
  for (size_t k = 1; k < menu.size(); ++k) {
    std::vector<ReplyDivergence> replies;
    for (size_t r = 0; r < 120; ++r) replies.push_back(reply_divergence({}, scored[k * 120 + r]));
    const DivergenceSummary summary = summarize(replies);
    const double noise = summary.standard_error + summary.log_ratio_error;
    EXPECT_GT(summary.mean, 0.01) << menu[k].name;
    EXPECT_NEAR(summary.mean, summary.mean_log_ratio, 4 * noise) << menu[k].name;
    EXPECT_LT(summary.standard_error, summary.log_ratio_error) << "the token-wise sum is quieter";
  }
}

class MenuChecks : public StoriesMenu {
 protected:
  [[nodiscard]] std::string failed(const std::vector<CandidateSpec>& items,
                                   const std::vector<CandidateModel>& menu,
                                   bool swapped = false) const {
    const LanguageModel model = beside();
    std::vector<LanguageModel> experts = {merged(1, 0), merged(0, 1)};
    if (swapped) std::swap(experts[0], experts[1]);
    const ExpertSource source = [&](int64_t expert) -> Result<std::unique_ptr<SlotModel>> {
      return std::unique_ptr<SlotModel>(
          std::make_unique<LanguageSlotModel>(experts[static_cast<size_t>(expert)]));
    };
    const auto checks = check_menu(LanguageSlotModel(model), source, {items, menu}, prompts_, {});
    EXPECT_TRUE(checks.ok()) << (checks.ok() ? "" : checks.error().message);
    // 4 endpoints of the menu, 3 families x 2 experts; 3 interior items x 3 models.
    EXPECT_EQ(checks->size(), 4 + 6 + 9);
    return failed_checks(*checks);
  }
};

TEST_F(MenuChecks, AGoodMenuPasses) { EXPECT_EQ(failed(some_menu(), decoded(some_menu())), ""); }

TEST_F(MenuChecks, PlantedFaultsAreNamed) {
  const auto contains = [](const std::string& text, const std::string& part) {
    EXPECT_NE(text.find(part), std::string::npos) << part << " in: " << text;
  };
  const std::vector<CandidateSpec> items = some_menu();
  // Experts in another order than the reports'.
  const std::string swapped = failed(items, decoded(items), true);
  contains(swapped, "endpoint soup-1-0 = expert 1: total variation ");
  contains(swapped, "endpoint js mixture(0,1) = expert 2");
  // A soup decoded with other weights than declared.
  std::vector<CandidateModel> menu = decoded(items);
  menu[1] = soup_candidate("soup-1-0", std::vector<double>{0.9, 0.1}, 2);
  const std::string wrong = failed(items, menu);
  EXPECT_TRUE(wrong.starts_with("endpoint soup-1-0 = expert 1")) << wrong;
  EXPECT_EQ(wrong.find(';'), std::string::npos) << wrong;
  // An interior point that is a copy of the initial model, and one that is an expert's.
  menu = decoded(items);
  menu[2] = initial_candidate("soup-0.3-0.7", 2);
  contains(failed(items, menu), "interior soup-0.3-0.7 <> the initial model: total variation 0,");
  menu = decoded(items);
  menu[5] = adapter_candidate("js-0.5-0.5", 1, 2);
  contains(failed(items, menu), "interior js-0.5-0.5 <> expert 2: total variation ");
  // A mixture that forgot to normalise its experts against pi_0: the wrong expert's row.
  menu = decoded(items);
  menu[4].variants[1] = menu[4].variants[0];
  contains(failed(items, menu), "endpoint kl-0-1 = expert 2");
}

}  // namespace
}  // namespace candor
