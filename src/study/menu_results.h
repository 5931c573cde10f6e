#pragma once

#include "base/result.h"
#include "study/menu_table.h"
#include "study/run_directory.h"

namespace candor {

// Everything that follows from a menu run without tensors: tables, settlements, receipts, audits,
// sweeps, baselines, estimates. The files are listed in docs/formats.md (Run directory).
struct MenuResults {
  MenuTable menu;
  TableEstimate estimate;
  std::vector<MenuSettlement> settlements;  // one per vector of sizes
  Json self_tests;
  Json warnings;  // texts
};

// Tabulates, estimates and settles. Errors: tabulate_menu's, estimate_table's.
Result<MenuResults> settle_menu_run(const MenuPipeline& pipeline, const MenuRun& run);

// Writes the run directory's files. The first vector of sizes has its files in the folder itself,
// each further one in sizes-W1-W2-...
Status write_menu_results(const RunDirectory& directory, const MenuPipeline& pipeline,
                          const MenuRun& run, const MenuResults& results);

// Names of the self-tests that failed.
[[nodiscard]] std::vector<std::string> failed_self_tests(const Json& self_tests);

}  // namespace candor
