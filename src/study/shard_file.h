#pragma once

#include <string>

#include "base/json.h"
#include "core/shard.h"
#include "study/game_file.h"

namespace candor {

// The files that shards of one game pass around (docs/formats.md). All of them carry the game's
// outline, so that a merge needs neither the game file nor its arrays.

// What is common to all shards: columns without data.
struct GameOutline {
  StreamGame raw;
  Normalization normalization = Normalization::kMax;
  std::string digest;  // of the game file
};
[[nodiscard]] GameOutline outline_of(const MappedColumns& columns);

// state/1: the passes so far.
struct ShardState {
  GameOutline game;
  PassHistory passes;
};
[[nodiscard]] Json state_json(const ShardState& state);
Result<ShardState> parse_state(const Json& json, const std::string& source);
// "sha256:..." of a state; of no passes the same for everybody.
[[nodiscard]] std::string state_digest(const ShardState& state);

// accumulator/1: what one shard adds in the next pass.
struct ShardFile {
  GameOutline game;
  std::string state;  // state_digest of the passes it builds on
  Accumulator accumulator;
};
[[nodiscard]] Json accumulator_json(const ShardFile& file);
Result<ShardFile> parse_accumulator(const Json& json, const std::string& source);

// Whether two outlines are of one game. Errors: what differs, naming both files.
Status check_same_game(const GameOutline& left, const std::string& left_source,
                       const GameOutline& right, const std::string& right_source);

}  // namespace candor
