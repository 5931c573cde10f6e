#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "formats/lora_adapter.h"
#include "lm/decoder_config.h"
#include "lm/packed_matrix.h"

namespace candor {

// The weights of a Llama-family decoder, packed for use. [D] width, [F] FFN width, [V] vocabulary.
struct DecoderLayer {
  std::vector<float> attention_norm;  // [D]
  std::vector<float> ffn_norm;        // [D]
  PackedMatrix query_key_value;       // [(heads + 2 kv_heads) * head_width, D], rotate-half rows
  PackedMatrix attention_output;      // [D, heads * head_width]
  PackedMatrix gate_up;               // [gate_up_outputs(F), D], rows as gate_row and up_row say
  PackedMatrix down;                  // [D, F]
};

struct DecoderWeights {
  PackedMatrix embedding;  // [V, D]; also the head where that is tied
  PackedMatrix own_head;   // [V, D], empty where tied
  std::vector<DecoderLayer> layers;
  std::vector<float> final_norm;  // [D]
  [[nodiscard]] const PackedMatrix& head() const {
    return own_head.output_count() > 0 ? own_head : embedding;
  }
};

// Gate and up rows lie side by side, 16 of each in a block of 32 columns, so that SwiGLU needs
// nothing but the block. F is padded with zero rows to a multiple of 16.
[[nodiscard]] constexpr int64_t gate_up_outputs(int64_t ffn) { return (ffn + 15) / 16 * 32; }
[[nodiscard]] constexpr int64_t gate_row(int64_t f) { return f / 16 * 32 + f % 16; }
[[nodiscard]] constexpr int64_t up_row(int64_t f) { return gate_row(f) + 16; }

// The values of a weight by its Hugging Face name, row-major, with rotate-half query and key rows:
// either read into `scratch`, or where they lie, which must outlive the call of the function that
// reads them. Threads: called by several at once.
using WeightReader = std::function<Result<std::span<const float>>(
    const std::string& name, const std::vector<int64_t>& shape, std::vector<float>& scratch)>;

struct PackOptions {
  Dtype dtype = Dtype::kF32;
  int threads = 1;
  const LoraAdapter* merged = nullptr;  // added to the weights in f32 before they are packed
};

// Errors: of the reader; kInvalidArgument: an adapter of another shape, or whose sum overflows.
Result<DecoderWeights> pack_decoder(const DecoderConfig& config, const WeightReader& read,
                                    const PackOptions& options);

// Errors: kInvalidArgument when the adapter changes anything but this decoder's linear modules, or
// one of another shape.
Status check_adapter(const DecoderConfig& config, const LoraAdapter& adapter);

}  // namespace candor
