#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/number.h"
#include "base/result.h"

namespace candor {
// Throws std::out_of_range: a key or element that is not there was asked for.
[[noreturn]] void json_misused(const char* condition);
}  // namespace candor

// The library would abort the process where a key of a constant object is missing.
#define JSON_ASSERT(condition) ((condition) ? void() : ::candor::json_misused(#condition))
#include <nlohmann/json.hpp>

namespace candor {

using Json = nlohmann::json;  // keys sorted, doubles exact both ways

// Parses one JSON text. Stricter than the library: duplicate keys, depth over 64, NaN, numbers that
// overflow a double and text after the value are errors, each with `source`, line and column.
Result<Json> parse_json(std::string_view text, std::string_view source);

// read_file and parse_json.
Result<Json> read_json_file(const std::string& path);

// Two-space indented text ending in a newline, doubles in round-trip form; bytes that are not UTF-8
// (of a path, say) become U+FFFD.
// REQUIRES: every number is finite.
[[nodiscard]] std::string to_text(const Json& json);

// The same on one line without a newline (a line of JSONL).
[[nodiscard]] std::string to_line(const Json& json);

// Reads one JSON object field by field and remembers the first thing that is wrong, so a schema
// reads as a list of fields; `finish` returns that error, or names a key nobody asked for (with the
// nearest key that was). After an error every getter returns a harmless value.
//
//   JsonReader in(json, "game.json");
//   JsonReader divergence = in.object("divergence");
//   const std::string name = divergence.text("name");
//   CANDOR_RETURN_IF_ERROR(divergence.finish());
//   CANDOR_RETURN_IF_ERROR(in.finish());
//
// `json` must outlive the reader. Errors read "game.json: $.groups[0].size: found 1.5; expected
// ..."; with `lines` (path -> line, from YAML) they read "study.yaml:12: groups[0].size: ...".
class JsonReader {
 public:
  using Lines = std::map<std::string, int>;
  JsonReader(const Json& json, std::string source, std::string path = "$",
             std::shared_ptr<const Lines> lines = nullptr);

  [[nodiscard]] bool has(const std::string& key);
  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] const std::string& source() const { return source_; }
  [[nodiscard]] const Json& json() const { return *json_; }

  // Required fields.
  double number(const std::string& key, double min = -std::numeric_limits<double>::max(),
                double max = std::numeric_limits<double>::max());
  double number(const std::string& key, const NumberRange& range);
  int64_t integer(const std::string& key, int64_t min, int64_t max);  // 3 and 3.0, never 1.5
  std::string text(const std::string& key);                           // not empty
  std::string choice(const std::string& key, std::span<const std::string> allowed);
  bool boolean(const std::string& key);
  JsonReader object(const std::string& key);
  std::vector<JsonReader> objects(const std::string& key);  // an array of objects
  std::vector<double> numbers(const std::string& key);      // an array of finite numbers
  std::vector<std::string> texts(const std::string& key);
  const Json& any(const std::string& key);  // marks the key as read

  // Optional fields.
  double number_or(const std::string& key, double fallback,
                   double min = -std::numeric_limits<double>::max(),
                   double max = std::numeric_limits<double>::max());
  int64_t integer_or(const std::string& key, int64_t fallback, int64_t min, int64_t max);
  std::string text_or(const std::string& key, std::string fallback);
  std::string choice_or(const std::string& key, std::string fallback,
                        std::span<const std::string> allowed);
  bool boolean_or(const std::string& key, bool fallback);

  // Records an error at `key` of this object: "found ...; expected ...".
  void fail(const std::string& key, std::string_view what);
  // Records an error found elsewhere (a child that has finished, a file that a field names).
  void adopt(const Status& status);
  void adopt(const Error& error) { adopt(Status(error)); }
  // The error as a value, for checks made outside the reader.
  [[nodiscard]] Error error_at(const std::string& key, std::string_view what) const;

  [[nodiscard]] bool ok() const { return !state_->error.has_value(); }
  // The first error so far, for files whose other keys are not ours (config.json).
  [[nodiscard]] Status status() const;
  // The first error anywhere in this document, or unknown keys of this object.
  Status finish();

 private:
  struct State {
    std::optional<Error> error;
  };
  JsonReader child(const Json& json, std::string path) const;
  const Json* find(const std::string& key, bool required);
  [[nodiscard]] std::string path_of(const std::string& key) const;

  const Json* json_;
  std::string source_;
  std::string path_;
  std::shared_ptr<const Lines> lines_;
  std::shared_ptr<State> state_ = std::make_shared<State>();
  std::vector<std::string> known_;
};

}  // namespace candor
