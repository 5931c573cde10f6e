#include "core/table_sweep.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/rng.h"

namespace candor {
namespace {

constexpr int64_t kHalf = kFixedPointOne / 2;

// Coarse values make coinciding lines and triple crossings common.
Table coarse_table(uint64_t seed) {
  RandomStream random({.seed = seed, .stream = 11});
  Table table;
  const size_t count = 2 + random.below(5);
  for (size_t k = 0; k < count; ++k) {
    table.candidates.push_back(
        {"k" + std::to_string(k), (static_cast<int64_t>(random.below(5)) - 1) * kHalf});
  }
  const size_t groups = 2 + random.below(2);
  for (size_t i = 0; i < groups; ++i) {
    Table::Group group{"g" + std::to_string(i), static_cast<int64_t>(1 + random.below(4)), {}};
    for (size_t k = 0; k < count; ++k) {
      group.valuations.push_back(static_cast<int64_t>(random.below(3)) * kHalf);
    }
    table.groups.push_back(group);
  }
  return table;
}

void expect_cover(const std::vector<TableSweepPiece>& pieces, double largest) {
  ASSERT_FALSE(pieces.empty());
  ASSERT_EQ(pieces.front().begin, 0);
  ASSERT_EQ(pieces.back().end, largest);
  for (const TableSweepPiece& piece : pieces) ASSERT_LT(piece.begin, piece.end);
  for (size_t p = 1; p < pieces.size(); ++p) {
    ASSERT_EQ(pieces[p].begin, pieces[p - 1].end);
    ASSERT_NE(pieces[p].winner, pieces[p - 1].winner);
  }
}

const TableSweepPiece* piece_of(const std::vector<TableSweepPiece>& pieces, double parameter) {
  for (const TableSweepPiece& piece : pieces) {
    if (parameter > piece.begin && parameter < piece.end) return &piece;
  }
  return nullptr;  // on a breakpoint
}

// Scaling every size and divergence by 12 makes a = s / 12 a whole size: settle decides it.
// App. C.2 on menus.
TEST(TableSweep, SizeInflationAgreesWithSettle) {
  static constexpr int64_t kScale = 12;
  size_t breakpoints = 0;
  for (uint64_t seed = 1; seed <= 500; ++seed) {
    SCOPED_TRACE(seed);
    const Table table = coarse_table(seed);
    for (size_t group = 0; group < table.groups.size(); ++group) {
      const auto pieces = *size_inflation_pieces(table, group, 5);
      expect_cover(pieces, 5);
      breakpoints += pieces.size() - 1;
      Table lied = table;
      for (Table::Candidate& candidate : lied.candidates) candidate.divergence *= kScale;
      for (Table::Group& other : lied.groups) other.group_size *= kScale;
      for (int64_t step = 1; step < 5 * kScale; ++step) {
        lied.groups[group].group_size = step * table.groups[group].group_size;
        const double a = static_cast<double>(step) / static_cast<double>(kScale);
        const TableSweepPiece* piece = piece_of(pieces, a);
        if (piece == nullptr) continue;
        ASSERT_EQ(settle(lied).winner, piece->winner) << "a = " << a;
      }
    }
  }
  EXPECT_GT(breakpoints, 200U) << "too few to be a test";
}

// b V + (1-b) mean in doubles; the grid of halves and b in sixteenths are exact but for the mean,
// so a total within rounding of the best is accepted.
TEST(TableSweep, PreferenceMixAgreesWithDirectEvaluation) {
  size_t breakpoints = 0;
  for (uint64_t seed = 1; seed <= 500; ++seed) {
    SCOPED_TRACE(seed);
    const Table table = coarse_table(seed);
    const auto pieces = *preference_mix_pieces(table, 0, 4);
    expect_cover(pieces, 4);
    breakpoints += pieces.size() - 1;
    const std::vector<Int128> others = welfare_without(table, 0);
    double agents = 0;
    for (size_t i = 1; i < table.groups.size(); ++i)
      agents += static_cast<double>(table.groups[i].group_size);
    const auto total = [&](size_t k, double b) {
      double mean = 0;
      for (size_t i = 1; i < table.groups.size(); ++i) {
        mean += static_cast<double>(table.groups[i].group_size) *
                from_fixed_point(table.groups[i].valuations[k]) / agents;
      }
      const double reported = b * from_fixed_point(table.groups[0].valuations[k]) + (1 - b) * mean;
      return static_cast<double>(table.groups[0].group_size) * reported +
             from_fixed_point(others[k]);
    };
    for (int step = 0; step <= 64; ++step) {
      const double b = step / 16.0;
      double best = total(0, b);
      for (size_t k = 1; k < others.size(); ++k) best = std::max(best, total(k, b));
      for (const TableSweepPiece& piece : pieces) {
        if (b < piece.begin || b > piece.end) continue;
        ASSERT_NEAR(total(piece.winner, b), best, 1e-9) << "b = " << b;
      }
    }
    for (const TableSweepPiece& piece : pieces) {
      if (piece.begin == 0) continue;
      const size_t before = (&piece - 1)->winner;
      ASSERT_NEAR(total(piece.winner, piece.begin), total(before, piece.begin), 1e-9);
    }
  }
  EXPECT_GT(breakpoints, 100U) << "too few to be a test";
}

// MATH 9, Tables 2-3: A gives way to B, then C, then D; each breakpoint by hand from the two lines.
// NeurIPS Table 2.
TEST(TableSweep, DivergenceScaleAgreesWithSettle) {
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    const Table table = coarse_table(seed);
    const auto pieces = divergence_scale_pieces(table, 4.0).value();
    expect_cover(pieces, 4.0);
    for (const int step : {0, 1, 2, 3, 5, 7, 9, 12, 15}) {
      const double scale = 0.25 * step + 0.125;
      const TableSweepPiece* piece = piece_of(pieces, scale);
      if (piece == nullptr) continue;
      Table scaled = table;
      for (Table::Candidate& candidate : scaled.candidates) {
        candidate.divergence = candidate.divergence / 8 * (2 * step + 1);
      }
      EXPECT_EQ(settle(scaled).winner, piece->winner) << "seed " << seed << " scale " << scale;
    }
  }
  EXPECT_FALSE(divergence_scale_pieces(coarse_table(1), 0).ok());
}

TEST(TableSweep, PublishedTable) {
  Table table;
  for (const char* name : {"A", "B", "C", "D"}) table.candidates.push_back({name, 0});
  const auto units = [](double value) { return *to_fixed_point(value); };
  table.groups = {
      {"helpful", 3, {0, units(.2625), units(.886), kFixedPointOne}},
      {"harmless", 2, {kFixedPointOne, units(.578), units(.12), 0}},
      {"humor", 1, {units(.503), kFixedPointOne, units(.185), 0}},
  };
  const auto pieces = *size_inflation_pieces(table, 0, 3);
  ASSERT_EQ(pieces.size(), 4U);
  EXPECT_NEAR(pieces[0].end, (2.503 - 2.156) / (3 * .2625), 1e-9);
  EXPECT_NEAR(pieces[1].end, (2.156 - .425) / (3 * (.886 - .2625)), 1e-9);
  EXPECT_NEAR(pieces[2].end, .425 / (3 * (1 - .886)), 1e-8);
  EXPECT_EQ(pieces[3].winner, 3U);
}

TEST(TableSweep, LargeSizesDoNotOverflow) {
  Table table;
  table.candidates = {{"a", kFixedPointLimit - 1}, {"b", -(kFixedPointLimit - 1)}, {"c", 1}};
  for (int i = 0; i < 100; ++i) {
    table.groups.push_back({"g" + std::to_string(i), table.max_size, {kFixedPointOne, 0, kHalf}});
  }
  ASSERT_TRUE(size_inflation_pieces(table, 3, 4).ok());
  const auto pieces = preference_mix_pieces(table, 3, 4);
  ASSERT_TRUE(pieces.ok());
  EXPECT_EQ(pieces->back().winner, 0U);
}

TEST(TableSweep, Refuses) {
  Table table;
  table.candidates = {{"a", 0}};
  table.groups = {{"x", 1, {0}}};
  EXPECT_TRUE(size_inflation_pieces(table, 0, 2).ok());
  EXPECT_FALSE(size_inflation_pieces(table, 1, 2).ok());
  EXPECT_FALSE(size_inflation_pieces(table, 0, 0).ok());
  EXPECT_FALSE(size_inflation_pieces(table, 0, NAN).ok());
  EXPECT_FALSE(preference_mix_pieces(table, 0, 2).ok());
}

}  // namespace
}  // namespace candor
