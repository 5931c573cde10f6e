#pragma once

#include <cstdint>

#include "base/cpu.h"
#include "lm/dtype.h"

namespace candor {

// Attention of some queries over one slot's keys and values of one key/value head:
//
//   out_q = sum_t softmax_t(scale <query_q, key_t>) value_t,  t < counts[q]
//
// Keys and values lie as kv_cache.h says, queries as rows of H elements of the same type; scores,
// softmax and sums are f32. A query's result depends on its own query, keys and values only.
struct AttentionTile {
  static constexpr int64_t kQueries = 12;  // the most that share one pass over the keys
  const void* keys = nullptr;
  const void* values = nullptr;
  const void* queries[kQueries] = {};
  int64_t counts[kQueries] = {};  // positions each query sees, >= 1
  float* outputs[kQueries] = {};  // [H] each
  int64_t query_count = 0;
  int64_t padded_width = 0;  // H, a multiple of 16
  float scale = 1;
  float* scores = nullptr;   // room for [query_count][score_stride]
  int64_t score_stride = 0;  // a multiple of 16, >= every count
};

using AttentionKernel = void (*)(const AttentionTile&);
// REQUIRES: this machine has the instruction set.
[[nodiscard]] AttentionKernel attention_kernel(Dtype dtype, InstructionSet set);

}  // namespace candor
