// Bands, errors and biases of estimated settlements, each against a number known otherwise.
#include "core/settlement_bands.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/rng.h"
#include "core/table_resampling.h"

namespace candor {
namespace {

ErrorDraws normal_draws(size_t count, double spread, uint32_t stream) {
  RandomStream random({.seed = 5, .stream = stream});
  ErrorDraws out(count);
  for (double& value : out) value = spread * random.normal();
  return out;
}

TEST(ErrorDraws, QuantilesLieBetweenNeighbours) {
  EXPECT_EQ(quantile({3, 1, 2}, 0), 1);
  EXPECT_EQ(quantile({3, 1, 2}, 0.5), 2);
  EXPECT_NEAR(quantile({3, 1, 2}, 0.75), 2.5, 1e-15);
  EXPECT_EQ(quantile({7}, 0.3), 7);
}

// Independent normals have the critical values of Sidak: Phi(c)^m = level.
TEST(ErrorDraws, CriticalValuesOfManyNormals) {
  static constexpr size_t kDraws = 40000;
  const auto phi = [](double x) { return std::erfc(-x / std::sqrt(2.0)) / 2; };
  for (const uint32_t members : {1U, 5U, 20U}) {
    LargestErrors above(kDraws, 1);
    LargestErrors both(kDraws, 1);
    for (uint32_t m = 0; m < members; ++m) {
      const ErrorDraws errors = normal_draws(kDraws, 0.1 + m, m);
      above.add(errors, spread_of(errors), ErrorSide::kAbove);
      both.add(errors, spread_of(errors), ErrorSide::kBoth);
    }
    // Standard deviation of a level 0.95 over 40000 draws: 0.0011.
    EXPECT_NEAR(std::pow(phi(above.critical_value(0.95)), members), 0.95, 0.005) << members;
    EXPECT_NEAR(std::pow(2 * phi(both.critical_value(0.95)) - 1, members), 0.95, 0.005) << members;
  }
}

// What does not vary is known, and enters no family.
TEST(ErrorDraws, RoundingIsNoSpread) {
  LargestErrors largest(3, 1);
  largest.add(ErrorDraws{1e-15, -1e-15, 1e-15}, 1e-15, ErrorSide::kBoth);
  EXPECT_EQ(largest.critical_value(0.99), 0);
}

TableSamples one_column(const std::vector<double>& values) {
  TableSamples out;
  out.prompts = values.size();
  out.candidates = {"only"};
  out.groups = {"x"};
  out.valuations = {values};
  out.divergences.assign(values.size(), 0.0);
  return out;
}

// One mean gets Student's interval: t(0.975) is 4.303, 2.776, 2.093 at 2, 4, 19 degrees.
TEST(TableResampling, OneMeanHasStudentsInterval) {
  for (const auto& [prompts, student] :
       {std::pair<size_t, double>{3, 4.303}, {5, 2.776}, {20, 2.093}}) {
    RandomStream random({.seed = 6, .stream = static_cast<uint32_t>(prompts)});
    std::vector<double> values(prompts);
    for (double& value : values) value = random.uniform();
    double mean = 0;
    for (const double value : values) mean += value / static_cast<double>(prompts);
    double squares = 0;
    for (const double value : values) squares += (value - mean) * (value - mean);
    const auto n = static_cast<double>(prompts);
    const TableErrors errors = draw_errors(one_column(values), {.draws = 20000});
    std::vector<double> sizes;
    for (const double error : errors.valuations[0][0]) sizes.push_back(std::abs(error));
    EXPECT_NEAR(quantile(sizes, 0.95) / (student * std::sqrt(squares / (n - 1) / n)), 1, 0.04)
        << prompts;
  }
}

// Three candidates far apart: every band is the interval of one linear figure.
TEST(SettlementBands, FarApartTheyAreIntervalsOfOneFigure) {
  static constexpr size_t kDraws = 20000;
  const TableMeans means{{{0.1, 0.9, 0.5}, {0.9, 0.6, 0.1}}, {0, 0.5, 0.2}};
  TableErrors errors;
  uint32_t stream = 0;
  for (int i = 0; i < 2; ++i) {
    errors.valuations.emplace_back();
    for (int k = 0; k < 3; ++k) {
      errors.valuations.back().push_back(normal_draws(kDraws, 0.001, ++stream));
    }
  }
  for (int k = 0; k < 3; ++k) errors.divergences.push_back(normal_draws(kDraws, 0.002, ++stream));
  // T = (13 x .1 + 7 x .9, 13 x .9 + 7 x .6 - .5, ..): the second wins; without the first group
  // candidate 0 would (6.3 against 3.7), without the second the second still does.
  const SettlementBands bands =
      settlement_bands(means, errors, {.sizes = {13, 7}, .winner = 1, .confidence = 0.95});
  EXPECT_EQ(bands.contenders, std::vector<size_t>{1});
  // 90 % of the error probability: 2.0047 standard errors on each side.
  const auto expect_band = [](const Band& band, double middle, double error) {
    EXPECT_NEAR(band.low, middle - 2.0047 * error, 0.06 * error);
    EXPECT_NEAR(band.high, middle + 2.0047 * error, 0.06 * error);
  };
  const double both = 1e-6 * (13 * 13 + 7 * 7);
  expect_band(bands.welfare, 11.7 + 4.2 - 0.5, std::sqrt(both + 4e-6));
  expect_band(bands.groups[0].valuation, 11.7, 0.013);
  // 7 (.9 - .6) - (0 - .5): two values of one group and two divergences.
  expect_band(bands.groups[0].payment, 2.6, std::sqrt(2 * 49e-6 + 8e-6));
  expect_band(bands.groups[0].utility, 15.4 - 6.3, std::sqrt(both + 49e-6 + 8e-6));
  EXPECT_EQ(bands.groups[1].payment.low, 0);
  EXPECT_EQ(bands.groups[1].payment.high, 0);
  expect_band(bands.groups[1].utility, 4.2, 0.007);
}

// Two candidates of equal true totals, independent errors e: the larger of the two is too large by
// e / sqrt(pi) on average, which is what the half samples must say.
TEST(TableResampling, TheBiasOfATieIsThatOfALargerNormal) {
  static constexpr size_t kPrompts = 40;
  static constexpr int kTables = 600;
  double tie = 0;
  double far = 0;
  double payment = 0;
  double seen = 0;
  RandomStream random({.seed = 8, .stream = 4714});
  for (int table = 0; table < kTables; ++table) {
    TableSamples samples;
    samples.prompts = kPrompts;
    samples.candidates = {"a", "b"};
    samples.groups = {"x", "y"};
    samples.valuations.assign(2, std::vector<double>(2 * kPrompts, 0.5));
    samples.divergences.assign(2 * kPrompts, 0.0);
    for (double& value : samples.valuations[0]) value = 0.5 + 0.02 * random.normal();
    const ResamplingOptions options{.seed = static_cast<uint64_t>(table), .draws = 100};
    const ChoiceBias bias = choice_bias(samples, {{10, 1}}, options)[0];
    tie += bias.welfare / kTables;
    payment += bias.payments[1] / kTables;
    seen += (settle_doubles(means_of_samples(samples), {10, 1}).welfare - 5.5) / kTables;
    for (size_t q = 0; q < kPrompts; ++q) samples.valuations[0][q] += 0.3;
    far += choice_bias(samples, {{10, 1}}, options)[0].welfare / kTables;
  }
  const double error = 10 * 0.02 / std::sqrt(static_cast<double>(kPrompts));
  const double expected = error / std::sqrt(std::acos(-1.0));
  EXPECT_NEAR(seen, expected, 0.2 * expected);  // the simulation itself
  EXPECT_NEAR(tie, expected, 0.25 * expected);
  EXPECT_NEAR(far, 0, 0.1 * expected);
  // Without y the other group chooses the same: it pays 0 in every table.
  EXPECT_NEAR(payment, 0, 1e-12);
}

}  // namespace
}  // namespace candor
