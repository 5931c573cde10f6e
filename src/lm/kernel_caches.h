#pragma once

namespace candor {

// oneDNN, and ATen's layer above it, keep a compiled product for every shape they have seen, up to
// 1024 of them. Replies have other lengths in every step of training: 80 steps kept 2 GiB. Bounds
// both caches to 64 products; what the environment already says stays. Changes no number. Call it
// before the first product and before any thread starts.
void bound_kernel_caches();

}  // namespace candor
