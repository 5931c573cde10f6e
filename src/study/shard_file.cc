#include "study/shard_file.h"

#include <algorithm>

#include "base/sha256.h"
#include "base/strings.h"
#include "study/divergence_spec.h"

namespace candor {

namespace {

constexpr int64_t kMostOutcomes = int64_t{1} << 40;
constexpr int64_t kMostSegments = int64_t{1} << 22;

Json outline_json(const GameOutline& game) {
  Json groups = Json::array();
  for (const StreamGroup& group : game.raw.groups) {
    groups.push_back({{"name", group.name}, {"size", static_cast<int64_t>(group.group_size)}});
  }
  return {{"digest", game.digest},
          {"divergence", divergence_json(game.raw.divergence)},
          {"normalization", normalization_names()[static_cast<size_t>(game.normalization)]},
          {"outcomes", game.raw.initial.size},
          {"groups", std::move(groups)}};
}

GameOutline read_outline(JsonReader& in) {
  JsonReader fields = in.object("game");
  GameOutline out;
  out.digest = fields.text("digest");
  out.raw.divergence = read_divergence(fields);
  const std::string name = fields.choice("normalization", normalization_names());
  const auto found = std::ranges::find(normalization_names(), name);
  out.normalization = static_cast<Normalization>(
      found == normalization_names().end() ? 0 : found - normalization_names().begin());
  const auto outcomes = static_cast<size_t>(fields.integer("outcomes", 1, kMostOutcomes));
  out.raw.initial.size = outcomes;
  for (JsonReader& one : fields.objects("groups")) {
    StreamGroup group;
    group.name = one.text("name");
    group.group_size = static_cast<double>(one.integer("size", 1, Game().max_size));
    group.reward.size = outcomes;
    in.adopt(one.finish());
    out.raw.groups.push_back(std::move(group));
  }
  in.adopt(fields.finish());
  return out;
}

std::vector<std::vector<double>> read_parts(JsonReader& in) {
  std::vector<std::vector<double>> out;
  const Json& parts = in.any("parts");
  if (!in.ok()) return out;
  if (!parts.is_array() || parts.size() > static_cast<size_t>(kMostSegments)) {
    in.fail("parts", "expected an array of arrays of numbers, one for each segment");
    return out;
  }
  for (size_t segment = 0; segment < parts.size() && in.ok(); ++segment) {
    std::vector<double>& part = out.emplace_back();
    if (!parts[segment].is_array()) {
      in.fail(str_cat("parts[", segment, "]"), "expected an array of numbers");
      return out;
    }
    for (const Json& value : parts[segment]) {
      if (!value.is_number()) {
        in.fail(str_cat("parts[", segment, "][", part.size(), "]"),
                str_cat("found ", value.dump(), "; expected a number"));
        return out;
      }
      part.push_back(value.get<double>());
    }
  }
  return out;
}

}  // namespace

GameOutline outline_of(const MappedColumns& columns) {
  GameOutline out{
      .raw = columns.raw, .normalization = columns.normalization, .digest = columns.digest};
  const size_t outcomes = columns.raw.initial.size;
  out.raw.initial = {.size = outcomes};
  for (StreamGroup& group : out.raw.groups) group.reward = {.size = outcomes};
  return out;
}

Json state_json(const ShardState& state) {
  Json passes = Json::array();
  for (const PassRecord& record : state.passes) {
    passes.push_back({{"name", record.name}, {"parts", record.parts}});
  }
  return {{"candor", "state/1"}, {"game", outline_json(state.game)}, {"passes", std::move(passes)}};
}

Result<ShardState> parse_state(const Json& json, const std::string& source) {
  JsonReader in(json, source);
  static const std::vector<std::string> kKind = {"state/1"};
  in.choice("candor", kKind);
  ShardState out;
  out.game = read_outline(in);
  for (JsonReader& pass : in.objects("passes")) {
    PassRecord record;
    record.name = pass.text("name");
    record.parts = read_parts(pass);
    in.adopt(pass.finish());
    out.passes.push_back(std::move(record));
  }
  CANDOR_RETURN_IF_ERROR(in.finish());
  return out;
}

std::string state_digest(const ShardState& state) {
  if (state.passes.empty()) return "none";
  return str_cat("sha256:", sha256_hex(to_line(state_json(state))));
}

Json accumulator_json(const ShardFile& file) {
  return {{"candor", "accumulator/1"},
          {"game", outline_json(file.game)},
          {"state", file.state},
          {"pass", file.accumulator.pass},
          {"first_segment", file.accumulator.first_segment},
          {"parts", file.accumulator.parts}};
}

Result<ShardFile> parse_accumulator(const Json& json, const std::string& source) {
  JsonReader in(json, source);
  static const std::vector<std::string> kKind = {"accumulator/1"};
  in.choice("candor", kKind);
  ShardFile out;
  out.game = read_outline(in);
  out.state = in.text("state");
  out.accumulator.pass = in.text("pass");
  out.accumulator.first_segment =
      static_cast<size_t>(in.integer("first_segment", 0, kMostSegments));
  out.accumulator.parts = read_parts(in);
  CANDOR_RETURN_IF_ERROR(in.finish());
  return out;
}

Status check_same_game(const GameOutline& left, const std::string& left_source,
                       const GameOutline& right, const std::string& right_source) {
  if (outline_json(left) == outline_json(right)) return {};
  return invalid_argument(str_cat(right_source, ": belongs to another game than ", left_source,
                                  " (", right.digest, " and ", left.digest, ")"));
}

}  // namespace candor
