#include "lm/bert_encoder.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "base/json.h"
#include "base/strings.h"
#include "formats/safetensors.h"

namespace candor {

namespace {

namespace fs = std::filesystem;

Result<BertConfig> read_config(const fs::path& folder) {
  const std::string where = (folder / "config.json").string();
  CANDOR_TRY(const Json json, read_json_file(where));
  JsonReader in(json, where);
  static const std::vector<std::string> kTypes = {"bert"};
  static const std::vector<std::string> kActivations = {"gelu"};
  static const std::vector<std::string> kPositions = {"absolute"};
  in.choice("model_type", kTypes);
  in.choice("hidden_act", kActivations);
  in.choice_or("position_embedding_type", "absolute", kPositions);
  BertConfig config;
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
  Result<BertLinear> linear(const std::string& name, int64_t outputs, int64_t inputs) const {
    BertLinear out;
    out.name = name;
    CANDOR_TRY(out.weight, read(name + ".weight", {outputs, inputs}));
    CANDOR_TRY(out.bias, read(name + ".bias", {outputs}));
    return out;
  }
  Result<BertNorm> norm(const std::string& name, int64_t width) const {
    BertNorm out;
    CANDOR_TRY(out.weight, read(name + ".weight", {width}));
    CANDOR_TRY(out.bias, read(name + ".bias", {width}));
    return out;
  }

 private:
  const SafeTensors& file_;
  std::string where_;
};

Result<BertLayer> read_layer(const WeightReader& reader, const BertConfig& config,
                             const std::string& name) {
  BertLayer layer;
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

at::Tensor apply(const BertLinear& linear, const at::Tensor& x,
                 const BertEncoder::Dropout& dropout) {
  const at::Tensor y = at::linear(x, linear.weight, linear.bias);
  if (!linear.a.defined()) return y;
  const at::Tensor input = dropout ? dropout(x, linear) : x;
  return at::add(y, at::linear(at::linear(input, linear.a), linear.b), linear.scale);
}

}  // namespace

Result<BertEncoder> BertEncoder::load(const fs::path& folder) {
  BertEncoder out;
  CANDOR_TRY(out.config, read_config(folder));
  CANDOR_RETURN_IF_ERROR(check_pooling(folder));
  CANDOR_TRY(out.max_tokens, read_max_tokens(folder, out.config.position_count));
  CANDOR_TRY(out.tokenizer, tokenizer_from_folder(folder));
  CANDOR_TRY(const SafeTensors file, SafeTensors::open_folder(folder));
  const BertConfig& config = out.config;
  if (out.tokenizer->vocabulary_size() > config.vocabulary_size) {
    return invalid_argument(
        str_cat(folder.string(), ": the tokenizer has more tokens than the model"));
  }
  const WeightReader reader(file, folder.string());
  const std::string e = "embeddings.";
  CANDOR_TRY(out.word_embedding,
             reader.read(e + "word_embeddings.weight", {config.vocabulary_size, config.width}));
  CANDOR_TRY(out.position_embedding,
             reader.read(e + "position_embeddings.weight", {config.position_count, config.width}));
  CANDOR_TRY(out.type_embedding,
             reader.read(e + "token_type_embeddings.weight", {config.type_count, config.width}));
  CANDOR_TRY(out.embedding_norm, reader.norm(e + "LayerNorm", config.width));
  for (int64_t layer = 0; layer < config.layer_count; ++layer) {
    CANDOR_TRY(BertLayer weights, read_layer(reader, config, str_cat("encoder.layer.", layer)));
    out.layers.push_back(std::move(weights));
  }
  return out;
}

at::Tensor BertEncoder::forward(const at::Tensor& ids, const at::Tensor& mask,
                                const Dropout& dropout) const {
  const auto normalize = [&](const at::Tensor& x, const BertNorm& norm) {
    return at::layer_norm(x, {config.width}, norm.weight, norm.bias, config.norm_epsilon);
  };
  const auto split_heads = [&](const at::Tensor& x) {  // [B, T, D] -> [B, H, T, D/H]
    return x.view({x.size(0), x.size(1), config.head_count, config.width / config.head_count})
        .transpose(1, 2);
  };
  std::optional<at::Tensor> allowed;  // [B, 1, 1, T]
  if (mask.defined()) allowed = mask.unsqueeze(1).unsqueeze(1);
  const at::Tensor positions = position_embedding.slice(0, 0, ids.size(1));
  at::Tensor x = at::embedding(word_embedding, ids) + positions + type_embedding.select(0, 0);
  x = normalize(x, embedding_norm);
  for (const BertLayer& layer : layers) {
    const at::Tensor mixed =
        at::scaled_dot_product_attention(split_heads(apply(layer.query, x, dropout)),
                                         split_heads(apply(layer.key, x, dropout)),
                                         split_heads(apply(layer.value, x, dropout)), allowed)
            .transpose(1, 2)
            .reshape({x.size(0), x.size(1), config.width});
    x = normalize(x + apply(layer.output, mixed, dropout), layer.attention_norm);
    const at::Tensor wide = at::gelu(apply(layer.up, x, dropout));
    x = normalize(x + apply(layer.down, wide, dropout), layer.output_norm);
  }
  at::Tensor mean;  // [B, D]
  if (mask.defined()) {
    const at::Tensor counted = mask.to(at::kFloat).unsqueeze(2);  // [B, T, 1]
    mean = (x * counted).sum(1) / counted.sum(1);
  } else {
    mean = x.mean(1);
  }
  return mean / mean.norm(2, {1}, true).clamp_min(1e-12);
}

Result<std::vector<int32_t>> BertEncoder::encode(std::string_view text) const {
  CANDOR_TRY(std::vector<int32_t> ids,
             tokenizer->encode(text, {.add_special_tokens = true, .parse_special_tokens = false}));
  const auto limit = static_cast<size_t>(max_tokens);
  if (ids.size() > limit) {
    const int32_t last = ids.back();
    ids.resize(limit);
    ids.back() = last;
  }
  return ids;
}

std::vector<const BertLinear*> BertEncoder::linears() const {
  std::vector<const BertLinear*> out;
  for (const BertLayer& layer : layers) {
    for (const BertLinear* linear :
         {&layer.query, &layer.key, &layer.value, &layer.output, &layer.up, &layer.down}) {
      out.push_back(linear);
    }
  }
  return out;
}

std::vector<BertLinear*> BertEncoder::linears() {
  std::vector<BertLinear*> out;
  for (const BertLinear* linear : std::as_const(*this).linears()) {
    out.push_back(const_cast<BertLinear*>(linear));
  }
  return out;
}

std::vector<BertEncoder::Weight> BertEncoder::weights() const {
  std::vector<Weight> out;
  for (const BertLinear* linear : linears()) {
    out.push_back({linear->name + ".weight", linear->weight});
    out.push_back({linear->name + ".bias", linear->bias});
  }
  const auto add_norm = [&](const std::string& name, const BertNorm& norm) {
    out.push_back({name + ".weight", norm.weight});
    out.push_back({name + ".bias", norm.bias});
  };
  for (size_t i = 0; i < layers.size(); ++i) {
    const std::string name = str_cat("encoder.layer.", i);
    add_norm(name + ".attention.output.LayerNorm", layers[i].attention_norm);
    add_norm(name + ".output.LayerNorm", layers[i].output_norm);
  }
  out.push_back({"embeddings.word_embeddings.weight", word_embedding});
  out.push_back({"embeddings.position_embeddings.weight", position_embedding});
  out.push_back({"embeddings.token_type_embeddings.weight", type_embedding});
  add_norm("embeddings.LayerNorm", embedding_norm);
  return out;
}

}  // namespace candor
