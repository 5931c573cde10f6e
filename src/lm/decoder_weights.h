#pragma once

#include <vector>

#include "lm/packed_matrix.h"

namespace candor {

// The weights of a Llama-family decoder, packed for use. [D] width, [F] FFN width, [V] vocabulary.
struct DecoderLayer {
  std::vector<float> attention_norm;  // [D]
  std::vector<float> ffn_norm;        // [D]
  PackedMatrix query_key_value;       // [(heads + 2 kv_heads) * head_width, D], rotate-half rows
  PackedMatrix attention_output;      // [D, heads * head_width]
  PackedMatrix gate_up;               // [2F, D], gate rows first
  PackedMatrix down;                  // [D, F]
};

struct DecoderWeights {
  std::vector<float> embedding;  // [V, D]
  std::vector<DecoderLayer> layers;
  std::vector<float> final_norm;  // [D]
  PackedMatrix head;              // [V, D]
};

}  // namespace candor
