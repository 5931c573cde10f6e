#pragma once

#include <filesystem>
#include <string>

#include "base/result.h"
#include "study/pipeline.h"

namespace candor {

// What a run is made from, apart from its study: its folder is bound to it.
struct RunInputs {
  Json sources = Json::object();  // as Pipeline::sources
  Machine machine;
};

// The folder of one run (DESIGN 5). Every file appears by one rename, so a killed run leaves whole
// files; `resume` continues it. All files but timings.json are the same bytes for the same study,
// packages, threads and instruction set, however often the run was killed.
class RunDirectory {
 public:
  // Creates the folder, or with `resume` goes on with an existing one. Errors: kInvalidArgument
  // when it exists without `resume`, holds another study, was begun with other sources or on
  // another machine (the first difference is named), or is in use by another run.
  static Result<RunDirectory> open(const std::filesystem::path& folder, const Study& study,
                                   const RunInputs& inputs, bool resume);
  RunDirectory(RunDirectory&& other) noexcept;
  ~RunDirectory();
  RunDirectory(const RunDirectory&) = delete;
  RunDirectory& operator=(const RunDirectory&) = delete;
  RunDirectory& operator=(RunDirectory&&) = delete;

  // Writes seal.json, game.json, solution.json, quote.json, audit.json, audit_zero.json,
  // sweeps.json, sweeps.csv, bank.jsonl, prompts.jsonl, metrics.jsonl, run.json.
  Status write_results(const Pipeline& pipeline, const PipelineResult& result) const;

  // A seal. What was sealed stays: errors: kInvalidArgument, the folder holds another one, with the
  // first key that differs.
  Status write_seal(const std::string& name, const Json& seal) const;

  // One file of the run, by one rename; makes the folders on its way. `name` is relative.
  Status write(const std::string& name, const std::string& text) const;
  // run.json, the last one: `run` with the digests of the files written before it.
  Status write_run(Json run) const;

  [[nodiscard]] const std::filesystem::path& folder() const { return folder_; }

 private:
  RunDirectory(std::filesystem::path folder, int lock) : folder_(std::move(folder)), lock_(lock) {}
  std::filesystem::path folder_;
  int lock_;
  mutable Json written_ = Json::object();  // name -> digest
};

}  // namespace candor
