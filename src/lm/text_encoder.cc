#include "lm/text_encoder.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/cpu.h"
#include "base/interrupt.h"
#include "base/json.h"
#include "base/strings.h"
#include "formats/safetensors.h"

namespace candor {

namespace {

namespace fs = std::filesystem;

struct Norm {
  at::Tensor weight, bias;  // [D]
};
struct Linear {
  at::Tensor weight, bias;  // [out, in], [out]
  [[nodiscard]] at::Tensor operator()(const at::Tensor& input) const {
    return at::linear(input, weight, bias);
  }
};
struct EncoderLayer {
  Linear query, key, value, output, up, down;
  Norm attention_norm, output_norm;
};

struct EncoderConfig {
  int64_t layer_count = 0;
  int64_t width = 0;
  int64_t head_count = 0;
  int64_t ffn_width = 0;
  int64_t vocabulary_size = 0;
  int64_t position_count = 0;
  int64_t type_count = 0;
  double norm_epsilon = 1e-12;
};

Result<EncoderConfig> read_config(const fs::path& folder) {
  const std::string where = (folder / "config.json").string();
  CANDOR_TRY(const Json json, read_json_file(where));
  JsonReader in(json, where);
  static const std::vector<std::string> kTypes = {"bert"};
  static const std::vector<std::string> kActivations = {"gelu"};
  static const std::vector<std::string> kPositions = {"absolute"};
  in.choice("model_type", kTypes);
  in.choice("hidden_act", kActivations);
  in.choice_or("position_embedding_type", "absolute", kPositions);
  EncoderConfig config;
  config.layer_count = in.integer("num_hidden_layers", 1, 1024);
  config.width = in.integer("hidden_size", 1, 1 << 16);
  config.head_count = in.integer("num_attention_heads", 1, 1024);
  config.ffn_width = in.integer("intermediate_size", 1, 1 << 18);
  config.vocabulary_size = in.integer("vocab_size", 1, 1 << 24);
  config.position_count = in.integer("max_position_embeddings", 1, 1 << 24);
  config.type_count = in.integer_or("type_vocab_size", 2, 1, 1 << 16);
  config.norm_epsilon = in.number_or("layer_norm_eps", 1e-12, 0.0, 1.0);
  CANDOR_RETURN_IF_ERROR(in.status());
  if (config.width % config.head_count != 0) {
    return in.error_at("num_attention_heads", "does not divide hidden_size");
  }
  return config;
}

// Mean pooling and unit length are what this encoder does; another recipe is refused by name.
Status check_pooling(const fs::path& folder) {
  const fs::path pooling = folder / "1_Pooling" / "config.json";
  if (!fs::exists(pooling)) return {};
  CANDOR_TRY(const Json json, read_json_file(pooling.string()));
  for (const auto& item : json.items()) {
    if (!item.key().starts_with("pooling_mode_") || !item.value().is_boolean()) continue;
    const bool wanted = item.key() == "pooling_mode_mean_tokens";
    if (item.value().get<bool>() != wanted) {
      return invalid_argument(str_cat(pooling.string(), ": $.", item.key(), ": found ",
                                      item.value().dump(), "; only mean pooling is supported"));
    }
  }
  return {};
}

Result<int64_t> read_max_tokens(const fs::path& folder, int64_t position_count) {
  const fs::path file = folder / "sentence_bert_config.json";
  if (!fs::exists(file)) return position_count;
  CANDOR_TRY(const Json json, read_json_file(file.string()));
  JsonReader in(json, file.string());
  const int64_t tokens = in.integer_or("max_seq_length", position_count, 3, position_count);
  CANDOR_RETURN_IF_ERROR(in.status());
  return tokens;
}

class WeightReader {
 public:
  WeightReader(const SafeTensors& file, std::string where)
      : file_(file), where_(std::move(where)) {}

  Result<at::Tensor> read(const std::string& name, const std::vector<int64_t>& shape) const {
    CANDOR_TRY(const SafeTensor* found, file_.find(name));
    if (found->shape != shape) {
      return invalid_argument(str_cat(where_, ": tensor ", quote(name),
                                      " has another shape than "
                                      "config.json says"));
    }
    CANDOR_TRY(const std::vector<float> values, file_.floats(name));
    if (!std::ranges::all_of(values, [](float v) { return std::isfinite(v); })) {
      return invalid_argument(str_cat(where_, ": tensor ", quote(name),
                                      " holds values that are not "
                                      "finite"));
    }
    at::Tensor tensor = at::empty(shape, at::kFloat);
    std::copy(values.begin(), values.end(), tensor.data_ptr<float>());
    return tensor;
  }
  Result<Linear> linear(const std::string& name, int64_t outputs, int64_t inputs) const {
    Linear out;
    CANDOR_TRY(out.weight, read(name + ".weight", {outputs, inputs}));
    CANDOR_TRY(out.bias, read(name + ".bias", {outputs}));
    return out;
  }
  Result<Norm> norm(const std::string& name, int64_t width) const {
    Norm out;
    CANDOR_TRY(out.weight, read(name + ".weight", {width}));
    CANDOR_TRY(out.bias, read(name + ".bias", {width}));
    return out;
  }

 private:
  const SafeTensors& file_;
  std::string where_;
};

}  // namespace

struct TextEncoder::Impl {
  EncoderConfig config;
  int64_t max_tokens = 0;
  int threads = 1;
  std::shared_ptr<const Tokenizer> tokenizer;
  at::Tensor word_embedding, position_embedding, type_embedding;
  Norm embedding_norm;
  std::vector<EncoderLayer> layers;

  [[nodiscard]] at::Tensor normalize(const at::Tensor& x, const Norm& norm) const {
    return at::layer_norm(x, {config.width}, norm.weight, norm.bias, config.norm_epsilon);
  }

  [[nodiscard]] at::Tensor split_heads(const at::Tensor& x) const {  // [B, T, D] -> [B, H, T, D/H]
    return x.view({x.size(0), x.size(1), config.head_count, config.width / config.head_count})
        .transpose(1, 2);
  }

  // ids [B, T], all rows of one length: no padding, no mask.
  [[nodiscard]] at::Tensor forward(const at::Tensor& ids) const {
    const at::Tensor positions = position_embedding.slice(0, 0, ids.size(1));
    at::Tensor x = at::embedding(word_embedding, ids) + positions + type_embedding.select(0, 0);
    x = normalize(x, embedding_norm);
    for (const EncoderLayer& layer : layers) {
      const at::Tensor mixed =
          at::scaled_dot_product_attention(split_heads(layer.query(x)), split_heads(layer.key(x)),
                                           split_heads(layer.value(x)))
              .transpose(1, 2)
              .reshape({x.size(0), x.size(1), config.width});
      x = normalize(x + layer.output(mixed), layer.attention_norm);
      x = normalize(x + layer.down(at::gelu(layer.up(x))), layer.output_norm);
    }
    const at::Tensor mean = x.mean(1);  // [B, D]
    return mean / mean.norm(2, {1}, true).clamp_min(1e-12);
  }
};

namespace {

Result<EncoderLayer> read_layer(const WeightReader& reader, const EncoderConfig& config,
                                const std::string& name) {
  EncoderLayer layer;
  const int64_t d = config.width;
  const int64_t f = config.ffn_width;
  CANDOR_TRY(layer.query, reader.linear(name + ".attention.self.query", d, d));
  CANDOR_TRY(layer.key, reader.linear(name + ".attention.self.key", d, d));
  CANDOR_TRY(layer.value, reader.linear(name + ".attention.self.value", d, d));
  CANDOR_TRY(layer.output, reader.linear(name + ".attention.output.dense", d, d));
  CANDOR_TRY(layer.attention_norm, reader.norm(name + ".attention.output.LayerNorm", d));
  CANDOR_TRY(layer.up, reader.linear(name + ".intermediate.dense", f, d));
  CANDOR_TRY(layer.down, reader.linear(name + ".output.dense", d, f));
  CANDOR_TRY(layer.output_norm, reader.norm(name + ".output.LayerNorm", d));
  return layer;
}

}  // namespace

Result<TextEncoder> TextEncoder::load(const fs::path& folder, int threads) {
  auto impl = std::make_shared<Impl>();
  CANDOR_TRY(impl->config, read_config(folder));
  CANDOR_RETURN_IF_ERROR(check_pooling(folder));
  CANDOR_TRY(impl->max_tokens, read_max_tokens(folder, impl->config.position_count));
  CANDOR_TRY(impl->tokenizer, tokenizer_from_folder(folder));
  CANDOR_TRY(const SafeTensors file, SafeTensors::open_folder(folder));
  const EncoderConfig& config = impl->config;
  if (impl->tokenizer->vocabulary_size() > config.vocabulary_size) {
    return invalid_argument(
        str_cat(folder.string(), ": the tokenizer has more tokens than the model"));
  }
  const WeightReader reader(file, folder.string());
  const std::string e = "embeddings.";
  CANDOR_TRY(impl->word_embedding,
             reader.read(e + "word_embeddings.weight", {config.vocabulary_size, config.width}));
  CANDOR_TRY(impl->position_embedding,
             reader.read(e + "position_embeddings.weight", {config.position_count, config.width}));
  CANDOR_TRY(impl->type_embedding,
             reader.read(e + "token_type_embeddings.weight", {config.type_count, config.width}));
  CANDOR_TRY(impl->embedding_norm, reader.norm(e + "LayerNorm", config.width));
  for (int64_t layer = 0; layer < config.layer_count; ++layer) {
    CANDOR_TRY(EncoderLayer weights, read_layer(reader, config, str_cat("encoder.layer.", layer)));
    impl->layers.push_back(std::move(weights));
  }
  impl->threads = threads > 0 ? threads : core_count();
  return TextEncoder(std::move(impl));
}

int64_t TextEncoder::width() const { return impl_->config.width; }
int64_t TextEncoder::max_tokens() const { return impl_->max_tokens; }

Result<std::vector<float>> TextEncoder::embed(std::span<const std::string> texts,
                                              const ProgressSink& progress) const {
  // Batches of one length each: nothing is padded, so a text's embedding does not depend on its
  // neighbours' lengths.
  static constexpr size_t kBatchTokens = 4096;
  at::set_num_threads(impl_->threads);
  std::vector<std::vector<int32_t>> token_ids;
  for (size_t i = 0; i < texts.size(); ++i) {
    // Where a text spells "[SEP]", the reference reads the token; here it stays text, so a reply
    // cannot steer its own reward.
    Result<std::vector<int32_t>> encoded = impl_->tokenizer->encode(
        texts[i], {.add_special_tokens = true, .parse_special_tokens = false});
    if (!encoded.ok()) {
      return Error{encoded.error().code, str_cat("text ", i + 1, ": ", encoded.error().message)};
    }
    std::vector<int32_t> ids = std::move(encoded).value();
    const auto limit = static_cast<size_t>(impl_->max_tokens);
    if (ids.size() > limit) {  // as the reference cuts: the closing token stays
      const int32_t last = ids.back();
      ids.resize(limit);
      ids.back() = last;
    }
    token_ids.push_back(std::move(ids));
  }
  std::vector<size_t> order(texts.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return token_ids[a].size() < token_ids[b].size(); });
  std::vector<float> out(texts.size() * static_cast<size_t>(width()));
  size_t done = 0;
  while (done < order.size()) {
    CANDOR_RETURN_IF_ERROR(check_interrupted());
    const size_t length = token_ids[order[done]].size();
    size_t end = done;
    while (end < order.size() && token_ids[order[end]].size() == length &&
           (end - done) * length < kBatchTokens) {
      ++end;
    }
    at::Tensor ids =
        at::empty({static_cast<int64_t>(end - done), static_cast<int64_t>(length)}, at::kLong);
    int64_t* place = ids.data_ptr<int64_t>();
    for (size_t i = done; i < end; ++i)
      place = std::copy(token_ids[order[i]].begin(), token_ids[order[i]].end(), place);
    const c10::InferenceMode inference;
    const at::Tensor embedded = impl_->forward(ids).contiguous();
    const float* row = embedded.data_ptr<float>();
    for (size_t i = done; i < end; ++i, row += width()) {
      std::copy_n(row, width(), out.begin() + static_cast<ptrdiff_t>(order[i]) * width());
    }
    done = end;
    if (progress) progress(done, order.size(), "texts embedded");
  }
  return out;
}

}  // namespace candor
