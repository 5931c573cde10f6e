#include "core/table_audit.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/rng.h"

namespace candor {
namespace {

// Values on a grid of halves and sizes 1..3: every report can be tried.
constexpr int64_t kHalf = kFixedPointOne / 2;

Table coarse_table(uint64_t seed) {
  RandomStream random({.seed = seed, .stream = 6});
  Table table;
  table.max_size = 3;
  const size_t count = 2 + random.below(2);
  for (size_t k = 0; k < count; ++k) {
    table.candidates.push_back(
        {"k" + std::to_string(k), (static_cast<int64_t>(random.below(5)) - 1) * kHalf});
  }
  for (size_t i = 0; i < 1 + random.below(3); ++i) {
    Table::Group group{"g" + std::to_string(i), static_cast<int64_t>(1 + random.below(3)), {}};
    for (size_t k = 0; k < count; ++k) {
      group.valuations.push_back(static_cast<int64_t>(random.below(3)) * kHalf);
    }
    table.groups.push_back(group);
  }
  return table;
}

Int128 utility_of(const Table& truth, size_t group, const Table& lied, PaymentRule payments,
                  const std::vector<Int128>& prices) {
  const Settlement settled = settle(lied);
  const Table::Group& type = truth.groups[group];
  const Int128 value = Int128{type.group_size} * type.valuations[settled.winner];
  if (payments == PaymentRule::kAffine) return value - settled.groups[group].payment;
  if (payments == PaymentRule::kPayReport) return value - settled.groups[group].valuation;
  if (payments == PaymentRule::kGiven) return value - prices[settled.winner];
  return value;
}

// Every report on a grid twice as fine as the table's; the audit's optimum may lie off the grid
// (one unit above a tie), so: nothing on the grid beats it, and its report attains what it claims.
TEST(TableAudit, AgreesWithEveryReport) {
  for (uint64_t seed = 1; seed <= 400; ++seed) {
    SCOPED_TRACE(seed);
    const Table table = coarse_table(seed);
    RandomStream random({.seed = seed, .stream = 8});
    std::vector<std::vector<Int128>> prices;
    for (size_t i = 0; i < table.groups.size(); ++i) {
      prices.emplace_back();
      for (size_t k = 0; k < table.candidates.size(); ++k) {
        prices.back().push_back(Int128{static_cast<int64_t>(random.below(5))} * kHalf);
      }
    }
    for (const PaymentRule rule :
         {PaymentRule::kAffine, PaymentRule::kZero, PaymentRule::kPayReport, PaymentRule::kGiven}) {
      const TableAudit audit = *audit_table(table, rule, prices);
      for (size_t i = 0; i < table.groups.size(); ++i) {
        const TableGroupAudit& found = audit.groups[i];
        Table lied = table;
        lied.groups[i].group_size = found.best_size;
        lied.groups[i].valuations = found.best_valuations;
        ASSERT_TRUE(utility_of(table, i, lied, rule, prices[i]) == found.best_utility);
        ASSERT_EQ(settle(lied).winner, found.best_candidate);
        if (rule == PaymentRule::kAffine) {
          ASSERT_TRUE(found.deviation_gain == 0);
        }
        lied.groups[i].valuations = table.groups[i].valuations;
        Int128 best_size_gain = 0;
        for (int64_t size = 1; size <= table.max_size; ++size) {
          lied.groups[i].group_size = size;
          best_size_gain = std::max(
              best_size_gain, utility_of(table, i, lied, rule, prices[i]) - found.utility_truth);
        }
        const auto sizes =
            std::ranges::find(found.families, "size_inflation", &TableFamilyResult::family);
        ASSERT_NE(sizes, found.families.end());
        ASSERT_TRUE(sizes->deviation_gain == best_size_gain) << "rule " << static_cast<int>(rule);
        const size_t count = table.candidates.size();
        size_t combinations = 1;
        for (size_t k = 0; k < count; ++k) combinations *= 5;
        for (int64_t size = 1; size <= table.max_size; ++size) {
          for (size_t code = 0; code < combinations; ++code) {
            size_t rest = code;
            lied.groups[i].group_size = size;
            for (int64_t& value : lied.groups[i].valuations) {
              value = static_cast<int64_t>(rest % 5) * (kHalf / 2);
              rest /= 5;
            }
            ASSERT_TRUE(utility_of(table, i, lied, rule, prices[i]) <= found.best_utility)
                << "rule " << static_cast<int>(rule) << " size " << size << " code " << code;
          }
        }
      }
    }
  }
}

TEST(TableAudit, SaysProfitableOnlyForAGain) {
  Table table;
  table.candidates = {{"a", 0}, {"b", 0}};
  table.groups = {{"x", 1, {kFixedPointOne, 0}}, {"y", 2, {0, kFixedPointOne}}};
  EXPECT_FALSE(audit_table(table, PaymentRule::kAffine)->profitable);
  const TableAudit zero = *audit_table(table, PaymentRule::kZero);
  EXPECT_TRUE(zero.profitable);
  EXPECT_TRUE(zero.groups[0].deviation_gain == kFixedPointOne);
  EXPECT_TRUE(zero.groups[1].deviation_gain == 0);
  EXPECT_EQ(zero.groups[0].bound, "exact");
  // With at most one agent per group, x cannot outvote y's two.
  table.max_size = 2;
  EXPECT_TRUE(audit_table(table, PaymentRule::kZero)->profitable) << "a tie goes to x's own vote";
  table.groups[1].group_size = 2;
  std::swap(table.groups[0], table.groups[1]);
  EXPECT_FALSE(audit_table(table, PaymentRule::kZero)->profitable) << "now the tie goes to y";
}

// One unit too cheap is a profitable lie, and is found.
TEST(TableAudit, CatchesAPlantedFault) {
  Table table;
  table.candidates = {{"a", 0}, {"b", 12345}, {"c", 999}};
  table.groups = {{"x", 3, {kFixedPointOne, 7, kHalf}}, {"y", 2, {0, kFixedPointOne, kHalf}}};
  std::vector<std::vector<Int128>> prices;
  for (const Settlement::Group& group : settle(table).groups) prices.push_back(group.prices);
  EXPECT_FALSE(audit_table(table, PaymentRule::kGiven, prices)->profitable);
  const size_t winner = settle(table).winner;
  const size_t other = (winner + 1) % 3;
  const Int128 truth = Int128{3} * table.groups[0].valuations[winner] - prices[0][winner];
  prices[0][other] = Int128{3} * table.groups[0].valuations[other] - truth - 1;
  const TableAudit caught = *audit_table(table, PaymentRule::kGiven, prices);
  EXPECT_TRUE(caught.profitable);
  EXPECT_TRUE(caught.groups[0].deviation_gain == 1);
}

}  // namespace
}  // namespace candor
