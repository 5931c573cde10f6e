#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "base/result.h"

namespace candor {

// The whole file. Errors: kInvalidArgument when it cannot be read or is larger than `max_bytes`.
Result<std::string> read_file(const std::filesystem::path& path,
                              uint64_t max_bytes = uint64_t{1} << 30);

// 16 hexadecimal digits that nobody else has drawn, on this machine or another.
[[nodiscard]] std::string random_name();

// Writes to a temporary file beside `path`, syncs it, renames it over `path` and syncs the folder:
// a reader sees the old bytes or the new ones, whatever is killed when.
// Errors: kResource when the disk is full or the folder cannot be written.
Status write_file_atomically(const std::filesystem::path& path, std::string_view bytes);

// Writes all of `bytes` to a new file and syncs it; for folders that are committed by rename.
Status write_new_file(const std::filesystem::path& path, std::string_view bytes);

// Syncs every file below `from`, renames the folder to `to` and syncs the parent of `to`.
// REQUIRES: both lie on one file system. Errors: kResource.
Status commit_directory(const std::filesystem::path& from, const std::filesystem::path& to);

// A read-only view of a file through the page cache.
class MappedFile {
 public:
  // Errors: kInvalidArgument when the file cannot be opened or is not a regular file.
  static Result<MappedFile> open(const std::filesystem::path& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  [[nodiscard]] std::string_view bytes() const { return {data_, size_}; }
  [[nodiscard]] size_t size_bytes() const { return size_; }

 private:
  MappedFile(const char* data, size_t size) : data_(data), size_(size) {}
  const char* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace candor
