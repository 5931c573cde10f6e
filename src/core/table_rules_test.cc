#include "core/table_rules.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/rng.h"
#include "core/table_audit.h"

namespace candor {
namespace {

Table random_table(uint64_t seed) {
  RandomStream random({.seed = seed, .stream = 4713});
  Table table;
  table.max_size = 20;
  const size_t candidates = 2 + random.below(4);
  for (size_t k = 0; k < candidates; ++k) {
    table.candidates.push_back(
        {.name = "c" + std::to_string(k),
         .divergence = static_cast<int64_t>(random.uniform() * 0.8 * kFixedPointOne)});
  }
  const size_t groups = 1 + random.below(3);
  for (size_t i = 0; i < groups; ++i) {
    Table::Group group{.name = "g" + std::to_string(i),
                       .group_size = static_cast<int64_t>(1 + random.below(9)),
                       .valuations = {}};
    for (size_t k = 0; k < candidates; ++k) {
      group.valuations.push_back(static_cast<int64_t>(random.uniform() * kFixedPointOne));
    }
    table.groups.push_back(group);
  }
  return table;
}

// The rule on a table in which a group's report has replaced its truth, by the definition in
// doubles.
size_t choose(const Table& table, TableRule rule) {
  size_t best = 0;
  double most = -HUGE_VAL;
  for (size_t k = 0; k < table.candidates.size(); ++k) {
    double least = HUGE_VAL;
    double logs = 0;
    double sum = 0;
    for (const Table::Group& group : table.groups) {
      const double v = from_fixed_point(group.valuations[k]);
      least = std::min(least, v);
      logs += static_cast<double>(group.group_size) * std::log(v);
      sum += static_cast<double>(group.group_size) * v;
    }
    const double value = (rule == TableRule::kMaxMin ? least
                          : rule == TableRule::kNash ? logs
                                                     : sum) -
                         from_fixed_point(table.candidates[k].divergence);
    if (value > most) {
      most = value;
      best = k;
    }
  }
  return best;
}

TEST(TableRules, NoRandomReportBeatsTheExactGain) {
  for (const TableRule rule : {TableRule::kSwMax, TableRule::kMaxMin, TableRule::kNash}) {
    int lies = 0;
    int reached = 0;
    for (uint64_t seed = 1; seed <= 60; ++seed) {
      const Table truth = random_table(seed);
      const TableRuleOutcome outcome =
          apply_table_rule(truth, {.rule = rule, .candidates = {}}).value();
      ASSERT_EQ(outcome.winner, choose(truth, rule)) << "seed " << seed;
      RandomStream random({.seed = seed, .stream = 4714});
      for (size_t i = 0; i < truth.groups.size(); ++i) {
        const auto& own = truth.groups[i];
        double best = 0;
        for (int trial = 0; trial < 400; ++trial) {
          Table lie = truth;
          lie.groups[i].group_size = static_cast<int64_t>(1 + random.below(20));
          for (int64_t& value : lie.groups[i].valuations) {
            const double u = random.uniform();
            value = static_cast<int64_t>((u < 0.3   ? 0.0
                                          : u > 0.7 ? 1.0
                                                    : random.uniform()) *
                                         kFixedPointOne);
          }
          const size_t winner = choose(lie, rule);
          best = std::max(
              best, static_cast<double>(own.group_size) *
                        from_fixed_point(own.valuations[winner] - own.valuations[outcome.winner]));
        }
        EXPECT_LE(best, outcome.deviation_gain[i] + 1e-9) << "seed " << seed << " group " << i;
        lies += outcome.deviation_gain[i] > 0 ? 1 : 0;
        reached += best > outcome.deviation_gain[i] - 1e-9 ? 1 : 0;
      }
    }
    EXPECT_GT(lies, 5);
    EXPECT_GT(reached, 60);  // the bound is met, not only kept
  }
}

TEST(TableRules, SwMaxIsTheAuditWithoutPayments) {
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    const Table table = random_table(seed);
    const TableRuleOutcome outcome = apply_table_rule(table, {}).value();
    const TableAudit audit = audit_table(table, PaymentRule::kZero).value();
    EXPECT_EQ(outcome.winner, settle(table).winner);
    for (size_t i = 0; i < table.groups.size(); ++i) {
      EXPECT_DOUBLE_EQ(outcome.deviation_gain[i], from_fixed_point(audit.groups[i].deviation_gain))
          << "seed " << seed;
    }
  }
}

TEST(TableRules, FixedChoicesCannotBeMoved) {
  const Table table = random_table(5);
  const TableRuleOutcome fixed =
      apply_table_rule(table, {.rule = TableRule::kFixed, .candidates = {1}}).value();
  EXPECT_EQ(fixed.winner, 1U);
  for (const double gain : fixed.deviation_gain) EXPECT_EQ(gain, 0);
  const TableRuleOutcome all =
      apply_table_rule(table, {.rule = TableRule::kBestOf, .candidates = {0, 1}}).value();
  EXPECT_LE(all.winner, 1U);
  EXPECT_FALSE(apply_table_rule(table, {.rule = TableRule::kFixed, .candidates = {}}).ok());
  EXPECT_FALSE(apply_table_rule(table, {.rule = TableRule::kFixed, .candidates = {99}}).ok());
}

TEST(TableRules, FairnessOfKnownVectors) {
  EXPECT_DOUBLE_EQ(gini_index({1, 1, 1}), 0);
  EXPECT_DOUBLE_EQ(gini_index({0, 1}), 0.5);
  EXPECT_DOUBLE_EQ(gini_index({0, 0}), 0);
  EXPECT_DOUBLE_EQ(jain_index({2, 2}), 1);
  EXPECT_DOUBLE_EQ(jain_index({0, 3}), 0.5);
  EXPECT_DOUBLE_EQ(jain_index({0, 0}), 1);
}

}  // namespace
}  // namespace candor
