#include "formats/records.h"

#include <algorithm>
#include <charconv>
#include <set>

#include "base/file.h"
#include "base/strings.h"

namespace candor {

namespace {

constexpr uint64_t kMaxRecordBytes = uint64_t{2} << 30;

// "a.0.b" inside a record; nullptr where it leads nowhere.
const Json* field_at(const Json& record, const std::string& path) {
  const Json* place = &record;
  for (const std::string& step : split(path, '.')) {
    if (place->is_object() && place->contains(step)) {
      place = &(*place)[step];
      continue;
    }
    size_t index = 0;
    const auto [end, code] = std::from_chars(step.data(), step.data() + step.size(), index);
    const bool whole = code == std::errc() && end == step.data() + step.size();
    if (!place->is_array() || !whole || index >= place->size()) return nullptr;
    place = &(*place)[index];
  }
  return place;
}

std::string text_of(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number() || value.is_boolean()) return value.dump();
  // A chat: what its last turn says.
  if (value.is_array() && !value.empty() && value.back().is_object() &&
      value.back().contains("content") && value.back()["content"].is_string()) {
    return value.back()["content"].get<std::string>();
  }
  return "";
}

struct Row {
  std::string text;
  std::string label;
  std::string where;  // "file:line"
};

Result<std::vector<Row>> rows_of_jsonl(const LabelledTextSource& source) {
  CANDOR_TRY(const std::vector<Json> records, read_jsonl(source.path));
  std::vector<Row> rows;
  for (size_t i = 0; i < records.size(); ++i) {
    Row row{.text = {}, .label = {}, .where = str_cat(source.path.string(), ":", i + 1)};
    for (const auto& [field, out] :
         {std::pair{&source.text_field, &row.text}, {&source.label_field, &row.label}}) {
      const Json* value = field_at(records[i], *field);
      if (value == nullptr) {
        std::vector<std::string> names;
        if (records[i].is_object()) {
          for (const auto& item : records[i].items()) names.push_back(item.key());
        }
        return invalid_argument(str_cat(row.where, ": has no field ", quote(*field), " (it has ",
                                        join(names, ", "), ")", did_you_mean(*field, names)));
      }
      *out = text_of(*value);
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

Result<std::vector<Row>> rows_of_csv(const LabelledTextSource& source) {
  CANDOR_TRY(CsvTable table, read_csv(source.path));
  const auto column = [&](const std::string& name) -> Result<size_t> {
    const auto found = std::ranges::find(table.header, name);
    if (found != table.header.end()) return static_cast<size_t>(found - table.header.begin());
    return invalid_argument(str_cat(source.path.string(), ":1: has no column ", quote(name),
                                    " (it has ", join(table.header, ", "), ")",
                                    did_you_mean(name, table.header)));
  };
  CANDOR_TRY(const size_t text, column(source.text_field));
  CANDOR_TRY(const size_t label, column(source.label_field));
  std::vector<Row> rows;
  for (size_t i = 0; i < table.rows.size(); ++i) {
    rows.push_back({std::move(table.rows[i][text]), std::move(table.rows[i][label]),
                    str_cat(source.path.string(), ": record ", i + 1)});
  }
  return rows;
}

}  // namespace

Result<std::vector<Json>> read_jsonl(const std::filesystem::path& path) {
  CANDOR_TRY(const std::string bytes, read_file(path, kMaxRecordBytes));
  return parse_jsonl(bytes, path.string());
}

Result<std::vector<Json>> parse_jsonl(std::string_view bytes, const std::string& source) {
  std::vector<Json> records;
  size_t line = 0;
  size_t begin = 0;
  while (begin < bytes.size()) {
    ++line;
    const size_t end = std::min(bytes.find('\n', begin), bytes.size());
    const std::string_view text = trim(bytes.substr(begin, end - begin));
    begin = end + 1;
    if (text.empty()) {
      if (trim(bytes.substr(std::min(begin, bytes.size()))).empty()) break;
      return invalid_argument(str_cat(source, ":", line, ": is empty; expected a JSON value"));
    }
    Result<Json> record = parse_json(text, str_cat(source, ":", line));
    if (!record.ok()) return record.error();
    records.push_back(std::move(*record));
  }
  return records;
}

Result<CsvTable> read_csv(const std::filesystem::path& path) {
  CANDOR_TRY(const std::string bytes, read_file(path, kMaxRecordBytes));
  CsvTable table;
  std::vector<std::string> row;
  std::string cell;
  bool in_quotes = false;
  bool was_quoted = false;
  size_t line = 1;
  size_t row_line = 1;
  const auto end_row = [&]() -> Status {
    row.push_back(std::move(cell));
    cell.clear();
    was_quoted = false;
    if (table.header.empty()) {
      table.header = std::move(row);
    } else if (row.size() != table.header.size()) {
      return invalid_argument(str_cat(path.string(), ":", row_line, ": has ", row.size(),
                                      " cells; the header has ", table.header.size()));
    } else {
      table.rows.push_back(std::move(row));
    }
    row.clear();
    row_line = line;
    return {};
  };
  for (size_t i = 0; i < bytes.size(); ++i) {
    const char c = bytes[i];
    if (c == '\n') ++line;
    if (in_quotes) {
      if (c == '"' && i + 1 < bytes.size() && bytes[i + 1] == '"') {
        cell += '"';
        ++i;
      } else if (c == '"') {
        in_quotes = false;
      } else {
        cell += c;
      }
    } else if (c == '"' && cell.empty() && !was_quoted) {
      in_quotes = true;
      was_quoted = true;
    } else if (c == ',') {
      row.push_back(std::move(cell));
      cell.clear();
      was_quoted = false;
    } else if (c == '\n') {
      if (cell.ends_with('\r')) cell.pop_back();
      const bool blank = row.empty() && cell.empty() && !was_quoted;
      if (!blank) CANDOR_RETURN_IF_ERROR(end_row());
      row_line = line;
    } else {
      cell += c;
    }
  }
  if (in_quotes)
    return invalid_argument(str_cat(path.string(), ":", row_line, ": a quote is never closed"));
  if (!row.empty() || !cell.empty() || was_quoted) CANDOR_RETURN_IF_ERROR(end_row());
  if (table.header.empty())
    return invalid_argument(str_cat(path.string(), ": is empty; expected a header line"));
  return table;
}

Result<std::vector<LabelledText>> read_labelled_texts(const LabelledTextSource& source) {
  const bool csv = source.path.extension() == ".csv";
  if (!csv && source.path.extension() != ".jsonl") {
    return invalid_argument(
        str_cat(source.path.string(), ": expected a name ending in .jsonl or .csv"));
  }
  CANDOR_TRY(std::vector<Row> rows, csv ? rows_of_csv(source) : rows_of_jsonl(source));
  std::vector<LabelledText> texts;
  std::set<std::string> negatives;
  for (Row& row : rows) {
    const bool positive =
        std::ranges::find(source.positive_values, row.label) != source.positive_values.end();
    if (!positive) negatives.insert(row.label);
    if (negatives.size() > 1) {
      return invalid_argument(str_cat(row.where, ": found the label ", quote(row.label), " beside ",
                                      quote(*negatives.begin()), "; expected two values in all, ",
                                      join(source.positive_values, " or "), " counting as 1"));
    }
    texts.push_back({std::move(row.text), positive ? 1 : 0});
  }
  if (texts.empty()) return invalid_argument(str_cat(source.path.string(), ": holds no record"));
  return texts;
}

}  // namespace candor
