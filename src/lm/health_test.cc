#include "lm/health.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "base/rng.h"

namespace candor {
namespace {

// A run in good health: the reward rises, the KL grows and settles, the judge rises too.
std::vector<HealthPoint> healthy(int64_t steps) {
  RandomStream random({.seed = 11});
  std::vector<HealthPoint> history;
  for (int64_t step = 1; step <= steps; ++step) {
    const double progress = static_cast<double>(step) / static_cast<double>(steps);
    HealthPoint point;
    point.step = step;
    point.reward = 0.4 + 0.2 * progress + 0.02 * random.normal();
    point.kl = 4 * progress + 0.2 * random.uniform();
    point.entropy = 3 - 0.8 * progress + 0.1 * random.normal();
    point.equal_groups = 0.1;
    point.truncated_share = 0.5;
    point.sampler_disagreement = 0.004;
    point.judge = 0.5 + 0.05 * progress + 0.02 * random.normal();
    history.push_back(point);
  }
  return history;
}

using Plant = std::function<void(HealthPoint& point, double progress)>;

// The kinds found after a fault was planted in a healthy history.
std::vector<HealthKind> kinds_after(const Plant& plant) {
  std::vector<HealthPoint> history = healthy(40);
  for (HealthPoint& point : history) plant(point, static_cast<double>(point.step) / 40);
  std::vector<HealthKind> kinds;
  for (const HealthWarning& warning : check_health(history)) {
    EXPECT_FALSE(warning.message.empty());
    kinds.push_back(warning.kind);
  }
  return kinds;
}

TEST(Health, AHealthyRunIsQuiet) {
  const std::vector<HealthPoint> history = healthy(40);
  for (size_t steps = 0; steps <= history.size(); ++steps) {
    EXPECT_TRUE(check_health(std::span(history).first(steps)).empty()) << steps;
  }
}

TEST(Health, PlantedFaultsAreNamed) {
  const auto only = [](HealthKind kind, const Plant& plant) {
    EXPECT_EQ(kinds_after(plant), std::vector<HealthKind>{kind}) << health_name(kind);
  };
  only(HealthKind::kKlExplodes, [](HealthPoint& p, double t) { p.kl = std::exp(6 * t - 1); });
  only(HealthKind::kEntropyCollapse,
       [](HealthPoint& p, double t) { p.entropy *= std::exp(-4 * t); });
  only(HealthKind::kNoSignal, [](HealthPoint& p, double t) { p.equal_groups = t > 0.9 ? 1 : 0; });
  only(HealthKind::kJudgeFalls, [](HealthPoint& p, double t) { *p.judge -= 0.3 * t; });
  only(HealthKind::kSamplerDisagreement,
       [](HealthPoint& p, double t) { p.sampler_disagreement = t > 0.7 ? 0.2 : 0.01; });
  only(HealthKind::kNoEnd, [](HealthPoint& p, double t) { p.truncated_share = t > 0.7 ? 1 : 0.5; });
  only(HealthKind::kNotFinite, [](HealthPoint& p, double) {
    if (p.step == 17) p.invalid = "loss/policy_avg";
  });
}

TEST(Health, NotFiniteNamesItsStepAndSilencesTheRest) {
  std::vector<HealthPoint> history = healthy(40);
  history[16].invalid = "objective/kl";
  for (HealthPoint& point : history) point.equal_groups = 1;
  const std::vector<HealthWarning> warnings = check_health(history);
  ASSERT_EQ(warnings.size(), 1U);
  EXPECT_EQ(warnings[0].step, 17);
  EXPECT_EQ(warnings[0].message, "objective/kl is not finite");
}

// What is not a fault: a large KL that the reward does not pay for is another problem; a judge that
// falls while the reward falls too; a judge that is not there.
TEST(Health, NeighboursOfAFaultAreQuiet) {
  EXPECT_TRUE(kinds_after([](HealthPoint& p, double t) {
                p.kl = std::exp(6 * t - 1);
                p.reward = 0.6 - 0.2 * t;
                p.judge.reset();
              }).empty());
  EXPECT_TRUE(kinds_after([](HealthPoint& p, double t) {
                *p.judge -= 0.3 * t;
                p.reward = 0.6 - 0.2 * t;
              }).empty());
  EXPECT_TRUE(kinds_after([](HealthPoint& p, double) { p.judge.reset(); }).empty());
  EXPECT_TRUE(kinds_after([](HealthPoint& p, double) { p.kl = 30; }).empty());
}

TEST(Health, SeveralFaultsComeInOrder) {
  const std::vector<HealthKind> kinds = kinds_after([](HealthPoint& p, double t) {
    p.kl = std::exp(6 * t - 1);
    p.entropy *= std::exp(-4 * t);
    p.equal_groups = 1;
  });
  EXPECT_EQ(kinds, (std::vector<HealthKind>{HealthKind::kKlExplodes, HealthKind::kEntropyCollapse,
                                            HealthKind::kNoSignal}));
}

}  // namespace
}  // namespace candor
