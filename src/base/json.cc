#include "base/json.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <set>
#include <stdexcept>

#include "base/file.h"
#include "base/strings.h"

namespace candor {

void json_misused(const char* condition) {
  throw std::out_of_range(str_cat("JSON: a value is not there (", condition, ")"));
}

namespace {

constexpr size_t kMaxDepth = 64;

// Line and column (from 1) of a byte offset.
std::string position_text(std::string_view text, size_t offset) {
  offset = std::min(offset, text.size());
  const auto newlines =
      std::count(text.begin(), text.begin() + static_cast<ptrdiff_t>(offset), '\n');
  const size_t last = text.substr(0, offset).rfind('\n');
  const size_t column = last == std::string_view::npos ? offset + 1 : offset - last;
  return str_cat(newlines + 1, ":", column);
}

// Walks over the text and notes how far the library has read: its events say nothing of places.
struct NotingIterator {
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  const char* place = nullptr;
  const char** furthest = nullptr;

  reference operator*() const { return *place; }
  NotingIterator& operator++() {
    *furthest = ++place;
    return *this;
  }
  bool operator==(const NotingIterator& other) const { return place == other.place; }
  bool operator!=(const NotingIterator& other) const { return place != other.place; }
};

// Builds the value through the library's event interface, where duplicates and depth are visible.
class StrictBuilder : public nlohmann::json_sax<Json> {
 public:
  explicit StrictBuilder(std::string_view text) : text_(text), furthest_(text.data()) {}

  bool parse() {
    const NotingIterator begin{text_.data(), &furthest_};
    const NotingIterator end{text_.data() + text_.size(), &furthest_};
    return Json::sax_parse(begin, end, this);
  }

  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(number_integer_t value) override { return add(value); }
  bool number_unsigned(number_unsigned_t value) override { return add(value); }
  bool number_float(number_float_t value, const string_t& token) override {
    if (!std::isfinite(value)) return refuse(str_cat("the number ", token, " is out of range"));
    return add(value);
  }
  bool string(string_t& value) override { return add(std::move(value)); }
  bool binary(binary_t& /*value*/) override { return refuse("binary data"); }
  bool start_object(size_t /*size*/) override { return open(Json::object()); }
  bool start_array(size_t /*size*/) override { return open(Json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(string_t& name) override {
    if (stack_.back()->contains(name)) return refuse(str_cat("duplicate key ", quote(name)));
    keys_.back() = std::move(name);
    return true;
  }
  bool parse_error(size_t offset, const std::string& /*token*/,
                   const nlohmann::detail::exception& error) override {
    // The library's text: "[json.exception...] parse error at line L, column C: REASON".
    std::string reason = error.what();
    for (const std::string_view cut : {"while parsing", "syntax error", "number overflow"}) {
      if (const size_t at = reason.find(cut); at != std::string::npos) {
        reason = reason.substr(at);
        break;
      }
    }
    message_ =
        str_cat(position_text(text_, offset == 0 ? 0 : offset - 1), ": not valid JSON: ", reason);
    return false;
  }

  Json root;
  [[nodiscard]] const std::string& message() const { return message_; }

 private:
  bool refuse(const std::string& why) {
    // The last byte read: the closing quote of a key, the bracket that opens one level too many.
    const auto read = static_cast<size_t>(furthest_ - text_.data());
    message_ = str_cat(position_text(text_, read == 0 ? 0 : read - 1), ": ", why);
    return false;
  }
  Json* place(Json value) {
    if (stack_.empty()) {
      root = std::move(value);
      return &root;
    }
    Json& parent = *stack_.back();
    if (parent.is_array()) {
      parent.push_back(std::move(value));
      return &parent.back();
    }
    return &(parent[keys_.back()] = std::move(value));
  }
  bool add(Json value) {
    place(std::move(value));
    return true;
  }
  bool open(Json value) {
    if (stack_.size() >= kMaxDepth) return refuse(str_cat("nested deeper than ", kMaxDepth));
    stack_.push_back(place(std::move(value)));
    keys_.emplace_back();
    return true;
  }
  bool close() {
    stack_.pop_back();
    keys_.pop_back();
    return true;
  }

  std::string_view text_;
  const char* furthest_;
  std::vector<Json*> stack_;
  std::vector<std::string> keys_;
  std::string message_;
};

std::string describe(const Json& value) {
  if (value.is_object()) return "an object";
  if (value.is_array()) return "an array";
  if (value.is_null()) return "null";
  if (value.is_string()) return quote(value.get_ref<const std::string&>());
  return value.dump();
}

std::string alternatives(std::span<const std::string> allowed) {
  std::vector<std::string> names;
  for (const std::string& name : allowed) names.push_back(str_cat("\"", name, "\""));
  return str_cat(names.size() > 1 ? "one of " : "", join(names, ", "));
}

const Json kNull;

}  // namespace

Result<Json> parse_json(std::string_view text, std::string_view source) {
  StrictBuilder builder(text);
  if (!builder.parse()) return invalid_argument(str_cat(source, ":", builder.message()));
  return std::move(builder.root);
}

Result<Json> read_json_file(const std::string& path) {
  CANDOR_TRY(const std::string text, read_file(path));
  return parse_json(text, path);
}

std::string to_text(const Json& json) {
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}
std::string to_line(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

JsonReader::JsonReader(const Json& json, std::string source, std::string path,
                       std::shared_ptr<const Lines> lines)
    : json_(&json), source_(std::move(source)), path_(std::move(path)), lines_(std::move(lines)) {
  if (!json.is_object()) {
    state_->error = invalid_argument(
        str_cat(source_, ": ", path_, ": found ", describe(json), "; expected an object"));
    json_ = &kNull;
  }
}

JsonReader JsonReader::child(const Json& json, std::string path) const {
  JsonReader reader(json, source_, std::move(path), lines_);
  if (reader.state_->error.has_value() && !state_->error.has_value()) {
    state_->error = reader.state_->error;
  }
  reader.state_ = state_;
  return reader;
}

std::string JsonReader::path_of(const std::string& key) const { return str_cat(path_, ".", key); }

Error JsonReader::error_at(const std::string& key, std::string_view what) const {
  std::string path = key.empty() ? path_ : path_of(key);
  if (lines_ != nullptr) {
    // The line of the nearest enclosing thing that has one.
    std::string probe = path;
    auto found = lines_->find(probe);
    while (found == lines_->end() && !probe.empty()) {
      const size_t cut = probe.find_last_of(".[");
      probe = cut == std::string::npos ? "" : probe.substr(0, cut);
      found = lines_->find(probe);
    }
    if (path.starts_with("$.")) path = path.substr(2);
    const std::string line = found == lines_->end() ? "" : str_cat(":", found->second);
    return invalid_argument(str_cat(source_, line, ": ", path, ": ", what));
  }
  return invalid_argument(str_cat(source_, ": ", path, ": ", what));
}

void JsonReader::fail(const std::string& key, std::string_view what) {
  if (!state_->error.has_value()) state_->error = error_at(key, what);
}

void JsonReader::adopt(const Status& status) {
  if (!status.ok() && !state_->error.has_value()) state_->error = status.error();
}

const Json* JsonReader::find(const std::string& key, bool required) {
  known_.push_back(key);
  if (!json_->is_object()) return nullptr;
  const auto found = json_->find(key);
  if (found != json_->end()) return &*found;
  if (required) {
    // A near miss among the keys present is more helpful than "missing" alone.
    std::vector<std::string> present;
    for (const auto& item : json_->items()) present.push_back(item.key());
    const std::string near = did_you_mean(key, present);
    fail(key,
         near.empty() ? "is missing" : str_cat("is missing (there is a key like it", near, ")"));
  }
  return nullptr;
}

bool JsonReader::has(const std::string& key) {
  known_.push_back(key);
  return json_->is_object() && json_->contains(key);
}

double JsonReader::number(const std::string& key, double min, double max) {
  return number(key, NumberRange{min, max});
}

double JsonReader::number(const std::string& key, const NumberRange& range) {
  const Json* value = find(key, true);
  if (value == nullptr) return range.low;
  if (!value->is_number() || !range.holds(value->get<double>())) {
    fail(key, str_cat("found ", describe(*value), "; expected ", range.text()));
    return range.low;
  }
  return value->get<double>();
}

int64_t JsonReader::integer(const std::string& key, int64_t min, int64_t max) {
  const Json* value = find(key, true);
  if (value == nullptr) return min;
  const auto refuse = [&] {
    fail(key, str_cat("found ", describe(*value), "; expected ", whole_range_text(min, max)));
    return min;
  };
  if (value->is_number_unsigned() && value->get<uint64_t>() > static_cast<uint64_t>(INT64_MAX)) {
    return refuse();
  }
  int64_t number = 0;
  if (value->is_number_integer()) {
    number = value->get<int64_t>();
  } else if (value->is_number_float()) {
    const double real = value->get<double>();
    if (std::abs(real) > 0x1.0p53 || real != std::floor(real)) return refuse();
    number = static_cast<int64_t>(real);
  } else {
    return refuse();
  }
  return number >= min && number <= max ? number : refuse();
}

std::string JsonReader::text(const std::string& key) {
  const Json* value = find(key, true);
  if (value == nullptr) return "";
  if (!value->is_string() || value->get_ref<const std::string&>().empty()) {
    fail(key, str_cat("found ", describe(*value), "; expected a non-empty string"));
    return "";
  }
  return value->get<std::string>();
}

std::string JsonReader::choice(const std::string& key, std::span<const std::string> allowed) {
  const Json* value = find(key, true);
  if (value == nullptr) return allowed[0];
  if (value->is_string()) {
    const auto found = std::find(allowed.begin(), allowed.end(), value->get<std::string>());
    if (found != allowed.end()) return *found;
  }
  const std::string near =
      value->is_string() ? did_you_mean(value->get<std::string>(), allowed) : std::string();
  fail(key, str_cat("found ", describe(*value), "; expected ", alternatives(allowed), near));
  return allowed[0];
}

bool JsonReader::boolean(const std::string& key) {
  const Json* value = find(key, true);
  if (value == nullptr) return false;
  if (!value->is_boolean()) {
    fail(key, str_cat("found ", describe(*value), "; expected true or false"));
    return false;
  }
  return value->get<bool>();
}

JsonReader JsonReader::object(const std::string& key) {
  const Json* value = find(key, true);
  return child(value == nullptr ? kNull : *value, path_of(key));
}

std::vector<JsonReader> JsonReader::objects(const std::string& key) {
  std::vector<JsonReader> out;
  const Json* value = find(key, true);
  if (value == nullptr) return out;
  if (!value->is_array()) {
    fail(key, str_cat("found ", describe(*value), "; expected an array of objects"));
    return out;
  }
  for (size_t i = 0; i < value->size(); ++i) {
    out.push_back(child((*value)[i], str_cat(path_of(key), "[", i, "]")));
  }
  return out;
}

std::vector<double> JsonReader::numbers(const std::string& key) {
  std::vector<double> out;
  const Json* value = find(key, true);
  if (value == nullptr) return out;
  if (!value->is_array()) {
    fail(key, str_cat("found ", describe(*value), "; expected an array of numbers"));
    return out;
  }
  out.reserve(value->size());
  for (size_t i = 0; i < value->size(); ++i) {
    const Json& item = (*value)[i];
    if (!item.is_number()) {
      fail(str_cat(key, "[", i, "]"),
           str_cat("found ", describe(item), "; expected a finite number"));
      return out;
    }
    out.push_back(item.get<double>());
  }
  return out;
}

std::vector<std::string> JsonReader::texts(const std::string& key) {
  std::vector<std::string> out;
  const Json* value = find(key, true);
  if (value == nullptr) return out;
  if (!value->is_array()) {
    fail(key, str_cat("found ", describe(*value), "; expected an array of strings"));
    return out;
  }
  for (size_t i = 0; i < value->size(); ++i) {
    const Json& item = (*value)[i];
    if (!item.is_string()) {
      fail(str_cat(key, "[", i, "]"), str_cat("found ", describe(item), "; expected a string"));
      return out;
    }
    out.push_back(item.get<std::string>());
  }
  return out;
}

const Json& JsonReader::any(const std::string& key) {
  const Json* value = find(key, true);
  return value == nullptr ? kNull : *value;
}

double JsonReader::number_or(const std::string& key, double fallback, double min, double max) {
  return has(key) ? number(key, min, max) : fallback;
}
int64_t JsonReader::integer_or(const std::string& key, int64_t fallback, int64_t min, int64_t max) {
  return has(key) ? integer(key, min, max) : fallback;
}
std::string JsonReader::text_or(const std::string& key, std::string fallback) {
  return has(key) ? text(key) : std::move(fallback);
}
std::string JsonReader::choice_or(const std::string& key, std::string fallback,
                                  std::span<const std::string> allowed) {
  return has(key) ? choice(key, allowed) : std::move(fallback);
}
bool JsonReader::boolean_or(const std::string& key, bool fallback) {
  return has(key) ? boolean(key) : fallback;
}

Status JsonReader::status() const {
  if (state_->error.has_value()) return *state_->error;
  return {};
}

Status JsonReader::finish() {
  if (json_->is_object()) {
    for (const auto& item : json_->items()) {
      if (std::find(known_.begin(), known_.end(), item.key()) != known_.end()) continue;
      const std::set<std::string> unique(known_.begin(), known_.end());
      std::vector<std::string> names;
      for (const std::string& name : unique) {
        if (!json_->contains(name)) names.push_back(name);
      }
      // An unknown key explains a missing one better than the missing one does.
      const std::string near = did_you_mean(item.key(), names);
      if (!state_->error.has_value() || !near.empty()) {
        return error_at(item.key(), str_cat("is not a known key", near));
      }
    }
  }
  return status();
}

}  // namespace candor
