#pragma once

#include <map>
#include <memory>
#include <string>

#include "base/json.h"
#include "base/result.h"

namespace candor {

// A YAML document as JSON, with the line of every value for errors.
struct YamlDocument {
  using Texts = std::map<std::string, std::string>;
  Json json;
  std::shared_ptr<const JsonReader::Lines> lines;
  std::shared_ptr<const Texts> numbers;  // path -> a number as it is written

  // The number at `path` as it is written, or `value`'s shortest text where it was not read here.
  [[nodiscard]] std::string number_text(const std::string& path, const Json& value) const;
};

// Reads one YAML document. Plain scalars become numbers, booleans or null where they look like it,
// quoted ones stay text. Duplicate keys, aliases to unknown anchors and syntax are errors with
// line.
Result<YamlDocument> read_yaml_file(const std::string& path);

}  // namespace candor
