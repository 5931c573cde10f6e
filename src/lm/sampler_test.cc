#include "lm/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <vector>

namespace candor {
namespace {

// The definition, by a full sort and in double: {id, probability} of the shortlist, most likely
// first.
std::vector<std::pair<int32_t, double>> exact(const std::vector<float>& logits,
                                              const SamplingOptions& options) {
  std::vector<int32_t> ids(logits.size());
  std::iota(ids.begin(), ids.end(), 0);
  std::ranges::stable_sort(ids, [&](int32_t a, int32_t b) {
    return logits[static_cast<size_t>(a)] > logits[static_cast<size_t>(b)];
  });
  if (options.top_k > 0) ids.resize(std::min(ids.size(), static_cast<size_t>(options.top_k)));
  const double largest = logits[static_cast<size_t>(ids[0])];
  std::vector<std::pair<int32_t, double>> out;
  double total = 0;
  for (const int32_t id : ids) {
    out.emplace_back(
        id, std::exp((double{logits[static_cast<size_t>(id)]} - largest) / options.temperature));
    total += out.back().second;
  }
  double mass = 0;
  size_t kept = 0;
  while (kept < out.size() && mass < options.top_p * total) mass += out[kept++].second;
  out.resize(kept);
  for (auto& item : out) item.second /= mass;
  return out;
}

std::vector<float> random_logits(size_t count, double spread, uint64_t seed) {
  RandomStream random({.seed = seed});
  std::vector<float> logits(count);
  for (float& x : logits) x = static_cast<float>(spread * random.normal());
  return logits;
}

// Chi-square over cells of at least five expected draws, fixed seeds; nothing outside the list.
void expect_draws_follow(const std::vector<float>& logits, const SamplingOptions& options) {
  const auto expected = exact(logits, options);
  std::map<int32_t, int> counts;
  static constexpr uint32_t kDraws = 3000;
  for (uint32_t draw = 0; draw < kDraws; ++draw) {
    ++counts[sample_token(logits, options, {.seed = 3, .sample = draw})];
  }
  double statistic = 0;
  int cells = 0;
  for (const auto& [id, probability] : expected) {
    const double mean = kDraws * probability;
    const int found = counts[id];
    counts.erase(id);
    if (mean < 5) continue;
    statistic += (found - mean) * (found - mean) / mean;
    ++cells;
  }
  EXPECT_TRUE(counts.empty()) << "drawn outside the shortlist: " << counts.begin()->first;
  EXPECT_LT(statistic, cells + 5 * std::sqrt(2.0 * cells));
}

TEST(Sampler, DrawsFollowTheDistribution) {
  for (const size_t count : {1, 17, 512, 513, 1500}) {
    const std::vector<float> logits = random_logits(count, 2, count);
    for (const double temperature : {0.3, 1.0, 2.5}) {
      for (const double top_p : {1.0, 0.9, 0.2}) {
        for (const int64_t top_k : {0, 5, 10000}) {
          SCOPED_TRACE(testing::Message() << count << " tokens, temperature " << temperature
                                          << ", top_p " << top_p << ", top_k " << top_k);
          expect_draws_follow(logits, {temperature, top_p, top_k});
        }
      }
    }
  }
}

// The inverse distribution function in the order of ids: the draw is where the uniform falls.
TEST(Sampler, InvertsTheDistributionFunction) {
  const std::vector<float> logits = random_logits(2000, 3, 11);
  double total = 0;
  for (const float x : logits) total += std::exp(double{x});
  for (uint32_t draw = 0; draw < 500; ++draw) {
    const RandomKey key{.seed = 4, .sample = draw};
    const auto id = static_cast<size_t>(sample_token(logits, {}, key));
    double below = 0;
    for (size_t v = 0; v < id; ++v) below += std::exp(double{logits[v]});
    const double above = below + std::exp(double{logits[id]});
    EXPECT_GE(random_uniform(key), below / total - 1e-6);
    EXPECT_LE(random_uniform(key), above / total + 1e-6);
  }
}

TEST(Sampler, TiesGoToTheLowerId) {
  const std::vector<float> logits = {1, 3, 3, 2, 3};
  EXPECT_EQ(sample_token(logits, {.temperature = 0}, {}), 1);
  for (uint32_t draw = 0; draw < 200; ++draw) {
    const RandomKey key{.seed = 5, .sample = draw};
    EXPECT_EQ(sample_token(logits, {.top_k = 1}, key), 1);
    EXPECT_LE(sample_token(logits, {.top_k = 2}, key), 2);
    EXPECT_EQ(sample_token(logits, {.top_p = 0.1}, key), 1);
  }
}

// The list is the fewest tokens whose mass reaches top_p: exactly half is reached by one of two.
TEST(Sampler, TopPKeepsTheTokenThatReachesIt) {
  const std::vector<float> logits = {0, 0, -1000};
  bool second = false;
  for (uint32_t draw = 0; draw < 200; ++draw) {
    const RandomKey key{.seed = 6, .sample = draw};
    EXPECT_EQ(sample_token(logits, {.top_p = 0.5}, key), 0);
    second |= sample_token(logits, {.top_p = 0.51}, key) == 1;
  }
  EXPECT_TRUE(second);
}

TEST(Sampler, NeverDrawsWhatIsMasked) {
  const float never = -std::numeric_limits<float>::infinity();
  std::vector<float> logits(2000, never);
  logits[1500] = -30;
  for (const SamplingOptions& options : {SamplingOptions{},
                                         {.temperature = 0},
                                         {.temperature = 1e-300},
                                         {.top_k = 7},
                                         {.top_p = 0.9},
                                         {.temperature = 50}}) {
    for (uint32_t draw = 0; draw < 50; ++draw) {
      EXPECT_EQ(sample_token(logits, options, {.seed = 7, .sample = draw}), 1500);
    }
  }
}

}  // namespace
}  // namespace candor
