#include "lm/decoder_config.h"

#include <cmath>

#include "base/strings.h"

namespace candor {

std::vector<LinearModule> linear_modules(const DecoderConfig& config) {
  const int64_t queries = config.head_count * config.head_width;
  const int64_t keys = config.kv_head_count * config.head_width;
  return {{"self_attn.q_proj", queries, config.width},
          {"self_attn.k_proj", keys, config.width},
          {"self_attn.v_proj", keys, config.width},
          {"self_attn.o_proj", config.width, queries},
          {"mlp.gate_proj", config.ffn_width, config.width},
          {"mlp.up_proj", config.ffn_width, config.width},
          {"mlp.down_proj", config.width, config.ffn_width}};
}

std::string layer_name(int64_t layer, const std::string& name) {
  return str_cat("model.layers.", layer, ".", name);
}

Status check_finite(const std::string& where, const std::string& name,
                    const std::vector<float>& values) {
  for (const float value : values) {
    if (!std::isfinite(value)) {
      return invalid_argument(str_cat(where, ": tensor ", quote(name), " holds ", double{value},
                                      "; every weight must be finite"));
    }
  }
  return {};
}

}  // namespace candor
