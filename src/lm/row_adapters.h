#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "formats/lora_adapter.h"
#include "lm/decoder_config.h"
#include "lm/packed_matrix.h"

namespace candor {

// The low-rank factors of several adapters beside one product y = x W^T, so that rows of a batch
// may mix them as each likes:
//
//   y += sum_i c_i s_i (x A_i^T) B_i^T
//
// All A lie one below the other and all B side by side, each adapter's share of a module padded
// with zeros to a multiple of 16 ranks. A block of outputs reads only the ranks that change it.
struct LowRankProduct {
  PackedMatrix a;                         // [R, K]; R = 0: no adapter changes this product
  PackedMatrix b;                         // [N, R]
  std::vector<int32_t> adapter_of_group;  // [R / 16]
  std::vector<float> scale_of_group;      // [R / 16], s_i
  std::vector<RowRange> ranks_of_block;   // [N / 32]; empty ranges where nothing changes
  [[nodiscard]] int64_t rank() const { return a.output_count(); }
};

struct LayerAdapters {
  LowRankProduct query_key_value;
  LowRankProduct attention_output;
  LowRankProduct gate_up;
  LowRankProduct down;
};

struct RowAdapters {
  int64_t count = 0;  // adapters
  std::vector<LayerAdapters> layers;
  int64_t largest_rank = 0;  // of any product
};

// Errors: as check_adapter.
Result<RowAdapters> pack_row_adapters(const DecoderConfig& config,
                                      std::span<const LoraAdapter> adapters, Dtype dtype,
                                      int threads);

}  // namespace candor
