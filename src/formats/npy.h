#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "base/result.h"
#include "formats/number_row.h"

namespace candor {

// A NumPy .npy file (format 1 and 2), memory-mapped: little-endian f4, f8 or i8 in C order, one or
// two dimensions. Foreign bytes: header and shape are checked against the file's size.
class NpyFile {
 public:
  static Result<NpyFile> open(const std::filesystem::path& path);

  [[nodiscard]] const std::vector<int64_t>& shape() const { return shape_; }
  [[nodiscard]] const std::string& dtype() const { return dtype_; }  // "<f4", "<f8", "<i8"
  [[nodiscard]] int64_t row_count() const { return shape_.size() == 2 ? shape_[0] : 1; }

  // Row `row` (0 for one dimension) as doubles. Errors: row out of range; <i8 holds no doubles.
  [[nodiscard]] Result<std::vector<double>> doubles(int64_t row = 0) const;
  // Row `row` without a copy. Errors: row out of range.
  [[nodiscard]] Result<NumberRow> number_row(int64_t row = 0) const;
  // Row `row` as integers. Errors: row out of range; not <i8.
  [[nodiscard]] Result<std::vector<int64_t>> integers(int64_t row = 0) const;

 private:
  explicit NpyFile(MappedFile file) : file_(std::move(file)) {}
  [[nodiscard]] Result<std::string_view> row_bytes(int64_t row) const;
  MappedFile file_;
  std::string path_;
  std::string dtype_;
  std::vector<int64_t> shape_;
  size_t data_begin_ = 0;
};

// The bytes of a one-dimensional .npy of doubles.
[[nodiscard]] std::string npy_bytes(std::span<const double> values);

}  // namespace candor
