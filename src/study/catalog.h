#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"

namespace candor {

// One claim of catalog/catalog.json, the paper's or ours, and how Candor computes it
// (docs/formats.md, catalog/1).
struct CatalogEntry {
  std::string name;
  std::string source;  // "NeurIPS Table 2", "Thm 3.2"
  bool ours = false;   // "we say" in place of "the paper says"
  std::string claim;   // a sentence; {} stands for what `says` has
  std::string file;    // relative to the catalog; "" where none is needed
  Json run;            // {"command": "audit", "payments": "zero"}
  std::string value;   // path into the result: "groups/a/utility"; "*" for every element
  Json says;           // {"equals", "tolerance"?, "relative"?} | {"at_least"} | {"at_most"}
  Json finding;  // a sentence, {} for what was found; or {"yes": ..., "no": ...} of a truth value
};

struct CatalogResult {
  CatalogEntry entry;
  Json found;
  bool agrees = false;
};

// Reads DIR/catalog.json. Errors: file and JSON path; two entries of one name.
Result<std::vector<CatalogEntry>> load_catalog(const std::string& folder);

// Computes one entry with the library behind the commands. Errors: those of the command; a path
// that leads nowhere.
Result<CatalogResult> run_entry(const std::string& folder, const CatalogEntry& entry);

// "the paper says: lying pays", "we find: it gains 0.04", and how far the two may be apart:
// "tolerance 0.02", "at least 0.01 asked".
[[nodiscard]] std::string claim_text(const CatalogEntry& entry);
[[nodiscard]] std::string finding_text(const CatalogResult& result);
[[nodiscard]] std::string tolerance_text(const CatalogEntry& entry);

}  // namespace candor
