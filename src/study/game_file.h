#pragma once

#include <string>

#include "base/json.h"
#include "base/result.h"
#include "core/game.h"

namespace candor {

// Reads a game/1 file (docs/formats.md): strict keys, numbers in range, arrays inline or
// {"file": "x.safetensors", "tensor": "t", "row": i} / {"file": "x.npy", "row": i} relative to the
// game file. Returns the game in normal form (make_game).
// Errors: kInvalidArgument with file and JSON path.
Result<Game> load_game(const std::string& path);

// The game/1 object of a game, rewards inline. `normalization` is written as given in the game, so
// a reader normalises again: harmless, because normalised rewards stay as they are.
[[nodiscard]] Json game_json(const Game& game);

}  // namespace candor
