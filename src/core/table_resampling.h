#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "core/settlement_bands.h"
#include "core/table_samples.h"

namespace candor {

// Three ways to ask the prompts of a table how far its means may be off. All are deterministic in
// the seed; the reference bank's redraws (TableSamples::redrawn_valuations) are used in turn.
struct ResamplingOptions {
  uint64_t seed = 1;
  int draws = 2000;  // B
};

// Errors of the means, for bands: sums over prompts with normal weights (the multiplier bootstrap),
// divided by a chi of Q - 1 degrees of freedom, so that one mean alone gets Student's interval.
// REQUIRES: at least 2 prompts.
[[nodiscard]] TableErrors draw_errors(const TableSamples& samples,
                                      const ResamplingOptions& options);

// Prompts drawn with replacement: `visit` gets the means of each resample for the constants as they
// are, and the same moved as another reference bank would have moved them.
void resample_prompts(
    const TableSamples& samples, const ResamplingOptions& options,
    const std::function<void(const TableMeans& sealed, const TableMeans& redrawn)>& visit);

// By how much the figures of an estimated table exceed the true figures of the candidate that it
// chooses, on average: each of many half samples chooses a winner and, without every group, the
// best of the others, and the other half says what these are worth. An error over Q/2 prompts is
// sqrt 2 times that over Q, so differences are brought to Q by that factor: exact for normal means
// where candidates tie, too large in between, 0 where one candidate leads clearly.
struct ChoiceBias {
  double welfare = 0;
  std::vector<double> valuations, payments;  // [n], of the whole group
};
// REQUIRES: at least 2 prompts. Returns one for each vector of sizes.
[[nodiscard]] std::vector<ChoiceBias> choice_bias(const TableSamples& samples,
                                                  const std::vector<std::vector<int64_t>>& sizes,
                                                  const ResamplingOptions& options);

}  // namespace candor
