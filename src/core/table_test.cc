#include "core/table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/rng.h"
#include "base/strings.h"

namespace candor {
namespace {

// The published figures have two decimals and their menu three.
constexpr double kRounding = 0.0201;

int64_t units(double value) { return to_fixed_point(value).value(); }

// MATH 9, NeurIPS Tables 2-3: menu A, B, C, D for Helpful, Harmless, Humor, D_f left out.
Table published(std::vector<int64_t> sizes) {
  Table table;
  for (const char* name : {"A", "B", "C", "D"}) table.candidates.push_back({name, 0});
  const std::vector<std::vector<double>> rows = {
      {0, .2625, .886, 1}, {1, .578, .12, 0}, {.503, 1, .185, 0}};
  const char* names[] = {"Helpful", "Harmless", "Humor"};
  for (size_t i = 0; i < 3; ++i) {
    Table::Group group{.name = names[i], .group_size = sizes[i], .valuations = {}};
    for (const double value : rows[i]) group.valuations.push_back(units(value));
    table.groups.push_back(group);
  }
  return table;
}

// Valuation, utility and welfare of group 1 when it inflates its size by a, valued truthfully. The
// inflated sizes need not be whole (.2 x 3): all sizes are scaled by ten, the results back.
void expect_published(const std::vector<int64_t>& sizes, const std::vector<double>& valuation,
                      const std::vector<double>& utility, const std::vector<double>& welfare) {
  static constexpr int64_t kScale = 10;
  const std::vector<double> inflation = {.2, .5, 1, 1.5, 2, 3};
  Table truth = published(sizes);
  for (Table::Group& group : truth.groups) group.group_size *= kScale;
  const auto unscaled = [](Int128 units) {
    return from_fixed_point(units) / static_cast<double>(kScale);
  };
  for (size_t i = 0; i < inflation.size(); ++i) {
    SCOPED_TRACE(inflation[i]);
    Table lied = truth;
    lied.groups[0].group_size =
        std::lround(inflation[i] * static_cast<double>(truth.groups[0].group_size));
    const Settlement settled = settle(lied);
    Int128 total = 0;
    for (const Table::Group& group : truth.groups) {
      total += Int128{group.group_size} * group.valuations[settled.winner];
    }
    const Int128 own =
        Int128{truth.groups[0].group_size} * truth.groups[0].valuations[settled.winner];
    EXPECT_NEAR(unscaled(own), valuation[i], kRounding);
    EXPECT_NEAR(unscaled(own - settled.groups[0].payment), utility[i], kRounding);
    EXPECT_NEAR(unscaled(total), welfare[i], kRounding);
  }
}

// NeurIPS Table 2 and NeurIPS Table 3.
TEST(Settle, PublishedTables) {
  expect_published({3, 2, 1}, {0, .79, 2.66, 3, 3, 3}, {0, .44, .57, .5, .5, .5},
                   {2.51, 2.94, 3.08, 3, 3, 3});
  expect_published({4, 5, 3}, {0, 0, 1.05, 1.05, 3.54, 4}, {0, 0, .43, .43, -1.83, -2.51},
                   {6.51, 6.51, 6.94, 6.94, 4.68, 4});
}

Table random_table(uint64_t seed, size_t most_groups, size_t most_candidates, bool coarse) {
  RandomStream random({.seed = seed, .stream = 5});
  Table table;
  const size_t n = 1 + random.below(most_groups);
  const size_t count = 1 + random.below(most_candidates);
  for (size_t k = 0; k < count; ++k) {
    const int64_t d = coarse
                          ? static_cast<int64_t>(random.below(3)) * (kFixedPointOne / 2)
                          : static_cast<int64_t>(random.below(uint64_t{1} << 33)) - kFixedPointOne;
    table.candidates.push_back({"k" + std::to_string(k), d});
  }
  for (size_t i = 0; i < n; ++i) {
    Table::Group group{.name = "g" + std::to_string(i),
                       .group_size = static_cast<int64_t>(1 + random.below(5)),
                       .valuations = {}};
    for (size_t k = 0; k < count; ++k) {
      group.valuations.push_back(
          coarse ? static_cast<int64_t>(random.below(3)) * (kFixedPointOne / 2)
                 : static_cast<int64_t>(random.below(static_cast<uint64_t>(kFixedPointOne) + 1)));
    }
    table.groups.push_back(group);
  }
  return table;
}

// The definition, written out again without any shortcut: leave a group out, settle, compare.
TEST(Settle, AgreesWithTheDefinition) {
  for (uint64_t seed = 1; seed <= 100000; ++seed) {
    const Table table = random_table(seed, 3, 4, seed % 2 == 0);
    const Settlement settled = settle(table);
    Int128 spent = 0;
    for (size_t i = 0; i < table.groups.size(); ++i) {
      Int128 best = 0;
      Int128 at_winner = 0;
      for (size_t k = 0; k < table.candidates.size(); ++k) {
        Int128 others = -Int128{table.candidates[k].divergence};
        for (size_t j = 0; j < table.groups.size(); ++j) {
          if (j != i) others += Int128{table.groups[j].group_size} * table.groups[j].valuations[k];
        }
        if (k == 0 || others > best) best = others;
        if (k == settled.winner) at_winner = others;
      }
      const Settlement::Group& group = settled.groups[i];
      ASSERT_TRUE(group.payment == best - at_winner) << seed;
      ASSERT_TRUE(group.payment >= 0) << seed;
      if (table.candidates[0].divergence >= 0 && table.candidates.size() == 1) {
        ASSERT_TRUE(group.payment == 0) << seed;
      }
      ASSERT_TRUE(group.payment == group.prices[settled.winner]) << seed;
      ASSERT_TRUE(group.utility == group.valuation - group.payment) << seed;
      // IR: with rows >= 0 the group is no worse off than absent.
      ASSERT_TRUE(group.utility >= 0) << seed;
      spent += group.valuation;
    }
    ASSERT_TRUE(settled.welfare == spent - table.candidates[settled.winner].divergence) << seed;
  }
}

// A payment over candidates that the payer's report did not make, by another route: the table
// without the others of its own making, settled.
TEST(PaymentWithoutOwn, IsThatOfTheTableWithoutThem) {
  size_t below_zero = 0;
  for (uint64_t seed = 1; seed <= 2000; ++seed) {
    Table table = random_table(seed, 3, 6, seed % 2 == 0);
    RandomStream random({.seed = seed, .stream = 9});
    for (Table::Candidate& candidate : table.candidates) {
      for (size_t i = 0; i < table.groups.size(); ++i) {
        if (random.uniform() < 0.4) candidate.made_by.push_back(i);
      }
    }
    ASSERT_TRUE(check_table(table).ok());
    const Settlement settled = settle(table);
    for (size_t i = 0; i < table.groups.size(); ++i) {
      const auto own = [&](size_t k) {
        return std::ranges::find(table.candidates[k].made_by, i) !=
               table.candidates[k].made_by.end();
      };
      Table rest = table;
      rest.candidates.clear();
      for (Table::Group& group : rest.groups) group.valuations.clear();
      size_t others = 0;
      for (size_t k = 0; k < table.candidates.size(); ++k) {
        if (own(k) && k != settled.winner) continue;
        others += own(k) ? 0 : 1;
        rest.candidates.push_back(table.candidates[k]);
        for (size_t j = 0; j < table.groups.size(); ++j) {
          rest.groups[j].valuations.push_back(table.groups[j].valuations[k]);
        }
      }
      const std::optional<Int128> without = payment_without_own(table, settled.winner, i);
      ASSERT_EQ(without.has_value(), others > 0) << seed;
      if (!without.has_value()) continue;
      // The winner stays the winner; where it is its own, it is an alternative too.
      const Int128 anew = settle(rest).groups[i].payment;
      EXPECT_EQ(own(settled.winner) ? std::max(*without, Int128{0}) : *without, anew) << seed;
      EXPECT_LE(*without, settled.groups[i].payment);
      below_zero += *without < 0 ? 1 : 0;
    }
  }
  EXPECT_GT(below_zero, 50U);
  // By hand: two candidates, a's own wins although the other is worse for b.
  Table table;
  table.candidates = {{"initial", 0}, {"expert-a", 0, {0}}};
  table.groups = {{.name = "a", .group_size = 1, .valuations = {0, 10}},
                  {.name = "b", .group_size = 1, .valuations = {1, 4}}};
  EXPECT_EQ(payment_without_own(table, 1, 0), Int128{-3});
  EXPECT_EQ(payment_without_own(table, 1, 1), Int128{0});
  table.candidates[0].made_by = {0, 1};
  EXPECT_EQ(payment_without_own(table, 1, 0), std::nullopt);
  table.candidates[0].made_by = {1, 0};
  EXPECT_FALSE(check_table(table).ok());
  table.candidates[0].made_by = {2};
  EXPECT_FALSE(check_table(table).ok());
}

TEST(Settle, TiesFollowTheRule) {
  Table table;
  table.candidates = {{"a", 0}, {"b", 0}, {"c", 0}};
  table.groups = {{"x", 1, {0, kFixedPointOne, kFixedPointOne}}, {"y", 1, {kFixedPointOne, 0, 0}}};
  EXPECT_EQ(settle(table).winner, 1U) << "larger valuation of the first group, then lower index";
  // Per-agent values decide, not sizes times values.
  table.groups = {{"x", 1, {2, 1, 1}}, {"y", 1, {0, 1, 1}}};
  EXPECT_EQ(settle(table).winner, 0U);
}

TEST(Settle, SmallestTables) {
  Table table;
  table.candidates = {{"only", 7}};
  table.groups = {{"x", 3, {5}}};
  const Settlement one = settle(table);
  EXPECT_EQ(one.winner, 0U);
  EXPECT_TRUE(one.welfare == 3 * 5 - 7);
  EXPECT_TRUE(one.groups[0].payment == 0) << "its choice costs nothing: there is no other";
  // n = 1: the payment is what the choice costs in divergence, D(winner) - min D.
  table.candidates = {{"cheap", -4}, {"dear", 9}};
  table.groups = {{"x", 2, {0, 10}}};
  const Settlement alone = settle(table);
  EXPECT_EQ(alone.winner, 1U);
  EXPECT_TRUE(alone.groups[0].payment == 13);
  EXPECT_TRUE(alone.groups[0].utility == 7);
  // A boost may win against every report.
  table.candidates[0].divergence = -100;
  EXPECT_EQ(settle(table).winner, 0U);
  EXPECT_TRUE(settle(table).welfare == 100);
}

TEST(Settle, Limits) {
  Table table;
  table.candidates = {{"a", kFixedPointLimit - 1}, {"b", -(kFixedPointLimit - 1)}};
  for (int i = 0; i < 1000; ++i) {
    table.groups.push_back({"g" + std::to_string(i), table.max_size, {kFixedPointOne, 0}});
  }
  ASSERT_TRUE(check_table(table).ok());
  const Settlement settled = settle(table);
  EXPECT_EQ(settled.winner, 0U);
  const Int128 total = Int128{1000} * table.max_size * kFixedPointOne;
  EXPECT_TRUE(settled.welfare == total - (kFixedPointLimit - 1));
}

TEST(Table, Refuses) {
  Table good;
  good.candidates = {{"a", 0}, {"b", 1}};
  good.groups = {{"x", 1, {0, kFixedPointOne}}};
  ASSERT_TRUE(check_table(good).ok());
  const auto refused = [&](auto&& breaking) {
    Table table = good;
    breaking(table);
    return !check_table(table).ok();
  };
  EXPECT_TRUE(refused([](Table& t) { t.groups[0].valuations[1] += 1; }));
  EXPECT_TRUE(refused([](Table& t) { t.groups[0].valuations[0] = -1; }));
  EXPECT_TRUE(refused([](Table& t) { t.groups[0].valuations.pop_back(); }));
  EXPECT_TRUE(refused([](Table& t) { t.groups[0].group_size = 0; }));
  EXPECT_TRUE(refused([](Table& t) { t.candidates[1].name = "a"; }));
  EXPECT_TRUE(refused([](Table& t) { t.candidates[1].divergence = kFixedPointLimit; }));
  EXPECT_TRUE(refused([](Table& t) { t.groups.push_back(t.groups[0]); }));
  EXPECT_TRUE(refused([](Table& t) { t.groups.clear(); }));
}

// Large enough for threads and 64-bit lanes; then too many agents for 64 bits. Against the
// definition.
TEST(Settle, LargeMenusInEveryWidth) {
  static constexpr size_t kGroups = 700;
  static constexpr size_t kCandidates = 101;
  for (const int64_t stretch : {int64_t{1}, int64_t{1} << 22}) {
    RandomStream random({.seed = 3, .stream = 8});
    Table table;
    for (size_t k = 0; k < kCandidates; ++k) {
      table.candidates.push_back({str_cat("c", k), static_cast<int64_t>(random() >> 20)});
    }
    for (size_t i = 0; i < kGroups; ++i) {
      Table::Group& group = table.groups.emplace_back();
      group.name = str_cat("g", i);
      group.group_size = (1 + static_cast<int64_t>(random.below(100))) * stretch;
      for (size_t k = 0; k < kCandidates; ++k) {
        group.valuations.push_back(static_cast<int64_t>(random.below(kFixedPointOne + 1)));
      }
    }
    const Settlement one = settle(table, {.threads = 1});
    const Settlement three = settle(table, {.prices = false, .threads = 3});
    EXPECT_EQ(one.winner, three.winner);
    for (size_t i = 0; i < kGroups; ++i) {
      const std::vector<Int128> others = welfare_without(table, i);
      const Int128 payment = *std::ranges::max_element(others) - others[one.winner];
      ASSERT_TRUE(one.groups[i].payment == payment && three.groups[i].payment == payment) << i;
      ASSERT_TRUE(one.groups[i].prices[one.winner] == payment) << i;
      ASSERT_TRUE(three.groups[i].prices.empty());
    }
  }
}

}  // namespace
}  // namespace candor
