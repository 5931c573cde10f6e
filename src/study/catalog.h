#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"

namespace candor {

// One line of catalog/catalog.json: a number (or array, or truth value) of the literature, and how
// Candor computes it (docs/formats.md, catalog/1).
struct CatalogEntry {
  std::string name;
  std::string source;  // "NeurIPS Table 2", "Thm 3.2"
  std::string claim;   // in words
  std::string file;    // relative to the catalog; "" where none is needed
  Json run;            // {"command": "audit", "payments": "zero"}
  std::string value;   // path into the result: "groups/a/utility"
  Json says;           // {"equals", "tolerance"?} | {"at_least"} | {"at_most"}
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

// "2.66", "0 .44 .57", "at least 0.01": both sides as text for people.
[[nodiscard]] std::string says_text(const CatalogEntry& entry);
[[nodiscard]] std::string found_text(const Json& found);

}  // namespace candor
