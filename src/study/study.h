#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/money.h"
#include "base/result.h"
#include "core/game.h"
#include "study/menu_settings.h"
#include "study/reward_source.h"

namespace candor {

struct StudyGroup {
  std::string name;
  int64_t size = 1;
  RewardSource reward;
  std::optional<RewardSource> judge;  // watched, never priced (menu)
  std::string adapter;                // menu: the group's expert, where it is given
  std::string adapter_made_by;        // who made that; a group's name: its report did
};

struct BankSettings {
  int64_t samples = 16;
  int64_t max_new_tokens = 64;
  double temperature = 1.0;
  double top_p = 1.0;
  int64_t top_k = 0;
  int64_t batch = 32;
};

// study/1 at the sampled and the menu level (docs/formats.md).
struct Study {
  std::string name;
  std::string budget;                // the merge patch that was laid over the document, or empty
  std::optional<MenuSettings> menu;  // at level: menu
  std::filesystem::path folder;      // sources are relative to it
  std::string model;
  std::string dtype = "bf16";
  std::string prompts;
  int64_t max_prompts = 0;  // the first so many of the file; 0: all
  Divergence divergence;
  std::string normalization = "min_max";  // or "max": the sealed rule (DESIGN 6)
  BankSettings bank;
  int64_t reference_samples = 8;
  std::vector<StudyGroup> groups;
  std::vector<double> size_inflation;
  std::vector<double> preference_mix;
  int64_t max_size = (int64_t{1} << 31) - 1;
  int64_t resamples = 2000;
  double confidence = 0.95;
  double target_epsilon = 0;  // menu: no more prompts than this error takes; 0: no target
  uint64_t seed = 1;
  std::string instruction_set;  // of base/cpu.h; empty: the best where the study runs
  UnitPrice unit_price;         // money for one unit of reward x agent
  Currency currency;
  Json resolved;  // every setting, defaults included; what run directories keep
};

struct StudyOptions {
  std::string budget;
  double target_epsilon = 0;         // above 0: in place of the study's own
  std::string instruction_set = {};  // not empty: in place of the study's own
};

// Reads and checks a study. Errors: kInvalidArgument with file, line and field.
Result<Study> load_study(const std::string& path, const StudyOptions& options = {});

// The study.resolved.yaml of a run. Errors: as load_study.
Result<Study> load_resolved_study(const std::string& path);

// The vectors of sizes that are settled: `sizes`, or the groups' own.
[[nodiscard]] std::vector<std::vector<int64_t>> size_vectors(const Study& study);

}  // namespace candor
