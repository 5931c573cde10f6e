#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "core/audit.h"
#include "core/table.h"

namespace candor {

// As FamilyResult and GroupAudit (audit.h), in integers of 2^-32: exact.
struct TableFamilyResult {
  std::string family;
  Int128 deviation_gain = 0;
  std::optional<double> parameter;
};
struct TableGroupAudit {
  std::string name;
  Int128 utility_truth = 0;
  Int128 best_utility = 0;
  Int128 deviation_gain = 0;
  int64_t best_size = 1;                  // the best report: a size ...
  std::vector<int64_t> best_valuations;   // ... and a row [K]
  size_t best_candidate = 0;              // the candidate it makes win
  std::string bound;                      // "exact" | "lower" | "upper"
  std::vector<TableFamilyResult> families;
};
struct TableAudit {
  PaymentRule payments = PaymentRule::kAffine;
  bool profitable = false;  // a reachable gain > 0
  std::vector<TableGroupAudit> groups;
};

// Every candidate a group can make win by some report (row in [0,1]^K, size up to max_size), and
// what that is worth to it (MATH 4). `given_prices` [n][K] with PaymentRule::kGiven.
Result<TableAudit> audit_table(const Table& table, PaymentRule payments,
                               const std::vector<std::vector<Int128>>& given_prices = {});

// Exact pieces of a sweep on a table, by upper envelopes (MATH 4).
struct TableSweepPiece {
  double begin = 0;  // parameter interval [begin, end]
  double end = 0;
  size_t winner = 0;
};
// Size inflation a in (0, a_max] and preference mix b in [0, b_max]; breakpoints of the unclipped
// report.
Result<std::vector<TableSweepPiece>> size_inflation_pieces(const Table& table, size_t group,
                                                           double a_max);
Result<std::vector<TableSweepPiece>> preference_mix_pieces(const Table& table, size_t group,
                                                           double b_max);

}  // namespace candor
