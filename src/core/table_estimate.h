#pragma once

#include <cstdint>
#include <vector>

#include "base/result.h"
#include "core/estimate.h"
#include "core/table_samples.h"

namespace candor {

// A figure of a settlement with what is known of its error.
struct SettledFigure {
  Interval interval;  // its `estimate` is what the table settles to
  // By how much the estimate exceeds the chosen candidate's true figure on average (ChoiceBias).
  double bias = 0;
};

// One vector of sizes settled with what is known of its error. Each interval holds, with the
// stated confidence, two truths: the chosen candidate's true figure, and the figure that the true
// table would settle to (settlement_bands.h). For valuations and payments, which jump where another
// candidate wins, the second is an approximation: the interval is the hull of the band and of the
// percentiles of resamples settled anew. Simulated by tests/interval_coverage.cc.
struct SettlementEstimate {
  struct Group {
    SettledFigure valuation, payment, utility;  // of the whole group
  };
  std::vector<int64_t> sizes;  // [n]
  size_t winner = 0;
  SettledFigure welfare;
  std::vector<Group> groups;       // [n]
  std::vector<double> win_share;   // [K], in how many resamples each candidate wins
  std::vector<size_t> contenders;  // SettlementBands::contenders
  // The choice is within the noise: another candidate may be the best, or the winner wins in less
  // than kClearWinShare of the resamples.
  [[nodiscard]] bool close_call() const;
};
inline constexpr double kClearWinShare = 0.8;

struct TableEstimate {
  double confidence = 0.95;
  int resamples = 0;
  size_t redrawn_banks = 0;  // of the reference, that intervals took into account; 0: none
  std::vector<std::vector<Interval>> valuations;  // [n][K], one agent's, each for itself
  std::vector<Interval> divergences;              // [K], lambda included, each for itself
  // |V_hat - V| <= epsilon for all groups and candidates together (MATH 7), for the rewards as
  // they are normalised. The bound holds whatever the rewards are (empirical_half_width with a
  // union bound): Hoeffding's of the range alone with few prompts, Hoeffding's and Bennett's with
  // an upper bound on the variance from least_useful_count on. The bootstrap's is an approximation.
  double epsilon_bound = 0;
  bool epsilon_by_variance = false;
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

// Intervals over prompts (MATH 8) and, where samples.redrawn_valuations says how, over the
// reference bank. epsilon_bound is a bound whatever the rewards are, for prompts drawn
// independently; all else is asymptotic in the number of prompts.
// Errors   kInvalidArgument: fewer than 2 prompts; make_table's.
// Cost     O(resamples x n K Q), and of each vector of sizes O(resamples x n K^2).
Result<TableEstimate> estimate_table(const TableSamples& samples,
                                     const std::vector<std::vector<int64_t>>& sizes,
                                     const TableEstimateOptions& options);

}  // namespace candor
