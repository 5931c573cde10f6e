#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "base/json.h"
#include "study/source.h"
#include "study/stage_kind.h"

namespace candor {

// A stage/2 request of a test: inputs with the digests of what is there.
inline Json test_request(const std::string& kind, const Json& spec,
                         const std::map<std::string, std::filesystem::path>& paths,
                         const std::filesystem::path& output) {
  Json inputs = Json::object();
  for (const auto& [name, path] : paths) {
    inputs[name] = {{"path", path.string()}, {"digest", digest_of_source(path).value()}};
  }
  return {{"candor", "stage/2"},
          {"kind", kind},
          {"stage_version", is_stage_kind(kind) ? stage_kind(kind).version : 1},
          {"spec", spec},
          {"inputs", std::move(inputs)},
          {"output", output.string()}};
}

}  // namespace candor
