#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/json.h"
#include "core/lab.h"

namespace candor {

// The files of `candor lab` (docs/formats.md).

// types/1: types of one group, rewards normalised as the game's. Errors: file and JSON path.
Result<std::vector<Report>> load_types(const std::string& path, const Game& game);

// rule/1: a rule known by what it chooses for some types of the group.
struct LoadedRule {
  std::unique_ptr<TrainingRule> rule;
  std::vector<Report> types;  // the rows', normalised as the game's
};
Result<LoadedRule> load_rule(const std::string& path, const Game& game, size_t group);

// types/1: the types of every witness cycle found, which prove it again when they are given to the
// same rules. No types where no rule has a witness.
[[nodiscard]] Json witness_types_json(const Laboratory& lab);

// lab/1
[[nodiscard]] Json lab_json(const Game& game, const Laboratory& lab);

}  // namespace candor
