#include "study/table_file.h"

#include <algorithm>
#include <filesystem>

#include "base/strings.h"
#include "formats/npy.h"
#include "receipt/canonical_json.h"

namespace candor {

namespace {

// An integer string at `key`; a JSON number there is a common slip and gets its own words.
Int128 read_units(JsonReader& in, const std::string& key, const Json& value) {
  if (!value.is_string()) {
    in.fail(key, str_cat("found ", value.dump(),
                         "; expected a string that holds a whole number of "
                         "units of 2^-32, such as \"4294967296\""));
    return 0;
  }
  const Result<Int128> units = parse_int128(value.get_ref<const std::string&>());
  if (!units.ok()) {
    in.fail(key, units.error().message);
    return 0;
  }
  return *units;
}

int64_t read_bounded(JsonReader& in, const std::string& key, const Json& value, Int128 low,
                     Int128 high) {
  const Int128 units = read_units(in, key, value);
  if (in.ok() && (units < low || units > high)) {
    in.fail(key, str_cat("found \"", to_string(units), "\"; expected ", to_string(low), " to ",
                         to_string(high), " (units of 2^-32)"));
    return 0;
  }
  return static_cast<int64_t>(units);
}

std::vector<int64_t> read_valuations(JsonReader& group) {
  std::vector<int64_t> row;
  const Json& value = group.any("valuations");
  if (value.is_object()) {
    JsonReader reference(value, group.source(), str_cat(group.path(), ".valuations"));
    const std::string name = reference.text("file");
    const int64_t index = reference.integer_or("row", 0, 0, int64_t{1} << 40);
    group.adopt(reference.finish());
    if (!group.ok()) return row;
    const Result<NpyFile> npy =
        NpyFile::open(std::filesystem::path(group.source()).parent_path() / name);
    if (!npy.ok()) {
      group.adopt(npy.error());
      return row;
    }
    const Result<std::vector<int64_t>> values = npy->integers(index);
    if (values.ok()) return *values;
    group.adopt(values.error());
    return row;
  }
  if (!value.is_array()) {
    group.fail("valuations", "expected an array of integer strings, or {\"file\": ...}");
    return row;
  }
  for (size_t k = 0; k < value.size() && group.ok(); ++k) {
    row.push_back(read_bounded(group, str_cat("valuations[", k, "]"), value[k], 0, kFixedPointOne));
  }
  return row;
}

// [n][K], whole numbers of units >= 0: they enter no payment, so JSON numbers are welcome too.
std::vector<std::vector<double>> read_half_widths(JsonReader& in, const Table& table) {
  std::vector<std::vector<double>> out;
  if (!in.has("half_widths")) return out;
  const Json& rows = in.any("half_widths");
  if (!rows.is_array() || rows.size() != table.groups.size()) {
    in.fail("half_widths",
            str_cat("expected an array of ", table.groups.size(), " rows, one for each group"));
    return out;
  }
  for (size_t i = 0; i < rows.size(); ++i) {
    if (!rows[i].is_array() || rows[i].size() != table.candidates.size()) {
      in.fail(
          str_cat("half_widths[", i, "]"),
          str_cat("expected an array of ", table.candidates.size(), ", one for each candidate"));
      return out;
    }
    std::vector<double>& row = out.emplace_back();
    for (size_t k = 0; k < rows[i].size(); ++k) {
      const std::string key = str_cat("half_widths[", i, "][", k, "]");
      const Int128 units = rows[i][k].is_number_unsigned() ? Int128{rows[i][k].get<uint64_t>()}
                                                           : read_units(in, key, rows[i][k]);
      if (units < 0) in.fail(key, str_cat("found ", rows[i][k].dump(), "; expected 0 or more"));
      row.push_back(from_fixed_point(units));
    }
  }
  return out;
}

void check_digest(JsonReader& in, const std::string& key) {
  if (!in.has(key)) return;
  const std::string digest = in.text(key);
  const bool fine = digest.size() == 71 && digest.starts_with("sha256:") &&
                    digest.find_first_not_of("0123456789abcdef", 7) == std::string::npos;
  if (in.ok() && !fine) {
    in.fail(key, str_cat("found ", quote(digest), "; expected \"sha256:\" and 64 hex digits"));
  }
}

// Names of groups -> their places; read after the groups.
void read_makers(JsonReader& in, Table& table) {
  std::vector<std::string> names;
  for (const Table::Group& group : table.groups) names.push_back(group.name);
  std::vector<JsonReader> candidates = in.objects("candidates");
  for (size_t k = 0; k < candidates.size() && in.ok(); ++k) {
    if (!candidates[k].has("made_by")) continue;
    for (const std::string& maker : candidates[k].texts("made_by")) {
      const auto found = std::ranges::find(names, maker);
      if (found == names.end()) {
        candidates[k].fail(
            "made_by", str_cat("found ", quote(maker), "; expected groups: ", join(names, ", ")));
        return;
      }
      table.candidates[k].made_by.push_back(static_cast<size_t>(found - names.begin()));
    }
  }
}

void read_candidates(JsonReader& in, Table& table) {
  for (JsonReader& candidate : in.objects("candidates")) {
    Table::Candidate out;
    out.name = candidate.text("name");
    out.divergence = read_bounded(candidate, "divergence", candidate.any("divergence"),
                                  -(kFixedPointLimit - 1), kFixedPointLimit - 1);
    check_digest(candidate, "digest");
    if (candidate.has("made_by")) (void)candidate.any("made_by");  // when the groups are known
    in.adopt(candidate.finish());
    table.candidates.push_back(out);
  }
}

// Canonical JSON holds no floats; those of provenance (a normalisation constant) become the text
// that reads back as the same double.
void floats_to_text(Json& value) {
  if (value.is_number_float()) value = format_double(value.get<double>());
  if (!value.is_structured()) return;
  for (Json& item : value) floats_to_text(item);
}

// The table as canonical JSON, with the valuations of files put in line.
Result<std::string> table_digest(Json json, const Table& table) {
  for (size_t i = 0; i < table.groups.size(); ++i) {
    Json row = Json::array();
    for (const int64_t value : table.groups[i].valuations) row.push_back(std::to_string(value));
    json["groups"][i]["valuations"] = std::move(row);
    json["groups"][i]["size"] = table.groups[i].group_size;  // 3.0 and 3 are one size
  }
  if (json.contains("max_size")) json["max_size"] = table.max_size;
  if (json.contains("provenance")) floats_to_text(json["provenance"]);
  CANDOR_TRY(const std::string text, canonical_json(json));
  return digest_of(text);
}

}  // namespace

Result<LoadedTable> load_table(const std::string& path) {
  CANDOR_TRY(const Json json, read_json_file(path));
  JsonReader in(json, path);
  LoadedTable out;
  Table& table = out.table;
  static const std::vector<std::string> kKind = {"table/1"};
  in.choice("candor", kKind);
  table.menu_depends_on_reports = in.boolean("menu_depends_on_reports");
  table.max_size = in.integer_or("max_size", table.max_size, 1, table.max_size);
  read_candidates(in, table);
  for (JsonReader& group : in.objects("groups")) {
    Table::Group entry;
    entry.name = group.text("name");
    entry.group_size = group.integer("size", 1, table.max_size);
    entry.valuations = read_valuations(group);
    in.adopt(group.finish());
    table.groups.push_back(std::move(entry));
  }
  if (in.ok()) read_makers(in, table);
  out.half_widths = read_half_widths(in, table);
  if (in.has("provenance") && !in.any("provenance").is_object()) {
    in.fail("provenance", "expected an object");
  }
  CANDOR_RETURN_IF_ERROR(in.finish());
  if (const Status status = check_table(table); !status.ok()) {
    return invalid_argument(str_cat(path, ": $.", status.error().message));
  }
  const Result<std::string> digest = table_digest(json, table);
  if (!digest.ok()) return invalid_argument(str_cat(path, ": ", digest.error().message));
  out.digest = *digest;
  return out;
}

Result<std::vector<std::vector<Int128>>> load_prices(const std::string& path,
                                                     const std::vector<std::string>& group_names,
                                                     size_t candidate_count) {
  CANDOR_TRY(const Json json, read_json_file(path));
  JsonReader in(json, path);
  static const std::vector<std::string> kKind = {"prices/1"};
  in.choice("candor", kKind);
  std::vector<std::vector<Int128>> prices(group_names.size());
  for (JsonReader& group : in.objects("groups")) {
    const std::string name = group.choice("name", group_names);
    const size_t index =
        static_cast<size_t>(std::ranges::find(group_names, name) - group_names.begin());
    const Json& row = group.any("prices");
    if (!row.is_array() || row.size() != candidate_count) {
      group.fail("prices", str_cat("expected an array of ", candidate_count, " integer strings"));
    } else if (!prices[index].empty()) {
      group.fail("name", str_cat("found ", quote(name), " a second time"));
    }
    for (size_t k = 0; group.ok() && k < row.size(); ++k) {
      prices[index].push_back(read_units(group, str_cat("prices[", k, "]"), row[k]));
    }
    in.adopt(group.finish());
  }
  for (size_t i = 0; i < group_names.size(); ++i) {
    if (prices[i].empty()) in.fail("groups", str_cat("has no prices for ", quote(group_names[i])));
  }
  CANDOR_RETURN_IF_ERROR(in.finish());
  return prices;
}

}  // namespace candor
