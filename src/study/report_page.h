#pragma once

#include <filesystem>

#include "base/result.h"

namespace candor {

// Writes report.html and its plots (plots/*.svg) from the files of a finished run directory; needs
// nothing else. Errors: kInvalidArgument when a file is missing or not what a run writes.
Status write_report(const std::filesystem::path& run_folder);

}  // namespace candor
