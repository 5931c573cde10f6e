#pragma once

#include <memory>
#include <string>

#include "base/json.h"
#include "base/result.h"

namespace candor {

// A YAML document as JSON, with the line of every value for errors.
struct YamlDocument {
  Json json;
  std::shared_ptr<const JsonReader::Lines> lines;
};

// Reads one YAML document. Plain scalars become numbers, booleans or null where they look like it,
// quoted ones stay text. Duplicate keys, aliases to unknown anchors and syntax are errors with
// line.
Result<YamlDocument> read_yaml_file(const std::string& path);

}  // namespace candor
