#include "lm/kernel_caches.h"

#include <cstdlib>

namespace candor {

void bound_kernel_caches() {
  constexpr const char* kProducts = "64";
  setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", kProducts, 0);  // oneDNN's own
  setenv("LRU_CACHE_CAPACITY", kProducts, 0);               // ATen's
}

}  // namespace candor
