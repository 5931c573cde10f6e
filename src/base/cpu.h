#pragma once

#include <string>

namespace candor {

// The widest instruction set that our kernels will use here: "avx512_bf16", "avx512" or "generic".
// Part of a stage's identity: another one may round differently.
[[nodiscard]] std::string instruction_set();

// Cores this process may use, at least 1.
[[nodiscard]] int core_count();

}  // namespace candor
