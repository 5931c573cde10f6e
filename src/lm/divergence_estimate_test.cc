// Estimates of divergences from replies, against the exact divergence of every reply enumerated.
#include "lm/divergence_estimate.h"

#include <gtest/gtest.h>

#include <cmath>

#include "lm/menu_test_tables.h"

namespace candor {
namespace {

constexpr int64_t kVocabulary = 5;
constexpr size_t kLength = 3;

std::vector<Divergence> all_divergences() {
  std::vector<Divergence> out;
  for (const DivergenceKind kind :
       {DivergenceKind::kKl, DivergenceKind::kChi2, DivergenceKind::kReverseKl, DivergenceKind::kJs,
        DivergenceKind::kHellinger, DivergenceKind::kJeffreys, DivergenceKind::kTv}) {
    out.push_back({.kind = kind});
  }
  for (const double alpha : {-1.5, 0.3, 1.5, 2.0, 2.5}) {
    out.push_back({.kind = DivergenceKind::kAlpha, .alpha = alpha});
  }
  return out;
}

std::vector<CandidateModel> some_candidates() {
  std::vector<CandidateModel> out = {initial_candidate("initial", 2),
                                     adapter_candidate("second", 1, 2),
                                     soup_candidate("soup", std::vector<double>{0.3, 0.7}, 2)};
  for (const DivergenceKind kind : {DivergenceKind::kKl, DivergenceKind::kJs, DivergenceKind::kChi2,
                                    DivergenceKind::kReverseKl}) {
    out.push_back(*mixture_candidate(divergence_name(kind), {{.kind = kind}, {0.4, 0.5}}, 2));
  }
  // Clips: weights that sum to more than 1 under chi2.
  out.push_back(*mixture_candidate("clipped", {{.kind = DivergenceKind::kChi2}, {1.5, 1.5}}, 2));
  return out;
}

// Everything there is to know of one candidate: all replies and how the models see them.
struct Enumerated {
  std::vector<std::vector<TokenComparison>> tokens;
  std::vector<double> model;    // p of every reply
  std::vector<double> initial;  // p0
  bool clipped = false;
};

Enumerated enumerate(const SlotModel& model, const CandidateModel& candidate, double temperature) {
  static const std::vector<int32_t> kPrompt = {3, 1};
  const auto replies = all_replies(kVocabulary, kLength);
  std::vector<MenuReply> requests;
  requests.reserve(replies.size());
  for (const auto& reply : replies) requests.push_back({0, kPrompt, reply});
  const auto scored = score_menu(model, std::span(&candidate, 1), requests,
                                 {.temperature = temperature, .rows = 3});
  EXPECT_TRUE(scored.ok()) << (scored.ok() ? "" : scored.error().message);
  Enumerated out{*scored, {}, {}};
  for (const auto& tokens : out.tokens) {
    double log = 0;
    double initial = 0;
    for (const TokenComparison& token : tokens) {
      log += token.candidate_log;
      initial += token.initial_log;
      out.clipped = out.clipped || token.clipped;
    }
    out.model.push_back(std::exp(log));
    out.initial.push_back(std::exp(initial));
  }
  return out;
}

TEST(DivergenceEstimate, MeansOverAllRepliesAreTheExactDivergence) {
  for (const uint64_t seed : {1, 2, 3}) {
    const TableModel model(kVocabulary, 2, seed);
    for (const double temperature : {1.0, 0.7}) {
      for (const CandidateModel& candidate : some_candidates()) {
        const Enumerated all = enumerate(model, candidate, temperature);
        double total = 0;
        for (const double p : all.model) total += p;
        ASSERT_NEAR(total, 1, 1e-11) << candidate.name;
        EXPECT_EQ(all.clipped, candidate.name == "clipped");
        for (const Divergence& divergence : all_divergences()) {
          SCOPED_TRACE(candidate.name + " " + divergence_name(divergence.kind));
          const double exact = block_divergence(divergence, all.model, all.initial);
          double mean = 0;
          double log_ratio = 0;
          for (size_t x = 0; x < all.model.size(); ++x) {
            if (all.model[x] == 0) continue;  // never sampled
            const ReplyDivergence reply = reply_divergence(divergence, all.tokens[x]);
            mean += all.model[x] * reply.value;
            log_ratio += all.model[x] * reply.log_ratio;
          }
          if (std::isinf(exact)) {
            EXPECT_TRUE(all.clipped);
            EXPECT_EQ(mean, exact);
            continue;
          }
          EXPECT_NEAR(mean, exact, 1e-10 * (1 + exact));
          EXPECT_TRUE(divergence.kind != DivergenceKind::kKl ||
                      std::abs(log_ratio - exact) < 1e-10);
          EXPECT_TRUE(!is_initial(candidate) || mean == 0);
        }
      }
    }
  }
}

// Leaving out the stop token, or going on after the cut, is seen.
TEST(DivergenceEstimate, TheEndOfAReplyCounts) {
  const TableModel model(kVocabulary, 2, 1);
  const Enumerated all = enumerate(model, adapter_candidate("first", 0, 2), 1);
  const double exact = block_divergence({}, all.model, all.initial);
  double without_last = 0;
  for (size_t x = 0; x < all.model.size(); ++x) {
    std::span<const TokenComparison> tokens(all.tokens[x]);
    without_last += all.model[x] * reply_divergence({}, tokens.first(tokens.size() - 1)).value;
  }
  EXPECT_GT(std::abs(without_last - exact), 1e-2);
}

// The log-space forms against core's generators, and their limits where a ratio is not a double.
TEST(DivergenceEstimate, ContributionsFarAndNear) {
  for (const Divergence& divergence : all_divergences()) {
    SCOPED_TRACE(divergence_name(divergence.kind) + " " + std::to_string(divergence.alpha));
    if (divergence.kind == DivergenceKind::kKl) continue;
    const bool zero_is_finite = std::isfinite(generator(divergence, 0));
    for (double x = -30; x <= 30; x += 0.37) {
      const double r = std::exp(x);
      const double shift = zero_is_finite ? -generator(divergence, 0) * (1 - r)
                           : divergence.kind == DivergenceKind::kReverseKl ? r - 1
                                                                           : 0.0;
      const double expected = (generator(divergence, r) + shift) / r;
      const double size = (std::abs(generator(divergence, r)) + std::abs(shift)) / r;
      EXPECT_NEAR(ratio_contribution(divergence, x), expected, 1e-12 * (1 + size)) << x;
    }
    EXPECT_EQ(ratio_contribution(divergence, 0), 0);
    EXPECT_FALSE(std::isnan(ratio_contribution(divergence, 600)));
    EXPECT_FALSE(std::isnan(ratio_contribution(divergence, -600)));
  }
  EXPECT_NEAR(ratio_contribution({.kind = DivergenceKind::kJs}, 600), std::log(2.0), 1e-12);
  EXPECT_NEAR(ratio_contribution({.kind = DivergenceKind::kHellinger}, 600), 2, 1e-12);
  EXPECT_NEAR(ratio_contribution({.kind = DivergenceKind::kTv}, 600), 2, 1e-12);
  EXPECT_NEAR(ratio_contribution({.kind = DivergenceKind::kReverseKl}, 600), 1, 1e-12);
}

TEST(DivergenceEstimate, HeavyTailsShow) {
  std::vector<ReplyDivergence> replies(10, {.value = 0.1, .log_ratio = 0.2});
  DivergenceSummary summary = summarize(replies);
  EXPECT_NEAR(summary.mean, 0.1, 1e-15);
  EXPECT_NEAR(summary.standard_error, 0, 1e-15);
  EXPECT_NEAR(summary.largest_share, 0.1, 1e-15);
  replies[3] = {.value = 99.1, .log_ratio = 4.6};
  summary = summarize(replies);
  EXPECT_NEAR(summary.largest_share, 0.991, 1e-3);
  EXPECT_NEAR(summary.standard_error, 9.9, 1e-9);
  EXPECT_EQ(summary.largest_log_ratio, 4.6);
}

}  // namespace
}  // namespace candor
