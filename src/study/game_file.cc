#include "study/game_file.h"

#include <array>
#include <cmath>
#include <filesystem>

#include "base/strings.h"
#include "formats/npy.h"
#include "formats/safetensors.h"
#include "study/divergence_spec.h"

namespace candor {

namespace {

const std::vector<std::string> kNormalizations = {"max", "sum", "none"};

Result<std::vector<double>> array_from_file(const Json& reference, const std::string& source,
                                            const std::string& path) {
  JsonReader in(reference, source, path);
  const std::string name = in.text("file");
  const int64_t row = in.integer_or("row", 0, 0, int64_t{1} << 40);
  const std::string tensor = in.text_or("tensor", "");
  CANDOR_RETURN_IF_ERROR(in.finish());
  const std::filesystem::path file = std::filesystem::path(source).parent_path() / name;
  if (file.extension() == ".npy") {
    if (!tensor.empty()) return in.error_at("tensor", "a .npy file has no named tensors");
    CANDOR_TRY(const NpyFile npy, NpyFile::open(file));
    return npy.doubles(row);
  }
  if (file.extension() != ".safetensors") {
    return in.error_at("file", str_cat("found ", quote(name), "; expected *.npy or *.safetensors"));
  }
  if (tensor.empty()) return in.error_at("tensor", "is missing");
  CANDOR_TRY(const SafeTensors tensors, SafeTensors::open(file));
  return tensors.doubles_of_row(tensor, row);
}

// An array of numbers, inline or in a file.
std::vector<double> read_array(JsonReader& in, const std::string& key) {
  if (in.has(key) && in.json()[key].is_object()) {
    Result<std::vector<double>> values =
        array_from_file(in.any(key), in.source(), str_cat(in.path(), ".", key));
    if (values.ok()) return std::move(values).value();
    in.adopt(values.error());
    return {};
  }
  return in.numbers(key);
}

std::vector<size_t> read_blocks(JsonReader& in, size_t outcomes) {
  if (!in.has("blocks")) return {};
  std::vector<size_t> begin = {0};
  for (const double count : in.numbers("blocks")) {
    if (!(count >= 1 && count == std::floor(count) && count <= 0x1.0p40)) {
      in.fail(str_cat("blocks[", begin.size() - 1, "]"),
              str_cat("found ", count, "; expected a whole number of at least 1"));
      return {};
    }
    begin.push_back(begin.back() + static_cast<size_t>(count));
  }
  if (begin.back() != outcomes) {
    in.fail("blocks", str_cat("sum to ", begin.back(), "; initial has ", outcomes, " entries"));
  }
  return begin;
}

}  // namespace

Result<Game> load_game(const std::string& path) {
  CANDOR_TRY(const Json json, read_json_file(path));
  JsonReader in(json, path);
  Game game;
  static const std::vector<std::string> kKind = {"game/1"};
  in.choice("candor", kKind);
  game.divergence = read_divergence(in);
  const std::string normalization = in.choice("normalization", kNormalizations);
  game.normalization = normalization == "max"   ? Normalization::kMax
                       : normalization == "sum" ? Normalization::kSum
                                                : Normalization::kNone;
  game.initial = read_array(in, "initial");
  game.max_size = in.integer_or("max_size", game.max_size, 1, game.max_size);
  for (JsonReader& group : in.objects("groups")) {
    Report report;
    report.name = group.text("name");
    report.group_size = static_cast<double>(group.integer("size", 1, game.max_size));
    report.reward = read_array(group, "reward");
    in.adopt(group.finish());
    game.groups.push_back(std::move(report));
  }
  if (in.has("candidates")) {
    const Json& candidates = in.any("candidates");
    if (!candidates.is_array() || candidates.empty()) {
      in.fail("candidates", "expected an array with at least one model");
    } else {
      // The reader reads fields; wrap each entry as one.
      for (size_t k = 0; k < candidates.size() && in.ok(); ++k) {
        const Json wrapped = {{"model", candidates[k]}};
        JsonReader entry(wrapped, path, str_cat("$.candidates[", k, "]"));
        game.candidates.push_back(read_array(entry, "model"));
        in.adopt(entry.finish());
      }
    }
  }
  game.block_begin = read_blocks(in, game.initial.size());
  CANDOR_RETURN_IF_ERROR(in.finish());
  Result<Game> made = make_game(std::move(game));
  if (!made.ok()) return invalid_argument(str_cat(path, ": $.", made.error().message));
  return made;
}

Json game_json(const Game& game) {
  Json groups = Json::array();
  for (const Report& report : game.groups) {
    groups.push_back({{"name", report.name},
                      {"size", static_cast<int64_t>(report.group_size)},
                      {"reward", report.reward}});
  }
  Json blocks = Json::array();
  for (size_t block = 0; block < game.block_count(); ++block) {
    blocks.push_back(game.block_begin[block + 1] - game.block_begin[block]);
  }
  Json out = {{"candor", "game/1"},
              {"divergence", divergence_json(game.divergence)},
              {"normalization", kNormalizations[static_cast<size_t>(game.normalization)]},
              {"initial", game.initial},
              {"groups", std::move(groups)},
              {"blocks", std::move(blocks)},
              {"max_size", game.max_size}};
  if (!game.candidates.empty()) out["candidates"] = game.candidates;
  return out;
}

}  // namespace candor
