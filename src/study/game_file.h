#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "core/game.h"
#include "core/stream.h"

namespace candor {

// The value of "candor" in a JSON file, "" where it has none: which kind of file it is.
Result<std::string> kind_of_file(const std::string& path);

// Reads a game/1 file (docs/formats.md): strict keys, numbers in range, arrays inline or
// {"file": "x.safetensors", "tensor": "t", "row": i} / {"file": "x.npy", "row": i} relative to the
// game file. Returns the game in normal form (make_game).
// Errors: kInvalidArgument with file and JSON path.
Result<Game> load_game(const std::string& path);

// A game whose arrays stay in their mapped files.
struct MappedGame {
  StreamGame game;
  std::vector<std::shared_ptr<const void>> files;  // keep the columns valid
};

// The same before its columns are read: as make_stream_game takes it.
struct MappedColumns {
  StreamGame raw;
  Normalization normalization = Normalization::kMax;
  std::string digest;  // "sha256:..." of the game file's bytes; the arrays' files are not read
  std::vector<std::shared_ptr<const void>> files;
};

// From this many outcomes on a game is streamed where it can be.
inline constexpr size_t kSmallestStreamed = size_t{1} << 16;

// The game of a game/1 file without copying its arrays, checked and normalised as load_game does.
// Nothing where it must be loaded: an array inline, of another type than f32 or f64 or not aligned;
// candidates, blocks; fewer than kSmallestStreamed outcomes.
// Errors: as load_game.
Result<std::optional<MappedGame>> map_game(const std::string& path, int threads);
Result<std::optional<MappedColumns>> map_columns(const std::string& path);

[[nodiscard]] const std::vector<std::string>& normalization_names();

// The game/1 object of a game, rewards inline. `normalization` is written as given in the game, so
// a reader normalises again: harmless, because normalised rewards stay as they are.
[[nodiscard]] Json game_json(const Game& game);

}  // namespace candor
