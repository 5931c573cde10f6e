#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "base/result.h"
#include "formats/number_row.h"

namespace candor {

struct SafeTensor {
  std::string dtype;  // "F32", "F16", "BF16", "F64", "I64", ...
  std::vector<int64_t> shape;
  std::string_view bytes;  // inside the mapping
};

// One safetensors file, or the shards of a model.safetensors.index.json, memory-mapped. Foreign
// bytes: header size, offsets, overlaps, duplicates and shapes are checked before use.
class SafeTensors {
 public:
  static Result<SafeTensors> open(const std::filesystem::path& file);
  // model.safetensors, or the shards that model.safetensors.index.json names.
  static Result<SafeTensors> open_folder(const std::filesystem::path& folder);

  [[nodiscard]] const std::map<std::string, SafeTensor>& tensors() const { return tensors_; }
  // The texts of "__metadata__"; of one file, where there are several shards.
  [[nodiscard]] const std::map<std::string, std::string>& metadata() const { return metadata_; }

  // The tensor as floats (F32, F16, BF16) or doubles (F64 too), row-major.
  // Errors: absent, another dtype.
  [[nodiscard]] Result<std::vector<float>> floats(const std::string& name) const;
  [[nodiscard]] Result<std::vector<double>> doubles(const std::string& name) const;
  // One row of a matrix, or a vector (row 0); reads nothing but that row.
  // Errors: as doubles; no such row.
  [[nodiscard]] Result<std::vector<double>> doubles_of_row(const std::string& name,
                                                           int64_t row) const;
  // The same row without a copy.
  [[nodiscard]] Result<NumberRow> number_row(const std::string& name, int64_t row) const;
  [[nodiscard]] Result<const SafeTensor*> find(const std::string& name) const;

 private:
  [[nodiscard]] Result<SafeTensor> row_of(const std::string& name, int64_t row) const;
  Status add_file(const std::filesystem::path& file);
  std::vector<MappedFile> files_;
  std::string path_;
  std::map<std::string, SafeTensor> tensors_;
  std::map<std::string, std::string> metadata_;
};

// The bytes of a file that holds these double tensors: sorted names, no metadata, always the same.
struct NamedDoubles {
  std::string name;
  std::vector<double> values;  // one dimension
};
[[nodiscard]] std::string safetensors_bytes(const std::vector<NamedDoubles>& tensors);
// The same of float tensors of any shape. REQUIRES: a value for every place of the shape.
struct NamedFloats {
  std::string name;
  std::vector<int64_t> shape;
  std::vector<float> values;  // row-major
};
[[nodiscard]] std::string float_safetensors_bytes(const std::vector<NamedFloats>& tensors);

}  // namespace candor
