#pragma once

#include <vector>

#include "formats/lora_adapter.h"

namespace candor {

// weight [outputs, inputs] += scale x b a, in f32. Cost: 2 x outputs x inputs x rank flops.
void add_low_rank(const LoraFactors& factors, int64_t rank, float scale,
                  std::vector<float>& weight);

}  // namespace candor
