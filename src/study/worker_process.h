#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "base/json.h"
#include "base/progress.h"
#include "base/result.h"

namespace candor {

// What a worker took.
struct WorkerUsage {
  int64_t peak_memory_bytes = 0;  // the most that was resident at once; 0: it did not say
  double processor_seconds = 0;   // of all its threads, as the system counted them
};

// Sets what a worker's libraries read of the environment before any of our code runs. For this
// process and what it starts; what is set already stays.
void set_worker_environment();

// Runs `worker stage REQUEST` and passes its progress on. The worker dies with this process.
// Errors: what the worker printed on standard error, with the kind its exit code names; kResource
// where it could not be started or was killed.
Result<WorkerUsage> run_worker(const std::filesystem::path& worker,
                               const std::filesystem::path& request, const std::string& label,
                               const ProgressSink& progress);

// What `worker about` says of itself: {"torch"}. Errors: as run_worker; an answer that is no
// object.
Result<Json> ask_worker(const std::filesystem::path& worker);

}  // namespace candor
