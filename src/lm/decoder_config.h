#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

namespace candor {

// The shape of a Llama-family decoder (RMSNorm, rotary positions in the rotate-half layout,
// grouped-query attention, SwiGLU).
struct DecoderConfig {
  int64_t layer_count = 0;
  int64_t width = 0;
  int64_t head_count = 0;
  int64_t kv_head_count = 0;
  int64_t head_width = 0;
  int64_t ffn_width = 0;
  int64_t vocabulary_size = 0;
  int64_t context_length = 0;
  double rope_base = 10000.0;
  double norm_epsilon = 1e-5;
  bool tied_head = false;  // the head's weight is the embedding
};

// The modules of one layer whose weights are matrices, as Hugging Face names them; a module's
// weight is "model.layers.LAYER.MODULE.weight" of shape [outputs, inputs].
struct LinearModule {
  std::string name;  // "self_attn.q_proj"
  int64_t outputs = 0;
  int64_t inputs = 0;
};
[[nodiscard]] std::vector<LinearModule> linear_modules(const DecoderConfig& config);

// "model.layers.LAYER.NAME"
[[nodiscard]] std::string layer_name(int64_t layer, const std::string& name);

inline constexpr const char* kEmbeddingName = "model.embed_tokens.weight";
inline constexpr const char* kFinalNormName = "model.norm.weight";
inline constexpr const char* kHeadName = "lm_head.weight";
inline constexpr const char* kAttentionNormName = "input_layernorm.weight";     // in a layer
inline constexpr const char* kFfnNormName = "post_attention_layernorm.weight";  // in a layer

// Errors: kInvalidArgument, naming tensor and value, for a NaN or infinite one.
Status check_finite(const std::string& where, const std::string& name,
                    const std::vector<float>& values);

}  // namespace candor
