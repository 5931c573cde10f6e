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
  int64_t best_size = 1;                 // the best report: a size ...
  std::vector<int64_t> best_valuations;  // ... and a row [K]
  size_t best_candidate = 0;             // the candidate it makes win
  std::string bound;                     // "exact" | "lower" | "upper"
  std::vector<TableFamilyResult> families;
};
struct TableAudit {
  PaymentRule payments = PaymentRule::kAffine;
  bool profitable = false;  // a reachable gain > 0
  std::vector<TableGroupAudit> groups;
};

// Every candidate a group can make win by some report (row in [0,1]^K, size up to max_size), and
// what that is worth to it (MATH 4). Candidate k is reachable iff c_i(k) < w_max, or c_i(k) = w_max
// and the tie order picks k: the report 1 on k, 0 elsewhere, size w_max decides it. `bound` is
// "exact" but for pay_report where the smallest total that wins is no product of an admissible size
// and value (then "lower": a gain that a report was found for).
//
// For affine payments the maximum of w_i V[i][k] - c_i(k) over ALL k is computed as the
// certificate: "exact" says that no utility above best_utility exists, reachable or not.
//
// Families: best_response (the maximum over reachable candidates), size_inflation (every whole
// size, exact), preference_mix (b on a grid over [0, 4], clipped to [0, 1] and rounded).
//
// `given_prices` [n][K] with PaymentRule::kGiven. Errors: its shape. Cost: O(n K + n K^2) at worst.
Result<TableAudit> audit_table(const Table& table, PaymentRule payments,
                               const std::vector<std::vector<Int128>>& given_prices = {});

}  // namespace candor
