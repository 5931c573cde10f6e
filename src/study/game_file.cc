#include "study/game_file.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <memory>

#include "base/file.h"
#include "base/sha256.h"
#include "base/strings.h"
#include "formats/npy.h"
#include "formats/safetensors.h"
#include "study/divergence_spec.h"

namespace candor {

namespace {

// In the order of Normalization.
const std::vector<std::string> kNormalizations = {"max", "sum", "none", "min_max"};

// {"file", "tensor"?, "row"?} opened: one of the two files is set.
struct ArrayFile {
  std::shared_ptr<NpyFile> npy;
  std::shared_ptr<SafeTensors> tensors;
  std::string tensor;
  int64_t row = 0;

  [[nodiscard]] Result<std::vector<double>> doubles() const {
    return npy != nullptr ? npy->doubles(row) : tensors->doubles_of_row(tensor, row);
  }
  [[nodiscard]] Result<NumberRow> number_row() const {
    return npy != nullptr ? npy->number_row(row) : tensors->number_row(tensor, row);
  }
};

Result<ArrayFile> open_array(const Json& reference, const std::string& source,
                             const std::string& path) {
  JsonReader in(reference, source, path);
  const std::string name = in.text("file");
  ArrayFile out;
  out.row = in.integer_or("row", 0, 0, int64_t{1} << 40);
  out.tensor = in.text_or("tensor", "");
  CANDOR_RETURN_IF_ERROR(in.finish());
  const std::filesystem::path file = std::filesystem::path(source).parent_path() / name;
  if (file.extension() == ".npy") {
    if (!out.tensor.empty()) return in.error_at("tensor", "a .npy file has no named tensors");
    CANDOR_TRY(NpyFile npy, NpyFile::open(file));
    out.npy = std::make_shared<NpyFile>(std::move(npy));
    return out;
  }
  if (file.extension() != ".safetensors") {
    return in.error_at("file", str_cat("found ", quote(name), "; expected *.npy or *.safetensors"));
  }
  if (out.tensor.empty()) return in.error_at("tensor", "is missing");
  CANDOR_TRY(SafeTensors tensors, SafeTensors::open(file));
  out.tensors = std::make_shared<SafeTensors>(std::move(tensors));
  return out;
}

Result<std::vector<double>> array_from_file(const Json& reference, const std::string& source,
                                            const std::string& path) {
  CANDOR_TRY(const ArrayFile file, open_array(reference, source, path));
  return file.doubles();
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

Normalization read_normalization(JsonReader& in) {
  const std::string name = in.choice("normalization", kNormalizations);
  const auto found = std::ranges::find(kNormalizations, name);
  return found == kNormalizations.end()
             ? Normalization::kMax
             : static_cast<Normalization>(found - kNormalizations.begin());
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

Result<std::string> kind_of_file(const std::string& path) {
  CANDOR_TRY(const Json json, read_json_file(path));
  const bool has = json.is_object() && json.contains("candor") && json["candor"].is_string();
  return has ? json["candor"].get<std::string>() : std::string();
}

Result<Game> load_game(const std::string& path) {
  CANDOR_TRY(const Json json, read_json_file(path));
  JsonReader in(json, path);
  Game game;
  static const std::vector<std::string> kKind = {"game/1"};
  in.choice("candor", kKind);
  game.divergence = read_divergence(in);
  game.normalization = read_normalization(in);
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

namespace {

// A streamed game's column, or nothing where the array must be converted.
Result<std::optional<Column>> open_column(const Json& reference, const std::string& source,
                                          const std::string& path, MappedColumns& out) {
  CANDOR_TRY(const ArrayFile file, open_array(reference, source, path));
  CANDOR_TRY(const NumberRow row, file.number_row());
  if (!row.in_place()) return std::optional<Column>();
  if (file.npy != nullptr) out.files.emplace_back(file.npy);
  if (file.tensors != nullptr) out.files.emplace_back(file.tensors);
  return std::optional<Column>({.f64 = row.f64, .f32 = row.f32, .size = row.size});
}

// Whether nothing in the game asks for more than a streamed solution can give.
bool streamable(const Json& json) {
  if (!json.is_object() || json.contains("candidates") || json.contains("blocks")) return false;
  const auto in_file = [](const Json& owner, const char* key) {
    return owner.is_object() && owner.contains(key) && owner[key].is_object();
  };
  const auto& groups = json.find("groups");
  return in_file(json, "initial") && groups != json.end() && groups->is_array() &&
         std::ranges::all_of(*groups, [&](const Json& group) { return in_file(group, "reward"); });
}

}  // namespace

Result<std::optional<MappedColumns>> map_columns(const std::string& path) {
  CANDOR_TRY(const std::string text, read_file(path));
  CANDOR_TRY(const Json json, parse_json(text, path));
  if (!streamable(json)) return std::optional<MappedColumns>();
  JsonReader in(json, path);
  MappedColumns out;
  out.digest = str_cat("sha256:", sha256_hex(text));
  static const std::vector<std::string> kKind = {"game/1"};
  in.choice("candor", kKind);
  out.raw.divergence = read_divergence(in);
  out.normalization = read_normalization(in);
  const int64_t max_size = in.integer_or("max_size", Game().max_size, 1, Game().max_size);
  const Json& initial = in.any("initial");
  std::vector<std::pair<std::string, const Json*>> rewards;
  for (JsonReader& fields : in.objects("groups")) {
    StreamGroup group;
    group.name = fields.text("name");
    group.group_size = static_cast<double>(fields.integer("size", 1, max_size));
    rewards.emplace_back(str_cat(fields.path(), ".reward"), &fields.any("reward"));
    in.adopt(fields.finish());
    out.raw.groups.push_back(std::move(group));
  }
  CANDOR_RETURN_IF_ERROR(in.finish());
  CANDOR_TRY(const auto first, open_column(initial, path, "$.initial", out));
  if (!first.has_value() || first->size < kSmallestStreamed) return std::optional<MappedColumns>();
  out.raw.initial = *first;
  for (size_t i = 0; i < rewards.size(); ++i) {
    CANDOR_TRY(const auto column, open_column(*rewards[i].second, path, rewards[i].first, out));
    if (!column.has_value()) return std::optional<MappedColumns>();
    out.raw.groups[i].reward = *column;
  }
  return std::optional<MappedColumns>(std::move(out));
}

Result<std::optional<MappedGame>> map_game(const std::string& path, int threads) {
  CANDOR_TRY(std::optional<MappedColumns> columns, map_columns(path));
  if (!columns.has_value()) return std::optional<MappedGame>();
  Result<StreamGame> made =
      make_stream_game(std::move(columns->raw), columns->normalization, threads);
  if (!made.ok()) return invalid_argument(str_cat(path, ": $.", made.error().message));
  return std::optional<MappedGame>(
      {.game = std::move(made).value(), .files = std::move(columns->files)});
}

const std::vector<std::string>& normalization_names() { return kNormalizations; }

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
