#include "core/table_estimate.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/rng.h"
#include "core/test_games.h"

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
      EXPECT_NEAR(estimate.settlements[s].welfare.estimate, from_fixed_point(settlement.welfare),
                  1e-7)
          << "seed " << seed;
      for (size_t i = 0; i < 2; ++i) {
        EXPECT_NEAR(estimate.settlements[s].groups[i].payment.estimate,
                    from_fixed_point(settlement.groups[i].payment), 1e-7)
            << "seed " << seed;
        EXPECT_NEAR(estimate.settlements[s].groups[i].utility.estimate,
                    from_fixed_point(settlement.groups[i].utility), 1e-7);
      }
    }
  }
}

TEST(TableEstimate, IntervalsCoverTheTruth) {
  const Population population;
  const int trials = 300;
  int value = 0;
  int divergence = 0;
  int welfare = 0;
  int payment = 0;
  int bernstein = 0;
  int bootstrap = 0;
  const DoubleSettlement truth =
      settle_doubles(population.centres, population.divergences, kSizes[0]);
  for (int trial = 0; trial < trials; ++trial) {
    const TableSamples samples = population.draw(60, static_cast<uint64_t>(trial) + 1);
    const TableEstimate e =
        estimate_table(samples, kSizes, {.seed = 7, .resamples = 400, .confidence = 0.95}).value();
    const auto covers = [](const Interval& interval, double at) {
      return interval.low <= at && at <= interval.high ? 1 : 0;
    };
    value += covers(e.valuations[0][1], population.centres[0][1]);
    divergence += covers(e.divergences[2], population.divergences[2]);
    welfare += covers(e.settlements[0].welfare, truth.welfare);
    payment += covers(e.settlements[0].groups[0].payment, truth.payments[0]);
    double largest = 0;
    for (size_t i = 0; i < 2; ++i) {
      for (size_t k = 0; k < 3; ++k) {
        largest =
            std::max(largest, std::abs(e.valuations[i][k].estimate - population.centres[i][k]));
      }
    }
    bernstein += largest <= e.epsilon_bernstein ? 1 : 0;
    bootstrap += largest <= e.epsilon_bootstrap ? 1 : 0;
  }
  // 95 % nominal; 300 trials have a standard deviation of 1.3 %.
  for (const int count : {value, divergence, welfare, payment, bootstrap}) {
    EXPECT_GE(count, static_cast<int>(0.90 * trials));
    EXPECT_LE(count, static_cast<int>(0.99 * trials));
  }
  EXPECT_EQ(bernstein, trials);  // a bound, far from tight at 60 prompts
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
  EXPECT_GT(e.settlements[0].welfare.high - e.settlements[0].welfare.low, 0.05);
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
