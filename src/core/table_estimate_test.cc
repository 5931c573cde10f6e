#include "core/table_estimate.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/rng.h"

namespace candor {
namespace {

// A population of prompts with known mean values: V[i][k] on a prompt is centre + spread x (a part
// shared by all candidates + a part of its own), uniform, so its mean is `centre`.
struct Population {
  std::vector<std::vector<double>> centres = {{0.30, 0.65, 0.70}, {0.80, 0.70, 0.25}};
  std::vector<double> divergences = {0.0, 0.4, 0.9};
  double spread = 0.2;

  [[nodiscard]] TableSamples draw(size_t prompts, uint64_t seed) const {
    RandomStream random({.seed = seed, .stream = 4711});
    TableSamples out;
    out.prompts = prompts;
    out.candidates = {"a", "b", "c"};
    out.groups = {"x", "y"};
    out.valuations.assign(2, std::vector<double>(3 * prompts));
    out.divergences.resize(3 * prompts);
    for (size_t q = 0; q < prompts; ++q) {
      const double shared = random.uniform() - 0.5;
      for (size_t k = 0; k < 3; ++k) {
        for (size_t i = 0; i < 2; ++i) {
          const double own = random.uniform() - 0.5;
          out.valuations[i][k * prompts + q] = centres[i][k] + spread * (shared + own);
        }
        out.divergences[k * prompts + q] = divergences[k] * (0.5 + random.uniform());
      }
    }
    return out;
  }
};

const std::vector<std::vector<int64_t>> kSizes = {{5, 5}, {7, 3}};

TEST(TableEstimate, DoublesAgreeWithTheIntegerSettlement) {
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    const TableSamples samples = Population{}.draw(9, seed);
    const TableEstimate estimate =
        estimate_table(samples, kSizes, {.seed = seed, .resamples = 10}).value();
    for (size_t s = 0; s < kSizes.size(); ++s) {
      const Table table = make_table(samples, kSizes[s], 1000).value();
      const Settlement settlement = settle(table);
      EXPECT_EQ(estimate.settlements[s].winner, settlement.winner);
      EXPECT_NEAR(estimate.settlements[s].welfare.interval.estimate,
                  from_fixed_point(settlement.welfare), 1e-7)
          << "seed " << seed;
      for (size_t i = 0; i < 2; ++i) {
        const SettlementEstimate::Group& group = estimate.settlements[s].groups[i];
        EXPECT_NEAR(group.payment.interval.estimate, from_fixed_point(settlement.groups[i].payment),
                    1e-7)
            << "seed " << seed;
        EXPECT_NEAR(group.utility.interval.estimate, from_fixed_point(settlement.groups[i].utility),
                    1e-7);
      }
    }
  }
}

// Settlements: tests/interval_coverage.cc.
TEST(TableEstimate, IntervalsOfTheTableCoverTheTruth) {
  const Population population;
  const int trials = 300;
  int value = 0;
  int divergence = 0;
  int bound = 0;
  int bootstrap = 0;
  for (int trial = 0; trial < trials; ++trial) {
    const TableSamples samples = population.draw(60, static_cast<uint64_t>(trial) + 1);
    const TableEstimate e =
        estimate_table(samples, kSizes, {.seed = 7, .resamples = 400, .confidence = 0.95}).value();
    const auto covers = [](const Interval& interval, double at) {
      return interval.low <= at && at <= interval.high ? 1 : 0;
    };
    value += covers(e.valuations[0][1], population.centres[0][1]);
    divergence += covers(e.divergences[2], population.divergences[2]);
    double largest = 0;
    for (size_t i = 0; i < 2; ++i) {
      for (size_t k = 0; k < 3; ++k) {
        largest =
            std::max(largest, std::abs(e.valuations[i][k].estimate - population.centres[i][k]));
      }
    }
    bound += largest <= e.epsilon_bound ? 1 : 0;
    bootstrap += largest <= e.epsilon_bootstrap ? 1 : 0;
    EXPECT_FALSE(e.epsilon_by_variance);  // Hoeffding's: 60 prompts say too little of a variance
  }
  // 95 % nominal; 300 trials have a standard deviation of 1.3 %.
  for (const int count : {value, divergence, bootstrap}) {
    EXPECT_GE(count, static_cast<int>(0.90 * trials));
    EXPECT_LE(count, static_cast<int>(0.99 * trials));
  }
  EXPECT_EQ(bound, trials);  // far from tight at 60 prompts
}

TEST(TableEstimate, TheBoundSaysWhatItIs) {
  const double delta = 0.05 / 6;
  for (const size_t prompts : {40, 400}) {
    const TableEstimate e =
        estimate_table(Population{}.draw(prompts, 1), kSizes, {.resamples = 10}).value();
    const double hoeffding = std::sqrt(std::log(2 / delta) / (2 * static_cast<double>(prompts)));
    if (e.epsilon_by_variance) {
      EXPECT_LT(e.epsilon_bound, 0.9 * hoeffding);
    } else {
      EXPECT_NEAR(e.epsilon_bound, hoeffding, 1e-12);
    }
    EXPECT_EQ(e.epsilon_by_variance, prompts == 400);
  }
}

// The constants of normalisation are one more source of error, independent of the prompts: here it
// moves every value by +-0.05.
TEST(TableEstimate, AnotherReferenceBankBelongsInTheIntervals) {
  TableSamples samples = Population{.spread = 0.24}.draw(40, 3);
  const TableEstimate without = estimate_table(samples, kSizes, {.resamples = 4000}).value();
  EXPECT_EQ(without.redrawn_banks, 0U);
  const TableMeans means = means_of_samples(samples);
  for (int r = 0; r < 50; ++r) {
    auto& draw = samples.redrawn_valuations.emplace_back(means.valuations);
    for (auto& row : draw) {
      for (double& value : row) value += r % 2 == 0 ? 0.05 : -0.05;
    }
  }
  const TableEstimate with = estimate_table(samples, kSizes, {.resamples = 4000}).value();
  EXPECT_EQ(with.redrawn_banks, 50U);
  const auto half = [](const Interval& interval) { return (interval.high - interval.low) / 2; };
  // Student's half-width at 39 degrees is 2.023 standard errors. The sum of a normal of that
  // error and a coin of 0.05 has the quantile q with P(|N + 0.05| > q) = 0.05.
  const double error = half(without.valuations[0][1]) / 2.023;
  const auto miss = [&](double q) {
    return (std::erfc((q - 0.05) / error / std::sqrt(2.0)) +
            std::erfc((q + 0.05) / error / std::sqrt(2.0))) /
           2;
  };
  EXPECT_NEAR(miss(half(with.valuations[0][1])), 0.05, 0.012);
  for (size_t s = 0; s < kSizes.size(); ++s) {
    EXPECT_GT(half(with.settlements[s].welfare.interval),
              1.2 * half(without.settlements[s].welfare.interval));
    EXPECT_GT(half(with.settlements[s].groups[0].valuation.interval),
              1.2 * half(without.settlements[s].groups[0].valuation.interval));
  }
  EXPECT_EQ(with.epsilon_bootstrap, without.epsilon_bootstrap);  // of the rewards as they are
}

TEST(TableEstimate, CloseCallsAreCalled) {
  TableSamples samples;
  samples.prompts = 30;
  samples.groups = {"x"};
  samples.candidates = {"first", "twin", "other", "far"};
  samples.valuations = {std::vector<double>(120)};
  samples.divergences.assign(120, 0.0);
  RandomStream random({.seed = 9, .stream = 4713});
  for (size_t q = 0; q < 30; ++q) {
    const double value = random.uniform();
    samples.valuations[0][q] = samples.valuations[0][30 + q] = value;
    samples.valuations[0][60 + q] = 1 - value;  // symmetric: as good, and far apart on a prompt
    samples.valuations[0][90 + q] = 0.2 * value;
  }
  const auto one = [](const TableSamples& given) {
    return estimate_table(given, {{3}}, {.resamples = 1000}).value().settlements[0];
  };
  const SettlementEstimate close = one(samples);
  EXPECT_TRUE(close.close_call());
  EXPECT_EQ(close.contenders.size(), 2U);  // its twin is the same model, "far" is beaten
  EXPECT_GT(close.welfare.bias, 0);
  // Without its rival the choice is clear, though a twin shares the first place.
  for (size_t q = 0; q < 30; ++q) samples.valuations[0][60 + q] = 0.1;
  const SettlementEstimate clear = one(samples);
  EXPECT_FALSE(clear.close_call());
  EXPECT_EQ(clear.contenders, std::vector<size_t>{0});
  EXPECT_NEAR(clear.welfare.bias, 0, 1e-9);
}

TEST(TableEstimate, AFaultInTheResamplingWouldBeSeen) {
  // Prompts of candidates resampled apart would widen the welfare difference of two candidates that
  // share their noise: here they are equal on every prompt, so one of them never wins.
  TableSamples samples;
  samples.prompts = 20;
  samples.candidates = {"low", "high"};
  samples.groups = {"x"};
  samples.valuations = {std::vector<double>(40)};
  samples.divergences.assign(40, 0.0);
  RandomStream random({.seed = 3, .stream = 4712});
  for (size_t q = 0; q < 20; ++q) {
    samples.valuations[0][q] = 0.9 * random.uniform();
    samples.valuations[0][20 + q] = samples.valuations[0][q] + 0.01;
  }
  const TableEstimate e = estimate_table(samples, {{1}}, {.resamples = 500}).value();
  EXPECT_EQ(e.settlements[0].win_share[0], 0);
  EXPECT_EQ(e.settlements[0].win_share[1], 1);
  EXPECT_GT(e.settlements[0].welfare.interval.high - e.settlements[0].welfare.interval.low, 0.05);
  EXPECT_FALSE(e.settlements[0].close_call());
}

TEST(TableEstimate, BadSamplesAreRefused) {
  TableSamples samples = Population{}.draw(5, 1);
  samples.valuations[1][3] = 1.5;
  const auto bad = estimate_table(samples, kSizes, {});
  ASSERT_FALSE(bad.ok());
  EXPECT_NE(bad.error().message.find("group \"y\", candidate \"a\", prompt 3: found 1.5"),
            std::string::npos)
      << bad.error().message;
  EXPECT_FALSE(estimate_table(Population{}.draw(1, 1), kSizes, {}).ok());
  EXPECT_FALSE(estimate_table(Population{}.draw(5, 1), {{1}}, {}).ok());
}

}  // namespace
}  // namespace candor
