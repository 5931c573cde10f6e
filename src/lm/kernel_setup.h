#pragma once

#include <string>

namespace candor {

// Prepares this process for computing, before the first product and before any thread starts:
//
//   - Holds the libraries to instruction_set() of base/cpu.h. oneDNN, ATen and MKL choose their
//   code
//     by what they find in the processor (oneDNN takes AMX where there is any), so without this one
//     name in a stage's identity stood for different bytes.
//   - Bounds the caches of compiled products, oneDNN's and ATen's above it, to 64: they keep one
//     for every shape, replies have other lengths in every step of training, and 80 steps kept
//     2 GiB. What the environment already says of that stays; it changes no number.
//   - Calls the vector functions of ATen once. MKL chooses their code in the first call; where that
//     came from several threads at once, one of them could take other code: on a busy machine one
//     process in ten gave other bits than the rest.
//
// Cost: a millisecond or so.
void set_up_kernels();

// Of LibTorch: "2.13.0".
[[nodiscard]] std::string torch_version();
// Which of its code ATen uses: "DEFAULT", "AVX2", "AVX512".
[[nodiscard]] std::string aten_capability();

}  // namespace candor
