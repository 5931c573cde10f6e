// The constants of normalisation come from a reference bank: another bank of the same size would
// have given others, and other figures. The intervals of a menu's settlement must hold those too.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/rng.h"
#include "core/table_estimate.h"
#include "study/menu_table.h"

namespace candor {
namespace {

constexpr size_t kPrompts = 48;
constexpr size_t kSamples = 4;
constexpr size_t kCandidates = 4;
const std::vector<int64_t> kSizes = {5, 20};

// Raw scores of a reply: group 0 has normal ones, group 1 the brevity of a reply of geometric
// length. A prompt moves all of its replies.
struct World {
  // [group][candidate]
  static constexpr double kLevel[2][kCandidates] = {{2.0, 1.6, 0.8, 0.0}, {60, 30, 15, 6}};

  static double score(size_t group, size_t candidate, double prompt, RandomStream& random) {
    if (group == 0) return kLevel[0][candidate] + 0.6 * prompt + random.normal();
    const double mean = kLevel[1][candidate] * std::exp(0.2 * prompt);
    return 1 / (1 - mean * std::log1p(-random.uniform()) / 20);
  }

  // Scores of the replies to every prompt: [n][K][prompts x samples], K = 1 for the initial model.
  static std::vector<std::vector<std::vector<double>>> bank(size_t candidates, size_t prompts,
                                                            size_t samples, RandomKey key) {
    RandomStream random(key);
    std::vector out(2, std::vector<std::vector<double>>(candidates));
    for (size_t q = 0; q < prompts; ++q) {
      const double prompt = random.normal();
      for (size_t group = 0; group < 2; ++group) {
        for (size_t k = 0; k < candidates; ++k) {
          for (size_t s = 0; s < samples; ++s) {
            out[group][k].push_back(score(group, k, prompt, random));
          }
        }
      }
    }
    return out;
  }
};

Study small_study() {
  Study out;
  out.normalization = "min_max";
  out.bank.samples = kSamples;
  out.reference_samples = kSamples;
  out.divergence.regularization = 1;
  out.groups.resize(2);
  out.groups[0].name = "kind";
  out.groups[1].name = "brief";
  return out;
}

double mean_reward(const std::vector<double>& scores, const Normalizer& scale) {
  double sum = 0;
  for (const double score : scores) {
    sum += std::clamp((score - scale.low) / (scale.high - scale.low), 0.0, 1.0);
  }
  return sum / static_cast<double>(scores.size());
}

struct Covered {
  int welfare = 0, payment = 0, utility = 0;
};

void count(const TableEstimate& estimate, const TableMeans& truth, Covered& out) {
  const SettlementEstimate& one = estimate.settlements[0];
  const auto total = [&](size_t k, size_t left_out) {
    double sum = -truth.divergences[k];
    for (size_t i = 0; i < 2; ++i) {
      if (i != left_out) sum += static_cast<double>(kSizes[i]) * truth.valuations[i][k];
    }
    return sum;
  };
  const auto holds = [](const Interval& interval, double value) {
    return interval.low <= value && value <= interval.high ? 1 : 0;
  };
  double best = -HUGE_VAL;
  for (size_t k = 0; k < kCandidates; ++k) best = std::max(best, total(k, 1));
  const double payment = best - total(one.winner, 1);
  const double valuation = static_cast<double>(kSizes[1]) * truth.valuations[1][one.winner];
  out.welfare += holds(one.welfare.interval, total(one.winner, SIZE_MAX));
  out.payment += holds(one.groups[1].payment.interval, payment);
  out.utility += holds(one.groups[1].utility.interval, valuation - payment);
}

TEST(ReferenceRedraws, IntervalsHoldTheFiguresOfAnotherReferenceBank) {
  static constexpr uint64_t kSeed = 11;
  static constexpr int kTrials = 200;
  const Study study = small_study();
  const auto population = World::bank(kCandidates, 4000, 2, {.seed = kSeed, .stream = 1});
  const std::vector<double> divergences = {0, 0.15, 0.4, 0.6};
  Covered with;
  Covered without;
  for (uint32_t trial = 0; trial < kTrials; ++trial) {
    MenuRun run;
    const auto reference =
        World::bank(1, kPrompts, kSamples, {.seed = kSeed, .stream = 2, .prompt = trial});
    const auto fresh =
        World::bank(1, kPrompts, kSamples, {.seed = kSeed, .stream = 3, .prompt = trial});
    const auto bank =
        World::bank(kCandidates, kPrompts, kSamples, {.seed = kSeed, .stream = 4, .prompt = trial});
    TableMeans truth{{}, divergences};
    for (size_t i = 0; i < 2; ++i) {
      run.reference_scores.push_back(reference[i][0]);
      run.normalizers.push_back(*Normalizer::fit("min_max", "", reference[i][0]));
      std::vector<double>& scores = run.bank.scores.emplace_back();
      for (const auto& row : bank[i]) scores.insert(scores.end(), row.begin(), row.end());
      const Normalizer other = *Normalizer::fit("min_max", "", fresh[i][0]);
      std::vector<double>& row = truth.valuations.emplace_back();
      for (const auto& all : population[i]) row.push_back(mean_reward(all, other));
    }
    for (size_t k = 0; k < kCandidates; ++k) {
      run.bank.candidates.push_back({.name = std::string(1, static_cast<char>('a' + k))});
      run.bank.divergences.insert(run.bank.divergences.end(), kPrompts * kSamples, divergences[k]);
    }
    MenuTable menu = *tabulate_menu(study, run.bank, run.normalizers, kPrompts);
    const TableEstimateOptions options{.seed = trial, .resamples = 200};
    count(*estimate_table(menu.menu, {kSizes}, options), truth, without);
    add_reference_redraws(study, run, menu);
    EXPECT_EQ(menu.menu.redrawn_valuations.size(), 400U);
    count(*estimate_table(menu.menu, {kSizes}, options), truth, with);
  }
  std::printf(
      "seed %d, %d trials: welfare %d, payment %d, utility %d held; without the reference "
      "bank %d, %d, %d\n",
      static_cast<int>(kSeed), kTrials, with.welfare, with.payment, with.utility, without.welfare,
      without.payment, without.utility);
  // 93 % of 200 trials, less three standard deviations of chance.
  for (const int held : {with.welfare, with.payment, with.utility}) EXPECT_GE(held, 176);
  for (const int held : {without.welfare, without.payment}) EXPECT_LT(held, 150);
}

TEST(ReferenceRedraws, ConstantsMoveBothWaysAndStayInOrder) {
  const auto bank = World::bank(1, kPrompts, kSamples, {.seed = 12});
  const Normalizer sealed = *Normalizer::fit("min_max", "", bank[0][0]);
  const auto redrawn =
      redrawn_normalizers(sealed, bank[0][0], {.rule = "min_max", .samples = kSamples});
  ASSERT_EQ(redrawn.size(), 400U);
  int wider = 0;
  int lower = 0;
  for (const Normalizer& one : redrawn) {
    EXPECT_GT(one.high, one.low);
    wider += one.high - one.low > sealed.high - sealed.low ? 1 : 0;
    lower += one.low < sealed.low ? 1 : 0;
  }
  EXPECT_NEAR(wider, 200, 60);
  EXPECT_NEAR(lower, 200, 60);
  // Under "max" nothing but the largest score counts.
  const auto largest =
      redrawn_normalizers({0, 1}, bank[1][0], {.rule = "max", .samples = kSamples});
  for (const Normalizer& one : largest) EXPECT_EQ(one.low, 0);
  // Three prompts, or a reward that hardly ever varies, say nothing.
  EXPECT_TRUE(
      redrawn_normalizers({0, 1}, {0, 1, 0, 1, 0, 1}, {.rule = "min_max", .samples = 2}).empty());
  std::vector<double> rare(kPrompts, 0.5);
  rare[3] = 1;
  EXPECT_TRUE(redrawn_normalizers({0.5, 1}, rare, {.rule = "min_max", .samples = 1}).empty());
}

}  // namespace
}  // namespace candor
