#pragma once

namespace candor {

// Operations a second, 2 for a multiply-add, that `threads` threads at once get from the
// instruction our bf16 products use: the product of bf16 pairs where there is one, else f32's. No
// memory is read, so it is a limit. A busy machine shows less. REQUIRES: threads >= 1. Cost: about
// 10 ms.
[[nodiscard]] double product_rate(int threads);

}  // namespace candor
