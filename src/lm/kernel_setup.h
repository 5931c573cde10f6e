#pragma once

namespace candor {

// oneDNN, and ATen's layer above it, keep a compiled product for every shape they have seen, up to
// 1024 of them. Replies have other lengths in every step of training: 80 steps kept 2 GiB. Bounds
// both caches to 64 products; what the environment already says stays. Changes no number. Call it
// before the first product and before any thread starts.
void bound_kernel_caches();

// Calls the vector functions of ATen once from one thread. MKL chooses their code in the first
// call. Where that came from several threads at once, one of them could take other code: on a busy
// machine one process in ten gave other bits than the rest. Call it after bound_kernel_caches(),
// before anything is computed. Cost: a millisecond or so.
void first_call_vector_functions();

}  // namespace candor
