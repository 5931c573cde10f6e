// Sampling menus from a table: every distribution is known, so frequencies can be checked.
#include "lm/mixture_generate.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "lm/menu_score.h"
#include "lm/menu_test_tables.h"

namespace candor {
namespace {

constexpr int64_t kVocabulary = 5;

std::vector<CandidateModel> candidates() {
  return {initial_candidate("initial", 2),
          soup_candidate("soup", std::vector<double>{0.5, 0.5}, 2),
          *mixture_candidate("kl", {{}, {0.5, 0.5}}, 2),
          *mixture_candidate("chi2", {{.kind = DivergenceKind::kChi2}, {1.2, 0.9}}, 2),
          *mixture_candidate("first", {{.kind = DivergenceKind::kJs}, {1, 0}}, 2),
          adapter_candidate("adapter", 0, 2)};
}

std::vector<MenuPrompt> prompts() { return {{{1, 2}, 0}, {{4}, 7}, {{1, 2, 3}, 2}}; }

std::vector<Generation> sample(const SlotModel& model, int64_t samples,
                               const GenerateOptions& options) {
  const auto result = generate_menu(model, candidates(), prompts(), samples, options);
  EXPECT_TRUE(result.ok()) << (result.ok() ? "" : result.error().message);
  return *result;
}

TEST(MenuGenerate, BatchesDoNotMatterAndLogProbabilitiesAreExact) {
  const TableModel model(kVocabulary, 2, 5, 2);
  GenerateOptions options{.max_new_tokens = 6, .temperature = 0.8, .top_p = 0.95, .seed = 3};
  const auto reference = sample(model, 4, options);
  ASSERT_EQ(reference.size(), 6 * 3 * 4);
  for (const int64_t batch : {1, 3, 5, 64}) {
    options.batch = batch;
    const auto again = sample(model, 4, options);
    for (size_t r = 0; r < reference.size(); ++r) {
      ASSERT_EQ(again[r].token_ids, reference[r].token_ids) << batch << " " << r;
      ASSERT_EQ(again[r].token_logprobs, reference[r].token_logprobs);
    }
  }
  // The second route: teacher forcing of what was sampled.
  const auto menu = candidates();
  const auto asked = prompts();
  std::vector<MenuReply> replies;
  for (size_t r = 0; r < reference.size(); ++r) {
    replies.push_back({r / 12, asked[r / 4 % 3].ids, reference[r].token_ids});
  }
  const auto scored = *score_menu(model, menu, replies, {});
  size_t stopped = 0;
  for (size_t r = 0; r < reference.size(); ++r) {
    double total = 0;
    for (size_t t = 0; t < scored[r].size(); ++t) {
      ASSERT_NEAR(scored[r][t].candidate_log, reference[r].token_logprobs[t], 1e-6);
      total += scored[r][t].candidate_log;
    }
    EXPECT_NEAR(total, reference[r].logprob, 1e-5);
    const bool stop = reference[r].token_ids.back() == 0;
    EXPECT_EQ(reference[r].finish_reason, stop ? FinishReason::kStop : FinishReason::kLength);
    EXPECT_TRUE(stop || reference[r].token_ids.size() == 6);
    stopped += stop ? 1 : 0;
  }
  EXPECT_GT(stopped, 0);
  EXPECT_LT(stopped, reference.size());
}

// A mixture of one expert is that expert, draw by draw: the last two candidates. And where logits
// are linear in the adapters, KL's mixture with sum a = 1 is the soup.
TEST(MenuGenerate, CandidatesShareTheirRandomNumbers) {
  const TableModel model(kVocabulary, 2, 5);
  const auto replies = sample(model, 20, {.max_new_tokens = 6, .seed = 3});
  size_t same = 0;
  for (size_t r = 0; r < 60; ++r) {
    EXPECT_EQ(replies[4 * 60 + r].token_ids, replies[5 * 60 + r].token_ids);
    EXPECT_EQ(replies[60 + r].token_ids, replies[120 + r].token_ids);
    same += replies[60 + r].token_ids == replies[180 + r].token_ids ? 1 : 0;
  }
  // Against independent draws of the same two candidates.
  const auto others = sample(model, 20, {.max_new_tokens = 6, .seed = 3, .stream = 1});
  size_t by_chance = 0;
  for (size_t r = 0; r < 60; ++r) {
    by_chance += replies[60 + r].token_ids == others[180 + r].token_ids ? 1 : 0;
  }
  EXPECT_GT(same, 2 * by_chance + 5);
  EXPECT_LT(same, 60);
}

// Frequencies of whole replies, against their probabilities (chi-square, fixed seed).
TEST(MenuGenerate, SamplesFollowEveryCandidate) {
  const TableModel model(kVocabulary, 2, 5);
  const auto menu = candidates();
  const std::vector<MenuPrompt> one = {{{1, 2}, 0}};
  static constexpr int kDraws = 4000;
  const auto drawn = *generate_menu(model, menu, one, kDraws, {.max_new_tokens = 2, .seed = 8});
  const auto possible = all_replies(kVocabulary, 2);
  for (size_t k = 0; k < menu.size(); ++k) {
    std::map<std::vector<int32_t>, int> counts;
    for (int s = 0; s < kDraws; ++s) ++counts[drawn[k * kDraws + static_cast<size_t>(s)].token_ids];
    std::vector<MenuReply> replies;
    replies.reserve(possible.size());
    for (const auto& reply : possible) replies.push_back({k, one[0].ids, reply});
    const auto scored = *score_menu(model, menu, replies, {.compare_to_initial = false});
    double statistic = 0;
    int cells = 0;
    for (size_t x = 0; x < possible.size(); ++x) {
      double log = 0;
      for (const TokenComparison& token : scored[x]) log += token.candidate_log;
      const double expected = kDraws * std::exp(log);
      EXPECT_TRUE(expected > 0 || counts[possible[x]] == 0);
      if (expected < 5) continue;
      const double difference = counts[possible[x]] - expected;
      statistic += difference * difference / expected;
      ++cells;
    }
    ASSERT_GT(cells, 5);
    EXPECT_LT(statistic, cells + 4 * std::sqrt(2.0 * cells)) << menu[k].name;
  }
}

TEST(MenuGenerate, GreedyTakesTheMixturesMode) {
  const TableModel model(kVocabulary, 2, 5);
  const auto menu = candidates();
  const auto greedy = sample(model, 1, {.max_new_tokens = 1, .temperature = 0});
  for (size_t k = 0; k < menu.size(); ++k) {
    std::vector<std::vector<float>> rows;
    rows.reserve(menu[k].variants.size());
    std::vector<const float*> pointers;
    pointers.reserve(menu[k].variants.size());
    for (const auto& variant : menu[k].variants) rows.push_back(model.logits_after({4}, variant));
    for (const auto& row : rows) pointers.push_back(row.data());
    std::vector<double> logs(kVocabulary);
    ASSERT_TRUE(candidate_log_probs(menu[k], pointers, logs).ok());
    const auto best = std::ranges::max_element(logs) - logs.begin();
    EXPECT_EQ(greedy[k * 3 + 1].token_ids, std::vector<int32_t>{static_cast<int32_t>(best)});
  }
}

TEST(MenuGenerate, Refuses) {
  const TableModel model(kVocabulary, 2, 5);
  const auto menu = candidates();
  const auto refused = [&](const MenuPrompt& prompt, int64_t tokens, const std::string& part) {
    const auto result =
        generate_menu(model, menu, std::span(&prompt, 1), 1, {.max_new_tokens = tokens});
    ASSERT_FALSE(result.ok()) << part;
    EXPECT_NE(result.error().message.find(part), std::string::npos) << result.error().message;
  };
  refused({{}, 0}, 2, "a prompt is empty");
  refused({{5}, 0}, 2, "token id: found 5; expected 0 to 4");
  refused({{1}, 0}, 64, "exceed the context of 64");
  const std::vector<int32_t> prompt = {1};
  const std::vector<int32_t> bad = {1, 9};
  const auto scored = score_menu(model, menu, std::vector<MenuReply>{{0, prompt, bad}}, {});
  ASSERT_FALSE(scored.ok());
  EXPECT_NE(scored.error().message.find("reply 1: token id: found 9"), std::string::npos);
}

}  // namespace
}  // namespace candor
