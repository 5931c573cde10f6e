// Every JSON file of the theory (docs/formats.md), by its "candor" key: game/1, table/1, types/1,
// rule/1, state/1, accumulator/1; whatever loads is put to use.
#include "base/json.h"
#include "core/solution.h"
#include "fuzz_input.h"
#include "study/game_file.h"
#include "study/lab_files.h"
#include "study/shard_file.h"
#include "study/table_file.h"

namespace candor {
namespace {

constexpr size_t kLargest = 64;  // outcomes and candidates solved here

const Game& small_game() {
  static const Game kGame = [] {
    Game raw;
    raw.initial = {0.5, 0.25, 0.25};
    raw.groups = {{"a", 2, {1, 0.5, 0}}, {"b", 1, {0, 0.5, 1}}};
    return make_game(std::move(raw)).value();
  }();
  return kGame;
}

void try_shards(const Json& json) {
  const auto state = parse_state(json, "fuzz");
  if (state.ok()) {
    Accumulator part;
    if (!state->passes.empty()) {
      part = {.pass = state->passes.back().name,
              .first_segment = 0,
              .parts = state->passes.back().parts};
    }
    (void)reduce_shards(state->game.raw, state->game.normalization, state->passes, {part}).ok();
  }
  const auto file = parse_accumulator(json, "fuzz");
  if (file.ok()) {
    (void)reduce_shards(file->game.raw, file->game.normalization, {}, {file->accumulator}).ok();
  }
}

}  // namespace
}  // namespace candor

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace candor;
  const auto json = parse_json(text_of(data, size), "fuzz");
  if (!json.ok()) return 0;
  const MemoryFile memory(text_of(data, size));
  const std::string path = memory.path().string();
  const auto game = load_game(path);
  if (game.ok() && game->outcome_count() <= kLargest) (void)solve(*game).ok();
  const auto table = load_table(path);
  if (table.ok() && table->table.candidates.size() <= kLargest) (void)settle(table->table);
  (void)load_types(path, small_game()).ok();
  (void)load_rule(path, small_game(), 0).ok();
  try_shards(*json);
  return 0;
}
