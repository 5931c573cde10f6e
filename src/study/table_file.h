#pragma once

#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "core/table.h"

namespace candor {

struct LoadedTable {
  Table table;
  std::vector<std::vector<double>> half_widths;  // [n][K], one agent's; empty where not given
  // "sha256:..." of the canonical JSON of the table with its valuations inline: the inline and the
  // .npy form of one table have one digest. What is not part of the table's numbers (half_widths,
  // provenance, digests of candidates) is part of it as written; a float in provenance enters as
  // the string of its shortest round-trip text ("0.25").
  std::string digest;
};

// Reads a table/1 file (docs/formats.md). Errors: kInvalidArgument with file and JSON path.
Result<LoadedTable> load_table(const std::string& path);

// Reads a prices/1 file: [n][K] in units of 2^-32, in the order of `group_names`.
// Errors: a group unknown, missing or twice; a row that has not `candidate_count` prices.
Result<std::vector<std::vector<Int128>>> load_prices(const std::string& path,
                                                     const std::vector<std::string>& group_names,
                                                     size_t candidate_count);

}  // namespace candor
