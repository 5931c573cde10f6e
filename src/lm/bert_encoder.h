#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "formats/tokenizer.h"

namespace candor {

// The weights and the forward pass of a BERT sentence encoder, in LibTorch's operators and f32:
// what TextEncoder runs frozen, and EncoderReward trains.
struct BertConfig {
  int64_t layer_count = 0;
  int64_t width = 0;
  int64_t head_count = 0;
  int64_t ffn_width = 0;
  int64_t vocabulary_size = 0;
  int64_t position_count = 0;
  int64_t type_count = 0;
  double norm_epsilon = 1e-12;
};

struct BertNorm {
  at::Tensor weight, bias;  // [D]
};

// y = W x + bias; with factors, + scale b a dropout(x).
struct BertLinear {
  std::string name;         // "encoder.layer.0.attention.self.query"
  at::Tensor weight, bias;  // [out, in], [out]
  at::Tensor a, b;          // [rank, in], [out, rank]; undefined: no factors
  double scale = 0;
};

struct BertLayer {
  BertLinear query, key, value, output, up, down;
  BertNorm attention_norm, output_norm;
};

struct BertEncoder {
  // As TextEncoder::load.
  static Result<BertEncoder> load(const std::filesystem::path& folder);

  // Embeddings of unit length [B, D]: mean pooling over the mask. ids [B, T] i64; mask [B, T] bool,
  // undefined where no row is padded. `dropout` may change the input of a linear's factors.
  using Dropout = std::function<at::Tensor(const at::Tensor& x, const BertLinear& linear)>;
  [[nodiscard]] at::Tensor forward(const at::Tensor& ids, const at::Tensor& mask = {},
                                   const Dropout& dropout = {}) const;

  // Ids with the special tokens, cut to max_tokens as the reference cuts: the closing one stays.
  // Where a text spells "[SEP]", the reference reads the token; here it stays text, so a reply
  // cannot steer its own reward.
  [[nodiscard]] Result<std::vector<int32_t>> encode(std::string_view text) const;

  [[nodiscard]] std::vector<BertLinear*> linears();
  [[nodiscard]] std::vector<const BertLinear*> linears() const;
  // Weights by their names in the file, linears' first.
  struct Weight {
    std::string name;
    at::Tensor value;
  };
  [[nodiscard]] std::vector<Weight> weights() const;

  BertConfig config;
  int64_t max_tokens = 0;
  std::shared_ptr<const Tokenizer> tokenizer;
  at::Tensor word_embedding, position_embedding, type_embedding;
  BertNorm embedding_norm;
  std::vector<BertLayer> layers;
};

}  // namespace candor
