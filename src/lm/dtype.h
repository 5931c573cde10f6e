#pragma once

#include <cstddef>
#include <cstdint>

namespace candor {

enum class Dtype { kF32, kBf16 };

[[nodiscard]] constexpr int64_t element_size(Dtype dtype) { return dtype == Dtype::kF32 ? 4 : 2; }

}  // namespace candor
