#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"

namespace candor {

// Where text records come from: JSONL or CSV.
struct LabelledText {
  std::string text;
  int label = 0;            // 0 or 1
  std::string prompt = {};  // empty without a prompt field
  std::string source = {};  // the record's text "source", where it has one: metrics are split by it
};

struct LabelledTextSource {
  std::filesystem::path path;  // *.jsonl or *.csv, or either with .gz
  std::string text_field = "text";
  std::string label_field = "label";
  std::vector<std::string> positive_values = {"1"};  // label text (or number) that counts as 1
  std::string prompt_field = {};                     // empty: the texts answer no prompt
};

// Every line of a JSONL file (of a *.gz one unpacked), parsed strictly; errors name file and line.
// Empty lines are refused except at the end.
Result<std::vector<Json>> read_jsonl(const std::filesystem::path& path);
// The same of bytes that are there already; `source` names them in errors.
Result<std::vector<Json>> parse_jsonl(std::string_view bytes, const std::string& source);

// RFC 4180 CSV with a header line: quoted fields, doubled quotes, line breaks inside quotes. UTF-8;
// blank lines are skipped. Errors: a row of another length, a column named twice, text after a
// closing quote, a quote that is never closed.
struct CsvTable {
  std::vector<std::string> header;
  std::vector<std::vector<std::string>> rows;
  std::vector<size_t> lines;  // where each row begins
};
Result<CsvTable> read_csv(const std::filesystem::path& path);
Result<CsvTable> parse_csv(std::string_view bytes, const std::string& source);

// Labelled texts in file order; a text may be empty. Errors: a missing field (with the fields there
// are), an empty label or one that is neither of two values, no record at all. A nested field is
// written "a.b", an array index "a.0.b"; a chat array (objects with "content") yields the content
// of its last turn.
Result<std::vector<LabelledText>> read_labelled_texts(const LabelledTextSource& source);

// The same of JSONL records that are there already, with their lines; `source.path` names the file.
struct NumberedRecord {
  size_t line = 0;
  Json record;
};
Result<std::vector<LabelledText>> labelled_texts_of_records(std::vector<NumberedRecord> records,
                                                            const LabelledTextSource& source);

}  // namespace candor
