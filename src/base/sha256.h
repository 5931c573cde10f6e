#pragma once

#include <array>
#include <cstddef>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

namespace candor {

// SHA-256 over a stream of bytes (OpenSSL).
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;

  void update(const void* data, size_t size_bytes);
  void update(std::string_view text) { update(text.data(), text.size()); }

  // Lower-case hex. The object cannot be updated afterwards.
  [[nodiscard]] std::string hex();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

[[nodiscard]] std::string sha256_hex(std::string_view bytes);

// Errors: kInvalidArgument when the file cannot be read.
Result<std::string> sha256_file(const std::filesystem::path& path);

}  // namespace candor
