#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/file.h"
#include "base/result.h"

namespace candor {

// One metadata value of a GGUF file.
struct GgufValue {
  // All integer types widen to int64 (saturating), floats to double.
  std::variant<bool, int64_t, double, std::string, std::vector<int64_t>, std::vector<double>,
               std::vector<std::string>>
      value;
};

// Element types that Candor de-quantises; any other in a tensor that is used is an error.
// kQ40 is Q4_0, and so on.
enum class GgufType : uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ40 = 2,
  kQ41 = 3,
  kQ80 = 8,
  kBf16 = 30,
};

struct GgufTensor {
  std::string name;
  uint32_t type = 0;           // GgufType, or a number that is not supported
  std::vector<int64_t> shape;  // row-major, slowest first (the file stores it the other way round)
  std::string_view bytes;      // inside the mapping
  [[nodiscard]] int64_t element_count() const;
};

// A GGUF file (version 2 or 3, little endian), memory-mapped. Foreign bytes: every count, length,
// offset and shape is checked against the file's size before it is used.
class GgufFile {
 public:
  // Errors: kInvalidArgument: not GGUF, truncated, a count or offset that lies, a duplicate key or
  // tensor, misaligned data.
  static Result<GgufFile> open(const std::filesystem::path& path);

  [[nodiscard]] const std::map<std::string, GgufValue>& metadata() const { return metadata_; }
  [[nodiscard]] const std::map<std::string, GgufTensor>& tensors() const { return tensors_; }
  [[nodiscard]] const std::string& path() const { return path_; }

  // Typed metadata; errors name the file, the key and what was found.
  [[nodiscard]] Result<std::string> text(const std::string& key) const;
  [[nodiscard]] Result<int64_t> integer(const std::string& key, int64_t min, int64_t max) const;
  [[nodiscard]] Result<bool> boolean(const std::string& key) const;
  [[nodiscard]] Result<double> number(const std::string& key) const;  // finite
  [[nodiscard]] Result<std::vector<std::string>> texts(const std::string& key) const;
  [[nodiscard]] Result<std::vector<int64_t>> integers(const std::string& key) const;
  [[nodiscard]] Result<std::vector<double>> numbers(const std::string& key) const;
  [[nodiscard]] bool has(const std::string& key) const { return metadata_.contains(key); }

  // The tensor as floats, row-major. Errors: absent, or a type that is not supported.
  [[nodiscard]] Result<std::vector<float>> floats(const std::string& name) const;

 private:
  explicit GgufFile(MappedFile file) : file_(std::move(file)) {}
  MappedFile file_;
  std::string path_;
  std::map<std::string, GgufValue> metadata_;
  std::map<std::string, GgufTensor> tensors_;
};

// De-quantises `count` elements of `type` (count a multiple of the type's block).
// Errors: kInvalidArgument when the type is not supported or the bytes do not fit.
Result<std::vector<float>> dequantize(uint32_t type, std::string_view bytes, int64_t count);

}  // namespace candor
