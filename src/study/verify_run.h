#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/result.h"

namespace candor {

// What of a finished run's folder holds, item by item.
struct RunCheck {
  enum class Outcome { kHolds, kFails, kNotChecked };
  std::string item;  // "receipts/1.json"
  Outcome outcome = Outcome::kHolds;
  std::string detail;  // of a failure: the field, what is there and what should be; else why not
};

struct RunVerdict {
  std::vector<RunCheck> checks;

  [[nodiscard]] bool holds() const;  // nothing fails
};

// Checks a run's folder against itself: seals against their content, the study and run.json; the
// table (or game) against the bank's replies, scores and divergences; settlement, receipts,
// amounts, audits and quote computed anew; every file against the digests of run.json; the stages'
// files where `store` (empty: the folder's own) holds them. Whoever changes one file is found;
// whoever rewrites all of them consistently is not: that takes digests kept elsewhere, of which a
// receipt's table is one. Nothing here trusts report.html, which `candor report` makes anew.
//
// Folders of 0.1.0 are read; what they do not hold is not checked, and the verdict says so.
// Errors: kInvalidArgument: the folder holds no run.json or no study.resolved.yaml that can be
// read. Cost: settles every table and reads every file once.
Result<RunVerdict> verify_run(const std::filesystem::path& folder,
                              const std::filesystem::path& store = {});

}  // namespace candor
