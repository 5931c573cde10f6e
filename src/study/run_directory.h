#pragma once

#include <filesystem>
#include <string>

#include "base/result.h"
#include "study/pipeline.h"

namespace candor {

// The folder of one run (DESIGN 5). Every file appears by one rename, so a killed run leaves whole
// files; `resume` continues it. All files but timings.json are the same bytes for the same study,
// packages, threads and instruction set, however often the run was killed.
class RunDirectory {
 public:
  // Creates the folder, or with `resume` goes on with an existing one. Errors: kInvalidArgument
  // when it exists without `resume`, holds another study, or is in use by another run.
  static Result<RunDirectory> open(const std::filesystem::path& folder, const Study& study,
                                   bool resume);
  RunDirectory(RunDirectory&& other) noexcept;
  ~RunDirectory();
  RunDirectory(const RunDirectory&) = delete;
  RunDirectory& operator=(const RunDirectory&) = delete;
  RunDirectory& operator=(RunDirectory&&) = delete;

  // Writes seal.json, game.json, solution.json, quote.json, audit.json, audit_zero.json,
  // sweeps.json, sweeps.csv, bank.jsonl, prompts.jsonl, metrics.jsonl, run.json.
  Status write_results(const Pipeline& pipeline, const PipelineResult& result) const;

  // One file of the run, by one rename; makes the folders on its way. `name` is relative.
  Status write(const std::string& name, const std::string& text) const;

  [[nodiscard]] const std::filesystem::path& folder() const { return folder_; }

 private:
  RunDirectory(std::filesystem::path folder, int lock) : folder_(std::move(folder)), lock_(lock) {}
  std::filesystem::path folder_;
  int lock_;
};

}  // namespace candor
