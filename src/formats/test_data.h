#pragma once

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>

namespace candor {

// Where tests find the real data and models: the repository's examples/data, else shared/data;
// empty when it is in neither, and the test says so.
inline std::filesystem::path shared_data(const std::string& name) {
  std::filesystem::path own = std::filesystem::path(CANDOR_SOURCE_DIR) / "examples" / "data" / name;
  if (std::filesystem::exists(own)) return own;
  const char* root = std::getenv("CANDOR_SHARED_DATA");
  std::filesystem::path path =
      (root != nullptr ? std::filesystem::path(root)
                       : std::filesystem::path(CANDOR_SOURCE_DIR) / ".." / "shared" / "data") /
      name;
  return std::filesystem::exists(path) ? path : std::filesystem::path();
}

// A path inside the site-packages of the project's virtual environment.
inline std::filesystem::path model_package(const std::string& name) {
  const std::filesystem::path lib = std::filesystem::path(CANDOR_SOURCE_DIR) / ".venv" / "lib";
  if (!std::filesystem::exists(lib)) return {};
  for (const auto& entry : std::filesystem::directory_iterator(lib)) {
    std::filesystem::path path = entry.path() / "site-packages" / name;
    if (std::filesystem::exists(path)) return path;
  }
  return {};
}

// The bytes of a gzip file, through gzip itself.
inline std::string gunzip(const std::filesystem::path& path) {
  std::string bytes;
  std::FILE* pipe = ::popen(("gzip -dc '" + path.string() + "'").c_str(), "r");
  if (pipe == nullptr) return bytes;
  char buffer[65536];
  while (const size_t count = std::fread(buffer, 1, sizeof buffer, pipe))
    bytes.append(buffer, count);
  ::pclose(pipe);
  return bytes;
}

}  // namespace candor
