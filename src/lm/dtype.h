#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace candor {

enum class Dtype { kF32, kBf16 };
// As flags and files spell them.
[[nodiscard]] inline const std::vector<std::string>& dtype_names() {
  static const std::vector<std::string> kNames = {"f32", "bf16"};
  return kNames;
}
// REQUIRES: one of them.
[[nodiscard]] inline Dtype dtype_of(const std::string& name) {
  return name == dtype_names()[1] ? Dtype::kBf16 : Dtype::kF32;
}

[[nodiscard]] constexpr int64_t element_size(Dtype dtype) { return dtype == Dtype::kF32 ? 4 : 2; }

}  // namespace candor
