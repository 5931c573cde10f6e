#include "core/deviation_experiment.h"

#include <gtest/gtest.h>

#include <cmath>

namespace candor {
namespace {

// NeurIPS Table 1 within 5 %, the noise of 40,000 games included (catalog: 100,000 games).
TEST(DeviationExperiment, PublishedTable) {
  const std::vector<double> epsilons = {.001, .002, .005, .01, .02, .05, .1};
  const std::vector<double> valuation = {.1073, .2096, .4881, .8667, 1.3674, 1.7978, 1.8154};
  const std::vector<double> utility = {-.1064,   -.4135,   -2.3696, -8.1557,
                                       -23.7334, -53.1552, -55.8977};
  const auto rows = run_deviations({.games = 40000}, epsilons).value();
  for (size_t e = 0; e < epsilons.size(); ++e) {
    EXPECT_NEAR(100 * rows[e].valuation_change, valuation[e], 0.06 * valuation[e]);
    EXPECT_NEAR(1e4 * rows[e].utility_change, utility[e], 0.06 * std::abs(utility[e]));
    EXPECT_LT(rows[e].utility_change, 0);
  }
}

TEST(DeviationExperiment, DoesNotDependOnThreads) {
  const auto one = run_deviations({.games = 500, .threads = 1}, {.01}).value();
  const auto two = run_deviations({.games = 500, .threads = 2}, {.01}).value();
  EXPECT_EQ(one[0].valuation_change, two[0].valuation_change);
  EXPECT_EQ(one[0].utility_change, two[0].utility_change);
  EXPECT_FALSE(run_deviations({.games = 0}, {.01}).ok());
  EXPECT_FALSE(run_deviations({}, {std::nan("")}).ok());
}

}  // namespace
}  // namespace candor
