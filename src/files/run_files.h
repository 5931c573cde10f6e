#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"

namespace candor {

// The files of a run's folder (docs/formats.md, Run directory) as typed values. Each reader names
// the file and the JSON path of what is missing or of another type.

// One stage of run.json.
struct StageRecord {
  std::string label;
  std::string kind;
  std::string artifact;                      // its folder in the store
  std::map<std::string, std::string> files;  // name -> digest
  bool misreport = false;                    // nothing is settled on it
};

// run/1.
struct RunRecord {
  Json json;
  std::string level;    // "sampled", "menu"
  std::string version;  // of the program
  std::string seal;
  std::string menu_seal;      // at level menu
  std::string initial_model;  // digest; of the study's model where nothing was trained before
  std::string prompts;
  // Absent, with what is below, in runs of 0.1.0, whose `stages` named folders alone.
  std::optional<std::vector<StageRecord>> stages;
  std::string stages_digest;
  std::optional<std::map<std::string, std::string>> files;  // every result file -> digest
  std::string digest, content_digest;                       // as SealRecord's, with `stages`
};
Result<RunRecord> read_run_record(const std::filesystem::path& file);

// seal/1 and menu-seal/1: `digest` is that of the canonical JSON of the rest.
struct SealRecord {
  Json json;
  std::string digest;
  std::string content_digest;  // what it should be
};
Result<SealRecord> read_seal(const std::filesystem::path& file, const std::string& format);

}  // namespace candor
