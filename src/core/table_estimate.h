#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "core/estimate.h"
#include "core/table.h"

namespace candor {

// What a valuation table is estimated from: means over the replies to each prompt. The prompt is
// the unit of sampling (MATH 8), and every candidate and group sees the same prompts.
struct TableSamples {
  size_t prompts = 0;                                // Q
  std::vector<std::string> candidates;               // [K]
  std::vector<std::string> groups;                   // [n]
  std::vector<std::vector<double>> valuations;       // [n][K * Q], one agent's, in [0, 1]
  std::vector<double> divergences;                   // [K * Q], lambda included
  std::vector<std::vector<double>> reply_variances;  // [n][K], mean variance within a prompt
};

// Means over prompts, rounded to units of 2^-32. `sizes` [n].
// Errors: kInvalidArgument: shapes, a value outside [0, 1], a divergence too large.
Result<Table> make_table(const TableSamples& samples, const std::vector<int64_t>& sizes,
                         int64_t max_size);

// One vector of sizes settled with what is known of its error.
struct SettlementEstimate {
  struct Group {
    Interval valuation, payment, utility;  // of the whole group
  };
  std::vector<int64_t> sizes;  // [n]
  Interval welfare;
  std::vector<Group> groups;      // [n]
  std::vector<double> win_share;  // [K], in how many resamples each candidate wins
};

struct TableEstimate {
  double confidence = 0.95;
  int resamples = 0;
  std::vector<std::vector<Interval>> valuations;  // [n][K], one agent's
  std::vector<Interval> divergences;              // [K], lambda included
  // |V_hat - V| <= epsilon for all groups and candidates together (MATH 7): empirical_half_width
  // (sampling_plan.h) with a union bound, and a bootstrap of the largest error.
  double epsilon_bernstein = 0;
  double epsilon_bootstrap = 0;
  double divergence_epsilon = 0;  // the same of D, by the bootstrap
  double between = 0;             // largest variance of prompt means, replies' noise taken out
  double within = 0;              // largest mean variance of replies to one prompt
  std::vector<SettlementEstimate> settlements;
};

struct TableEstimateOptions {
  uint64_t seed = 1;
  int resamples = 2000;
  double confidence = 0.95;
  double replies = 1;  // per prompt and candidate; splits the variances
};

// Percentile bootstrap over prompts, drawn once and used for every figure, so that all figures of a
// resample belong to one table; each resample is settled anew. The Bernstein epsilon is a bound
// whatever the rewards are, for prompts drawn independently; the bootstrap's is an approximation
// that undercovers with few prompts.
// Errors   kInvalidArgument: fewer than 2 prompts; make_table's.
// Cost     O(resamples x n K Q).
Result<TableEstimate> estimate_table(const TableSamples& samples,
                                     const std::vector<std::vector<int64_t>>& sizes,
                                     const TableEstimateOptions& options);

// The settlement in doubles, for resamples and tests: settle() on the rounded table is the money.
struct DoubleSettlement {
  size_t winner = 0;
  double welfare = 0;
  std::vector<double> valuations;  // [n]
  std::vector<double> payments;    // [n]
};
// `valuations` [n][K], `divergences` [K]. Ties: the lower candidate.
[[nodiscard]] DoubleSettlement settle_doubles(const std::vector<std::vector<double>>& valuations,
                                              const std::vector<double>& divergences,
                                              const std::vector<int64_t>& sizes);

}  // namespace candor
