#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
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
  // [R][n][K]: the means of V had the bank that normalises the rewards been drawn again. Empty:
  // nothing is known of it, and intervals hold for the constants as they are.
  std::vector<std::vector<std::vector<double>>> redrawn_valuations;
};

// Errors: kInvalidArgument: shapes, a value outside [0, 1].
Status check_samples(const TableSamples& samples);

// Means over prompts: V of one agent, D with lambda.
struct TableMeans {
  std::vector<std::vector<double>> valuations;  // [n][K]
  std::vector<double> divergences;              // [K]
};
[[nodiscard]] TableMeans means_of_samples(const TableSamples& samples);
// Each prompt counted `weights` [Q] times. REQUIRES: their sum is not 0.
[[nodiscard]] TableMeans weighted_means(const TableSamples& samples,
                                        const std::vector<double>& weights);

// Means over prompts, rounded to units of 2^-32. `sizes` [n].
// Errors: kInvalidArgument: check_samples', shapes, a divergence too large.
Result<Table> make_table(const TableSamples& samples, const std::vector<int64_t>& sizes,
                         int64_t max_size);

// The settlement in doubles, for resamples and tests: settle() on the rounded table is the money.
struct DoubleSettlement {
  size_t winner = 0;
  double welfare = 0;
  std::vector<double> valuations;  // [n], of the whole group
  std::vector<double> payments;    // [n]
};
// Ties: the lower candidate.
[[nodiscard]] DoubleSettlement settle_doubles(const TableMeans& means,
                                              const std::vector<int64_t>& sizes);

}  // namespace candor
