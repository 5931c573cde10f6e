#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "core/table_estimate.h"
#include "study/menu_pipeline.h"

namespace candor {

// A scored bank as per-prompt means of normalised, clipped rewards and of lambda x divergence.
struct MenuTable {
  TableSamples all;                // every measured candidate, those off the menu too
  TableSamples menu;               // what may be chosen
  std::vector<size_t> candidates;  // [K] of the menu -> candidate of `all` and of the bank
  std::vector<std::vector<double>> rewards;  // [n][replies of the bank], normalised and clipped
  std::vector<size_t> clipped;               // [n], scores outside the reference bank's range
  std::vector<std::string> excluded;         // candidates of infinite divergence
};

// Errors: a score that is not finite, naming group and reply; a divergence that is NaN; every
// candidate of infinite divergence.
Result<MenuTable> tabulate_menu(const Study& study, const MenuBank& bank,
                                const std::vector<Normalizer>& normalizers, size_t prompts);

// Samples of some candidates only.
[[nodiscard]] TableSamples select_candidates(const TableSamples& samples,
                                             const std::vector<size_t>& candidates);
// What the menu's valuations would be under the constants of other reference banks of the same
// size, as menu.redrawn_valuations; nothing where the bank of some group says nothing of it.
// Cost      400 x the scores of the bank.
void add_reference_redraws(const Study& study, const MenuRun& run, MenuTable& menu);

// One settlement of a menu with everything derived from its table.
struct MenuSettlement {
  std::vector<int64_t> sizes;
  Table table;
  Json table_json;     // table/1 with half_widths and provenance
  std::string digest;  // of the table
  Settlement settlement;
};
Result<MenuSettlement> settle_menu(const MenuPipeline& pipeline, const MenuRun& run,
                                   const MenuTable& menu, const TableEstimate& estimate,
                                   const std::vector<int64_t>& sizes);

// The clipped report of the second strategy (MATH 4): rewards b rm_i + (1-b) rm_{-i} of every
// reply, clipped to [0, 1], as a row of the table.
struct ClippedPoint {
  double parameter = 0;
  size_t winner = 0;
  double valuation = 0, payment = 0, utility = 0;  // of the whole group, true reward
  size_t clipped = 0;                              // replies that clipping moved
};
std::vector<ClippedPoint> clipped_mix_sweep(const MenuTable& menu, const MenuSettlement& settled,
                                            size_t group, const std::vector<double>& parameters,
                                            size_t samples);

}  // namespace candor
