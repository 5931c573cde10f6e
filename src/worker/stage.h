#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>

#include "base/json.h"
#include "base/progress.h"
#include "base/result.h"

namespace candor {

// A stage as candor-worker receives it (stage/2, docs/formats.md): what to compute (`spec`, the
// stage's identity, hashed by the runner) and where its inputs lie (`paths`, not hashed).
struct StageRequest {
  std::string kind;
  std::string source;  // the file the request was read from, for errors
  Json spec;
  std::map<std::string, std::filesystem::path> paths;
  std::filesystem::path output;       // an empty folder; the runner commits it by rename
  std::filesystem::path checkpoints;  // outlives a killed stage; empty: nobody keeps any

  // Errors: the stage's request names no such path.
  [[nodiscard]] Result<std::filesystem::path> path(const std::string& name) const;
};

// Writes one file of the artifact and flushes it, with the crash points of the kill tests.
Status write_artifact(const StageRequest& request, const std::string& name, std::string_view bytes);

// Marks what a spec says of the machine as read (run_stage has seen to it) and returns its threads,
// 1 where it says nothing.
int read_machine(JsonReader& spec);

// Each stage is a pure function of spec and inputs: the same bytes for the same request.
Status run_reward_stage(const StageRequest& request, const ProgressSink& progress);
Status run_bank_stage(const StageRequest& request, const ProgressSink& progress);
Status run_menu_bank_stage(const StageRequest& request, const ProgressSink& progress);
Status run_divergence_stage(const StageRequest& request, const ProgressSink& progress);
Status run_menu_check_stage(const StageRequest& request, const ProgressSink& progress);
Status run_rlhf_stage(const StageRequest& request, const ProgressSink& progress);
Status run_score_stage(const StageRequest& request, const ProgressSink& progress);
Status run_sft_stage(const StageRequest& request, const ProgressSink& progress);

// Reads a stage/2 file, holds this process to the machine that the spec names and the inputs to
// their digests, runs the stage, prints progress as JSON lines on stdout. The one place where
// LibTorch's exceptions end. Errors: the stage's; kResource, this machine is another one;
// kInvalidArgument, an input holds something else, or was written while the stage ran.
Status run_stage(const std::filesystem::path& request_file);

}  // namespace candor
