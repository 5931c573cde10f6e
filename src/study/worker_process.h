#pragma once

#include <filesystem>
#include <string>

#include "base/progress.h"
#include "base/result.h"

namespace candor {

// Runs `worker stage REQUEST` and passes its progress on. The worker dies with this process.
// Errors: what the worker printed on standard error, with the kind its exit code names; kResource
// where it could not be started or was killed.
Status run_worker(const std::filesystem::path& worker, const std::filesystem::path& request,
                  const std::string& label, const ProgressSink& progress);

}  // namespace candor
