#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "base/result.h"
#include "core/table.h"

namespace candor {

// Other ways to choose from the same valuation table, all without payments, to set SW-Max beside:
//
//   sw_max      argmax_k sum_i w_i V[i][k] - D[k]            ties: MATH 1
//   max_min     argmax_k min_i V[i][k] - D[k]                ties: the lower index
//   nash        argmax_k sum_i w_i log V[i][k] - D[k]        ties: the lower index
//   best_of     argmax of sw_max's objective over `candidates` alone ("best single expert")
//   fixed       candidates[0], whatever is reported ("uniform soup", "initial model")
enum class TableRule { kSwMax, kMaxMin, kNash, kBestOf, kFixed };

struct TableRuleRequest {
  TableRule rule = TableRule::kSwMax;
  std::vector<size_t> candidates;  // kBestOf: two or more; kFixed: one
};

// What a rule chooses and how fair that is. Figures in welfare units.
struct TableRuleOutcome {
  size_t winner = 0;
  double welfare = 0;                  // sum_i w_i V[i][winner] - D[winner]
  std::vector<double> valuations;      // [n], of one agent
  double least_valuation = 0;          // min_i
  double gini = 0;                     // of one agent's valuations: 0 all alike
  double jain = 1;                     // (sum v)^2 / (n sum v^2): 1 all alike, 1/n one has all
  std::vector<double> deviation_gain;  // [n], of the whole group, when nobody pays
  std::vector<size_t> best_reachable;  // [n], the candidate that the best lie makes win
};

// The outcome under true reports, and what each group could gain by lying alone when nobody pays:
// exact, as the set of candidates that a report can make win is known for each rule. A report is a
// row in [0, 1]^K and a size up to max_size; reporting 1 on k and 0 elsewhere is the strongest case
// for k under every rule here, so k is reachable iff that report makes it win:
//   max_min   min(1, m_k) - D_k against -D_j (m the least of the others, 1 where there are none)
//   nash      every k that all other groups value above 0 (log 0 rules the others out)
//   sw_max    c_i(k) against w_max (MATH 4); best_of the same among its candidates
// Errors: kInvalidArgument: check_table; candidates missing or out of range; nash where every
// candidate is worth 0 to some group.
// Cost: O(n K^2).
Result<TableRuleOutcome> apply_table_rule(const Table& table, const TableRuleRequest& request);

// Fairness of non-negative values, n >= 1; both are 0 and 1 where all values are 0.
[[nodiscard]] double gini_index(const std::vector<double>& values);
[[nodiscard]] double jain_index(const std::vector<double>& values);

}  // namespace candor
