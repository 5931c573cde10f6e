#include "formats/records.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <set>

#include "base/strings.h"
#include "formats/gzip.h"
#include "formats/unicode.h"

namespace candor {

namespace {

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

std::optional<std::string> text_of(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number() || value.is_boolean()) return value.dump();
  // A chat: what its last turn says.
  if (value.is_array() && !value.empty() && value.back().is_object() &&
      value.back().contains("content") && value.back()["content"].is_string()) {
    return value.back()["content"].get<std::string>();
  }
  return std::nullopt;
}

struct Row {
  std::string source;
  std::string prompt;
  std::string text;
  std::string label;
  std::string where;  // "file:line"
};

Error missing_field(const Json& record, const std::string& field, const std::string& where) {
  std::vector<std::string> names;
  if (record.is_object()) {
    for (const auto& item : record.items()) names.push_back(item.key());
  }
  return invalid_argument(str_cat(where, ": has no field ", quote(field), " (it has ",
                                  join(names, ", "), ")", did_you_mean(field, names)));
}

Result<Row> row_of_record(const NumberedRecord& numbered, const LabelledTextSource& source) {
  const Json& record = numbered.record;
  Row row;
  row.where = str_cat(source.path.string(), ":", numbered.line);
  for (const auto& [field, out] : {std::pair{&source.text_field, &row.text},
                                   {&source.label_field, &row.label},
                                   {&source.prompt_field, &row.prompt}}) {
    if (field->empty()) continue;  // no prompt
    const Json* value = field_at(record, *field);
    if (value == nullptr) return missing_field(record, *field, row.where);
    const std::optional<std::string> found = text_of(*value);
    if (!found.has_value()) {
      return invalid_argument(str_cat(row.where, ": ", *field, ": found ",
                                      value->dump().substr(0, 60),
                                      "; expected a text, a number or a chat"));
    }
    *out = *found;
  }
  if (record.contains("source") && record["source"].is_string()) row.source = record["source"];
  return row;
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
  const bool prompted = !source.prompt_field.empty();
  CANDOR_TRY(const size_t prompt, column(prompted ? source.prompt_field : source.text_field));
  std::vector<Row> rows;
  for (size_t i = 0; i < table.rows.size(); ++i) {
    rows.push_back({{},
                    prompted ? table.rows[i][prompt] : std::string(),
                    std::move(table.rows[i][text]),
                    std::move(table.rows[i][label]),
                    str_cat(source.path.string(), ":", table.lines[i])});
  }
  return rows;
}

}  // namespace

Result<std::vector<Json>> read_jsonl(const std::filesystem::path& path) {
  CANDOR_TRY(const std::string bytes, read_record_file(path));
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

namespace {

// Reads CSV one byte at a time; a row ends at a line break outside quotes.
class CsvReader {
 public:
  CsvReader(std::string_view bytes, const std::string& source) : bytes_(bytes), source_(source) {
    if (bytes_.starts_with("\xef\xbb\xbf")) bytes_.remove_prefix(3);  // a byte-order mark
  }

  Result<CsvTable> run() {
    for (; place_ < bytes_.size(); ++place_) {
      if (bytes_[place_] == '\n') ++line_;
      CANDOR_RETURN_IF_ERROR(state_ == State::kQuoted ? quoted() : plain());
    }
    if (state_ == State::kQuoted) return refuse("a quote is never closed");
    if (!row_.empty() || !cell_.empty() || state_ == State::kClosed) {
      CANDOR_RETURN_IF_ERROR(end_row());
    }
    if (table_.header.empty()) {
      return invalid_argument(str_cat(source_, ": is empty; expected a header line"));
    }
    return std::move(table_);
  }

 private:
  enum class State { kPlain, kQuoted, kClosed };  // kClosed: after a cell's closing quote

  [[nodiscard]] Error refuse(std::string_view why) const {
    return invalid_argument(str_cat(source_, ":", row_line_, ": ", why));
  }
  Status quoted() {
    const char c = bytes_[place_];
    if (c != '"') {
      cell_ += c;
    } else if (bytes_.substr(place_ + 1).starts_with('"')) {
      cell_ += c;
      ++place_;
    } else {
      state_ = State::kClosed;
    }
    return {};
  }
  Status plain() {
    const char c = bytes_[place_];
    if (c == '\n') return end_line();
    if (c == ',') {
      end_cell();
    } else if (c == '\r' && bytes_.substr(place_ + 1).starts_with('\n')) {
      // part of the line break
    } else if (state_ == State::kClosed) {
      return refuse(str_cat("found ", quote(bytes_.substr(place_, 1)),
                            " after a closing quote; expected a comma or a line break"));
    } else if (c == '"' && cell_.empty()) {
      state_ = State::kQuoted;
    } else {
      cell_ += c;
    }
    return {};
  }
  void end_cell() {
    row_.push_back(std::move(cell_));
    cell_.clear();
    state_ = State::kPlain;
  }
  Status end_line() {
    const bool blank = row_.empty() && cell_.empty() && state_ == State::kPlain;
    if (!blank) CANDOR_RETURN_IF_ERROR(end_row());
    row_line_ = line_;
    return {};
  }
  Status end_row() {
    end_cell();
    for (const std::string& cell : row_) {
      if (!is_utf8(cell)) return refuse(str_cat("found ", quote(cell), ", which is not UTF-8"));
    }
    if (table_.header.empty()) {
      table_.header = std::move(row_);
      for (auto name = table_.header.begin(); name != table_.header.end(); ++name) {
        if (std::find(table_.header.begin(), name, *name) != name) {
          return refuse(str_cat("the column ", quote(*name), " occurs twice"));
        }
      }
    } else if (row_.size() != table_.header.size()) {
      return refuse(str_cat("has ", row_.size(), " cells; the header has ", table_.header.size()));
    } else {
      table_.rows.push_back(std::move(row_));
      table_.lines.push_back(row_line_);
    }
    row_.clear();
    return {};
  }

  std::string_view bytes_;
  const std::string& source_;
  size_t place_ = 0;
  size_t line_ = 1;
  size_t row_line_ = 1;
  State state_ = State::kPlain;
  std::string cell_;
  std::vector<std::string> row_;
  CsvTable table_;
};

}  // namespace

Result<CsvTable> parse_csv(std::string_view bytes, const std::string& source) {
  return CsvReader(bytes, source).run();
}

Result<CsvTable> read_csv(const std::filesystem::path& path) {
  CANDOR_TRY(const std::string bytes, read_record_file(path));
  return parse_csv(bytes, path.string());
}

namespace {

Result<std::vector<LabelledText>> texts_of_rows(std::vector<Row> rows,
                                                const LabelledTextSource& source) {
  std::vector<LabelledText> texts;
  std::set<std::string> negatives;
  for (Row& row : rows) {
    if (row.label.empty()) return invalid_argument(str_cat(row.where, ": the label is empty"));
    const bool positive =
        std::ranges::find(source.positive_values, row.label) != source.positive_values.end();
    if (!positive) negatives.insert(row.label);
    if (negatives.size() > 1) {
      return invalid_argument(str_cat(row.where, ": found the label ", quote(row.label), " beside ",
                                      quote(*negatives.begin()), "; expected two values in all, ",
                                      join(source.positive_values, " or "), " counting as 1"));
    }
    texts.push_back({.text = std::move(row.text),
                     .label = positive ? 1 : 0,
                     .prompt = std::move(row.prompt),
                     .source = std::move(row.source)});
  }
  return texts;
}

}  // namespace

Result<std::vector<LabelledText>> labelled_texts_of_records(std::vector<NumberedRecord> records,
                                                            const LabelledTextSource& source) {
  std::vector<Row> rows;
  for (const NumberedRecord& record : records) {
    CANDOR_TRY(Row row, row_of_record(record, source));
    rows.push_back(std::move(row));
  }
  return texts_of_rows(std::move(rows), source);
}

Result<std::vector<LabelledText>> read_labelled_texts(const LabelledTextSource& source) {
  const std::string extension = record_extension(source.path);
  const bool csv = extension == ".csv";
  if (!csv && extension != ".jsonl") {
    return invalid_argument(str_cat(source.path.string(),
                                    ": expected a name ending in .jsonl, .csv or either with .gz"));
  }
  std::vector<LabelledText> texts;
  if (csv) {
    CANDOR_TRY(std::vector<Row> rows, rows_of_csv(source));
    CANDOR_TRY(texts, texts_of_rows(std::move(rows), source));
  } else {
    CANDOR_TRY(std::vector<Json> records, read_jsonl(source.path));
    std::vector<NumberedRecord> numbered;
    for (size_t i = 0; i < records.size(); ++i) numbered.push_back({i + 1, std::move(records[i])});
    CANDOR_TRY(texts, labelled_texts_of_records(std::move(numbered), source));
  }
  if (texts.empty()) return invalid_argument(str_cat(source.path.string(), ": holds no record"));
  return texts;
}

}  // namespace candor
