#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace candor {

// A row of numbers as it lies in a mapped file; valid while the file is open. Both pointers are
// null where it must be converted instead: another type, or bytes that are not aligned.
struct NumberRow {
  const double* f64 = nullptr;
  const float* f32 = nullptr;
  size_t size = 0;

  [[nodiscard]] bool in_place() const { return f64 != nullptr || f32 != nullptr; }
};

// `is_double` or else `is_float` says what the bytes hold, little-endian.
inline NumberRow number_row(std::string_view bytes, bool is_double, bool is_float) {
  NumberRow row;
  const auto address = reinterpret_cast<uintptr_t>(bytes.data());
  if (is_double && address % alignof(double) == 0) {
    row.f64 = reinterpret_cast<const double*>(bytes.data());
    row.size = bytes.size() / sizeof(double);
  } else if (is_float && address % alignof(float) == 0) {
    row.f32 = reinterpret_cast<const float*>(bytes.data());
    row.size = bytes.size() / sizeof(float);
  }
  return row;
}

}  // namespace candor
