#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"

namespace candor {

// A tensor that is written piece by piece: `write` hands its bytes, row-major, to the sink in as
// many parts as it likes.
using ByteSink = std::function<Status(const void* data, size_t size_bytes)>;
struct TensorToWrite {
  std::string name;
  std::string dtype;  // "F32", "BF16", "I64"
  std::vector<int64_t> shape;
  std::function<Status(const ByteSink&)> write;
};

// Writes one safetensors file without holding it in memory: names sorted, `metadata` as
// "__metadata__" where it is not empty. The file appears by one rename, synced.
// Errors: kResource where it cannot be written; what `write` returns; kInternal where a tensor
// wrote another number of bytes than its shape has.
Status write_safetensors(const std::filesystem::path& path, std::vector<TensorToWrite> tensors,
                         const std::map<std::string, std::string>& metadata = {});

// The floats [count] as F32 or rounded to BF16; they must live until the file is written.
[[nodiscard]] TensorToWrite tensor_to_write(std::string name, std::vector<int64_t> shape,
                                            const float* values, bool bf16);

}  // namespace candor
