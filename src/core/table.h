#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/fixed_point.h"
#include "base/result.h"

namespace candor {

// A valuation table (MATH 4; NeurIPS Table 2 and Table 3 are such menus): the menu and trained
// levels, in units of 2^-32.
struct Table {
  struct Candidate {
    std::string name;
    int64_t divergence = 0;  // D_k, lambda included, may be negative (a boost); |D_k| < 2^62
    // Groups, in order, whose reports went into making it (their rewards trained it). Empty: it was
    // there before anybody reported. Settlement does not look at it.
    std::vector<size_t> made_by = {};
  };
  struct Group {
    std::string name;
    int64_t group_size = 1;           // w_i, 1..max_size
    std::vector<int64_t> valuations;  // [K], one agent's, 0..2^32
  };
  std::vector<Candidate> candidates;  // K >= 1
  std::vector<Group> groups;          // n >= 1
  bool menu_depends_on_reports = false;
  int64_t max_size = (int64_t{1} << 31) - 1;
};

// Errors: kInvalidArgument with the place: no candidate, no group, equal names, values out of
// range, lengths that differ.
Status check_table(const Table& table);

struct Settlement {
  struct Group {
    std::string name;
    int64_t group_size = 0;
    Int128 valuation = 0;  // w_i V[i][winner]
    Int128 payment = 0;    // max_k B_i(k) - B_i(winner)
    Int128 utility = 0;
    std::vector<Int128> prices;  // [K], c_i(k) = max_j B_i(j) - B_i(k); payment = prices[winner]
  };
  size_t winner = 0;
  Int128 welfare = 0;  // T_winner
  std::vector<Group> groups;
};

struct SettleOptions {
  bool prices = true;  // false leaves Settlement::Group::prices empty: no memory of size n x K
  int threads = 0;     // 0: all cores
};

// The exact settlement: same bytes on every machine and for any number of threads.
// REQUIRES: check_table(table).ok().
// Cost      V is read twice: for the totals, and for every group's best without it. 64-bit lanes
//           where all sums fit (fewer than 2^29 agents together), else 128-bit integers.
[[nodiscard]] Settlement settle(const Table& table, const SettleOptions& options = {});

// B_i(k) = T_k - w_i V[i][k] for every k: what the others and the divergence make of each
// candidate.
[[nodiscard]] std::vector<Int128> welfare_without(const Table& table, size_t group);

// What a group would pay if the candidates that its own report made were no alternatives: the best
// of B_i(k) over the others, less B_i(winner). The rest of its payment hangs on models that exist
// because of what it reported. Below 0 where one of its own models wins and leaves the others more
// than any candidate made without it. Nothing where its report went into every candidate.
// REQUIRES: `winner` < K.
[[nodiscard]] std::optional<Int128> payment_without_own(const Table& table, size_t winner,
                                                        size_t group);

// The candidate that wins if group `group` reports the row `valuations` [K] with size `group_size`,
// given `others` = welfare_without(table, group). Ties: the lexicographically larger vector of the
// reported per-agent valuations in file order, then the lower index (MATH 1).
[[nodiscard]] size_t winner_under_report(const Table& table, size_t group, int64_t group_size,
                                         const std::vector<int64_t>& valuations,
                                         const std::vector<Int128>& others);

}  // namespace candor
