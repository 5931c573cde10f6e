#include "lm/language_model.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <set>

#include "base/cpu.h"
#include "base/json.h"
#include "base/strings.h"
#include "formats/gguf.h"
#include "formats/lora_adapter.h"
#include "formats/safetensors.h"
#include "lm/decoder_weights.h"
#include "lm/low_rank.h"
#include "lm/model_file.h"

namespace candor {

namespace {

namespace fs = std::filesystem;

// Where tensors come from, under one naming.
struct TensorSource {
  // The tensor of this name with exactly this shape, as floats.
  std::function<Result<std::vector<float>>(const std::string& name,
                                           const std::vector<int64_t>& shape)>
      read;
  std::function<bool(const std::string& name)> has;
  bool interleaved_rotary = false;  // GGUF stores query and key rows for the interleaved layout
};

// The names of one format's tensors.
struct TensorNames {
  std::string embedding, final_norm, head;
  // with {} for the layer
  std::string attention_norm, ffn_norm, query, key, value, attention_output, gate, up, down;
};

const TensorNames kGgufNames = {
    "token_embd.weight",       "output_norm.weight",     "output.weight",
    "blk.{}.attn_norm.weight", "blk.{}.ffn_norm.weight", "blk.{}.attn_q.weight",
    "blk.{}.attn_k.weight",    "blk.{}.attn_v.weight",   "blk.{}.attn_output.weight",
    "blk.{}.ffn_gate.weight",  "blk.{}.ffn_up.weight",   "blk.{}.ffn_down.weight"};
const TensorNames kHfNames = {"model.embed_tokens.weight",
                              "model.norm.weight",
                              "lm_head.weight",
                              "model.layers.{}.input_layernorm.weight",
                              "model.layers.{}.post_attention_layernorm.weight",
                              "model.layers.{}.self_attn.q_proj.weight",
                              "model.layers.{}.self_attn.k_proj.weight",
                              "model.layers.{}.self_attn.v_proj.weight",
                              "model.layers.{}.self_attn.o_proj.weight",
                              "model.layers.{}.mlp.gate_proj.weight",
                              "model.layers.{}.mlp.up_proj.weight",
                              "model.layers.{}.mlp.down_proj.weight"};

std::string in_layer(const std::string& name, int64_t layer) {
  const size_t place = name.find("{}");
  return name.substr(0, place) + std::to_string(layer) + name.substr(place + 2);
}

std::string shape_text(const std::vector<int64_t>& shape) {
  std::vector<std::string> parts;
  parts.reserve(shape.size());
  for (const int64_t extent : shape) parts.push_back(std::to_string(extent));
  return str_cat("[", join(parts, ", "), "]");
}

Status check_values(const std::string& where, const std::string& name,
                    const std::vector<float>& values) {
  for (const float value : values) {
    if (!std::isfinite(value)) {
      return invalid_argument(str_cat(where, ": tensor ", quote(name), " holds ", double{value},
                                      "; every weight must be finite"));
    }
  }
  return {};
}

template <typename Found>
Status check_shape(const std::string& where, const std::string& name, const Found& found,
                   const std::vector<int64_t>& shape) {
  if (found == shape) return {};
  return invalid_argument(str_cat(where, ": tensor ", quote(name), " has shape ", shape_text(found),
                                  "; expected ", shape_text(shape)));
}

// Rows of each head from the interleaved (2i, 2i+1) to the rotate-half (i, i + width/2) order.
std::vector<float> to_rotate_half(const std::vector<float>& rows, int64_t heads, int64_t width,
                                  int64_t inputs) {
  std::vector<float> out(rows.size());
  for (int64_t head = 0; head < heads; ++head) {
    for (int64_t row = 0; row < width; ++row) {
      const int64_t from = head * width + 2 * (row % (width / 2)) + row / (width / 2);
      std::copy_n(rows.begin() + from * inputs, inputs,
                  out.begin() + (head * width + row) * inputs);
    }
  }
  return out;
}

// The adapters' change of one weight [outputs, inputs], in the rotate-half order of its rows.
Status add_adapter(const LoraAdapter& adapter, const std::string& weight_name, int64_t outputs,
                   int64_t inputs, std::vector<float>& weight) {
  const std::string module = weight_name.substr(0, weight_name.rfind(".weight"));
  const auto found = adapter.modules.find(module);
  if (found == adapter.modules.end()) return {};
  const LoraFactors& factors = found->second;
  if (factors.outputs != outputs || factors.inputs != inputs) {
    return invalid_argument(str_cat("adapter: ", quote(module), " changes a weight of shape [",
                                    factors.outputs, ", ", factors.inputs, "]; the model's is [",
                                    outputs, ", ", inputs, "]"));
  }
  add_low_rank(factors, adapter.rank, static_cast<float>(adapter.scale), weight);
  return check_values("with its adapters", weight_name, weight);
}

Result<DecoderLayer> read_layer(const DecoderConfig& config, Dtype dtype,
                                const TensorSource& source, const TensorNames& names,
                                const LoraAdapter& adapter, int64_t layer) {
  DecoderLayer out;
  const int64_t width = config.width;
  const int64_t queries = config.head_count * config.head_width;
  const int64_t keys = config.kv_head_count * config.head_width;
  const auto read = [&](const std::string& name, const std::vector<int64_t>& shape) {
    return source.read(in_layer(name, layer), shape);
  };
  CANDOR_TRY(out.attention_norm, read(names.attention_norm, {width}));
  CANDOR_TRY(out.ffn_norm, read(names.ffn_norm, {width}));
  CANDOR_TRY(std::vector<float> stacked, read(names.query, {queries, width}));
  CANDOR_TRY(std::vector<float> key, read(names.key, {keys, width}));
  CANDOR_TRY(std::vector<float> value, read(names.value, {keys, width}));
  if (source.interleaved_rotary) {
    stacked = to_rotate_half(stacked, config.head_count, config.head_width, width);
    key = to_rotate_half(key, config.kv_head_count, config.head_width, width);
  }
  const auto adapt = [&](const std::string& name, int64_t outputs, int64_t inputs,
                         std::vector<float>& weight) {
    return add_adapter(adapter, in_layer(name, layer), outputs, inputs, weight);
  };
  CANDOR_RETURN_IF_ERROR(adapt(kHfNames.query, queries, width, stacked));
  CANDOR_RETURN_IF_ERROR(adapt(kHfNames.key, keys, width, key));
  CANDOR_RETURN_IF_ERROR(adapt(kHfNames.value, keys, width, value));
  stacked.insert(stacked.end(), key.begin(), key.end());
  stacked.insert(stacked.end(), value.begin(), value.end());
  out.query_key_value = PackedMatrix(stacked, queries + 2 * keys, width, dtype);
  CANDOR_TRY(std::vector<float> output, read(names.attention_output, {width, queries}));
  CANDOR_RETURN_IF_ERROR(adapt(kHfNames.attention_output, width, queries, output));
  out.attention_output = PackedMatrix(output, width, queries, dtype);
  CANDOR_TRY(std::vector<float> gate_up, read(names.gate, {config.ffn_width, width}));
  CANDOR_TRY(std::vector<float> up, read(names.up, {config.ffn_width, width}));
  CANDOR_RETURN_IF_ERROR(adapt(kHfNames.gate, config.ffn_width, width, gate_up));
  CANDOR_RETURN_IF_ERROR(adapt(kHfNames.up, config.ffn_width, width, up));
  gate_up.insert(gate_up.end(), up.begin(), up.end());
  out.gate_up = PackedMatrix(gate_up, 2 * config.ffn_width, width, dtype);
  CANDOR_TRY(std::vector<float> down, read(names.down, {width, config.ffn_width}));
  CANDOR_RETURN_IF_ERROR(adapt(kHfNames.down, width, config.ffn_width, down));
  out.down = PackedMatrix(down, width, config.ffn_width, dtype);
  return out;
}

// All adapters as one; of rank 0 where there is none.
Result<LoraAdapter> read_adapters(const DecoderConfig& config,
                                  const std::vector<AdapterChoice>& choices) {
  std::vector<WeightedAdapter> parts;
  for (const AdapterChoice& choice : choices) {
    CANDOR_TRY(LoraAdapter adapter, load_lora_adapter(choice.folder));
    parts.push_back({std::move(adapter), choice.weight});
  }
  CANDOR_TRY(LoraAdapter out, soup_of(parts));
  std::set<std::string> linear;
  for (int64_t layer = 0; layer < config.layer_count; ++layer) {
    for (const std::string* name :
         {&kHfNames.query, &kHfNames.key, &kHfNames.value, &kHfNames.attention_output,
          &kHfNames.gate, &kHfNames.up, &kHfNames.down}) {
      const std::string weight = in_layer(*name, layer);
      linear.insert(weight.substr(0, weight.rfind(".weight")));
    }
  }
  for (const auto& item : out.modules) {
    if (linear.contains(item.first)) continue;
    return invalid_argument(str_cat("adapter: ", quote(item.first),
                                    " is none of this model's linear weights between embedding "
                                    "and head"));
  }
  return out;
}

Result<DecoderWeights> read_weights(const DecoderConfig& config, const LoadOptions& options,
                                    const TensorSource& source, const TensorNames& names) {
  const Dtype dtype = options.dtype;
  CANDOR_TRY(const LoraAdapter adapter, read_adapters(config, options.adapters));
  DecoderWeights out;
  CANDOR_TRY(out.embedding, source.read(names.embedding, {config.vocabulary_size, config.width}));
  CANDOR_TRY(out.final_norm, source.read(names.final_norm, {config.width}));
  for (int64_t layer = 0; layer < config.layer_count; ++layer) {
    CANDOR_TRY(DecoderLayer weights, read_layer(config, dtype, source, names, adapter, layer));
    out.layers.push_back(std::move(weights));
  }
  if (config.tied_head) {
    out.head = PackedMatrix(out.embedding, config.vocabulary_size, config.width, dtype);
  } else {
    CANDOR_TRY(const std::vector<float> head,
               source.read(names.head, {config.vocabulary_size, config.width}));
    out.head = PackedMatrix(head, config.vocabulary_size, config.width, dtype);
  }
  return out;
}

Status check_config(const std::string& where, const DecoderConfig& config) {
  const bool heads = config.head_count % config.kv_head_count == 0 && config.head_width % 2 == 0;
  if (!heads || !(config.rope_base > 0) || !(config.norm_epsilon > 0)) {
    return invalid_argument(str_cat(where, ": ", config.head_count, " heads of width ",
                                    config.head_width, " over ", config.kv_head_count,
                                    " key/value heads, rope base ", config.rope_base, ", epsilon ",
                                    config.norm_epsilon, ": not a decoder that can be run"));
  }
  return {};
}

constexpr int64_t kLargestExtent = 1 << 24;

Result<DecoderConfig> config_from_gguf(const GgufFile& file) {
  CANDOR_TRY(const std::string architecture, file.text("general.architecture"));
  if (architecture != "llama") {
    return invalid_argument(str_cat(file.path(), ": general.architecture: found ",
                                    quote(architecture), "; only \"llama\" is supported"));
  }
  if (file.has("llama.rope.scaling.type")) {
    CANDOR_TRY(const std::string scaling, file.text("llama.rope.scaling.type"));
    if (scaling != "none") {
      return invalid_argument(
          str_cat(file.path(), ": llama.rope.scaling.type: ", quote(scaling), " is not supported"));
    }
  }
  DecoderConfig config;
  CANDOR_TRY(config.layer_count, file.integer("llama.block_count", 1, 4096));
  CANDOR_TRY(config.width, file.integer("llama.embedding_length", 1, kLargestExtent));
  CANDOR_TRY(config.ffn_width, file.integer("llama.feed_forward_length", 1, kLargestExtent));
  CANDOR_TRY(config.head_count, file.integer("llama.attention.head_count", 1, 4096));
  config.kv_head_count = config.head_count;
  if (file.has("llama.attention.head_count_kv")) {
    CANDOR_TRY(config.kv_head_count, file.integer("llama.attention.head_count_kv", 1, 4096));
  }
  config.head_width = config.width / config.head_count;
  if (file.has("llama.attention.key_length")) {
    CANDOR_TRY(config.head_width, file.integer("llama.attention.key_length", 2, kLargestExtent));
  }
  if (file.has("llama.rope.dimension_count")) {
    CANDOR_TRY(const int64_t rotary, file.integer("llama.rope.dimension_count", 0, kLargestExtent));
    if (rotary != config.head_width) {
      return invalid_argument(str_cat(file.path(), ": llama.rope.dimension_count: found ", rotary,
                                      "; only the whole head (", config.head_width,
                                      ") is supported"));
    }
  }
  CANDOR_TRY(config.context_length, file.integer("llama.context_length", 1, int64_t{1} << 40));
  if (file.has("llama.rope.freq_base")) {
    CANDOR_TRY(config.rope_base, file.number("llama.rope.freq_base"));
  }
  CANDOR_TRY(config.norm_epsilon, file.number("llama.attention.layer_norm_rms_epsilon"));
  const auto embedding = file.tensors().find(kGgufNames.embedding);
  if (embedding == file.tensors().end()) {
    return invalid_argument(str_cat(file.path(), ": has no tensor ", quote(kGgufNames.embedding)));
  }
  config.vocabulary_size = embedding->second.shape[0];
  config.tied_head = !file.tensors().contains(kGgufNames.head);
  for (const auto& item : file.tensors()) {
    if (item.first.ends_with(".bias") || item.first == "rope_freqs.weight") {
      return invalid_argument(
          str_cat(file.path(), ": tensor ", quote(item.first), " is not supported"));
    }
  }
  return config;
}

// Keys whose presence with another value would change the computation.
Status check_hf_options(const std::string& where, const Json& json) {
  const auto refuse = [&](const std::string& key) {
    return invalid_argument(
        str_cat(where, ": $.", key, ": found ", json[key].dump(), ", which is not supported"));
  };
  if (!json.contains("model_type") || json["model_type"] != "llama") {
    return invalid_argument(
        str_cat(where, ": $.model_type: found ",
                json.contains("model_type") ? json["model_type"].dump() : "nothing",
                "; only \"llama\" is supported"));
  }
  if (json.contains("hidden_act") && json["hidden_act"] != "silu") return refuse("hidden_act");
  for (const char* key : {"attention_bias", "mlp_bias"}) {
    if (json.contains(key) && json[key] != false) return refuse(key);
  }
  for (const char* key : {"rope_scaling", "sliding_window"}) {
    if (json.contains(key) && !json[key].is_null()) return refuse(key);
  }
  if (json.contains("rope_parameters") && json["rope_parameters"].is_object() &&
      json["rope_parameters"].value("rope_type", "default") != "default") {
    return refuse("rope_parameters");
  }
  return {};
}

Result<DecoderConfig> config_from_folder(const fs::path& folder, const SafeTensors& tensors) {
  const std::string where = (folder / "config.json").string();
  CANDOR_TRY(const Json json, read_json_file(where));
  JsonReader in(json, where);
  CANDOR_RETURN_IF_ERROR(in.status());
  CANDOR_RETURN_IF_ERROR(check_hf_options(where, json));
  DecoderConfig config;
  config.layer_count = in.integer("num_hidden_layers", 1, 4096);
  config.width = in.integer("hidden_size", 1, kLargestExtent);
  config.ffn_width = in.integer("intermediate_size", 1, kLargestExtent);
  config.head_count = in.integer("num_attention_heads", 1, 4096);
  config.kv_head_count = in.integer_or("num_key_value_heads", config.head_count, 1, 4096);
  config.vocabulary_size = in.integer("vocab_size", 1, kLargestExtent);
  config.context_length = in.integer("max_position_embeddings", 1, int64_t{1} << 40);
  config.norm_epsilon = in.number("rms_norm_eps");
  config.rope_base = in.number_or("rope_theta", config.rope_base);
  if (json.contains("rope_parameters") && json["rope_parameters"].is_object()) {
    config.rope_base = json["rope_parameters"].value("rope_theta", config.rope_base);
  }
  CANDOR_RETURN_IF_ERROR(in.status());
  config.head_width = config.width / config.head_count;
  if (json.contains("head_dim") && !json["head_dim"].is_null()) {
    config.head_width = in.integer("head_dim", 2, kLargestExtent);
  }
  const bool tied = in.boolean_or("tie_word_embeddings", false);
  CANDOR_RETURN_IF_ERROR(in.status());
  config.tied_head = tied || !tensors.tensors().contains(kHfNames.head);
  if (!tied && config.tied_head) {
    return invalid_argument(
        str_cat(where, ": the head is not tied and ", quote(kHfNames.head), " is missing"));
  }
  return config;
}

TensorSource source_of(const GgufFile& file) {
  return {.read = [&file](const std::string& name,
                          const std::vector<int64_t>& shape) -> Result<std::vector<float>> {
            CANDOR_TRY(std::vector<float> values, file.floats(name));
            CANDOR_RETURN_IF_ERROR(
                check_shape(file.path(), name, file.tensors().at(name).shape, shape));
            CANDOR_RETURN_IF_ERROR(check_values(file.path(), name, values));
            return values;
          },
          .has = [&file](const std::string& name) { return file.tensors().contains(name); },
          .interleaved_rotary = true};
}

TensorSource source_of(const SafeTensors& file, const std::string& where) {
  return {.read = [&file, where](const std::string& name,
                                 const std::vector<int64_t>& shape) -> Result<std::vector<float>> {
            CANDOR_TRY(const SafeTensor* tensor, file.find(name));
            CANDOR_RETURN_IF_ERROR(check_shape(where, name, tensor->shape, shape));
            CANDOR_TRY(std::vector<float> values, file.floats(name));
            CANDOR_RETURN_IF_ERROR(check_values(where, name, values));
            return values;
          },
          .has = [&file](const std::string& name) { return file.tensors().contains(name); },
          .interleaved_rotary = false};
}

// The chat template of tokenizer_config.json or chat_template.jinja, where there is one.
Result<std::optional<std::string>> template_of_folder(const fs::path& folder) {
  if (fs::exists(folder / "chat_template.jinja")) {
    CANDOR_TRY(std::string text, read_file(folder / "chat_template.jinja"));
    return std::optional<std::string>(std::move(text));
  }
  if (fs::exists(folder / "tokenizer_config.json")) {
    CANDOR_TRY(const Json json, read_json_file((folder / "tokenizer_config.json").string()));
    if (json.is_object() && json.contains("chat_template") && json["chat_template"].is_string()) {
      return std::optional<std::string>(json["chat_template"].get<std::string>());
    }
  }
  return std::optional<std::string>();
}

}  // namespace

Result<LanguageModel> LanguageModel::load(const fs::path& path, const LoadOptions& options) {
  LanguageModel model;
  model.options_ = options;
  if (model.options_.threads <= 0) {
    model.options_.threads = core_count();
  }
  DecoderWeights weights;
  if (fs::is_directory(path)) {
    CANDOR_TRY(const SafeTensors tensors, SafeTensors::open_folder(path));
    CANDOR_TRY(model.config_, config_from_folder(path, tensors));
    CANDOR_RETURN_IF_ERROR(check_config(path.string(), model.config_));
    CANDOR_TRY(model.tokenizer_, tokenizer_from_folder(path));
    CANDOR_TRY(model.chat_template_text_, template_of_folder(path));
    CANDOR_TRY(weights,
               read_weights(model.config_, options, source_of(tensors, path.string()), kHfNames));
  } else {
    CANDOR_TRY(const GgufFile file, GgufFile::open(path));
    CANDOR_TRY(model.config_, config_from_gguf(file));
    CANDOR_RETURN_IF_ERROR(check_config(path.string(), model.config_));
    CANDOR_TRY(model.tokenizer_, tokenizer_from_gguf(file));
    if (file.has("tokenizer.chat_template")) {
      CANDOR_TRY(model.chat_template_text_, file.text("tokenizer.chat_template"));
    }
    CANDOR_TRY(weights, read_weights(model.config_, options, source_of(file), kGgufNames));
  }
  if (model.tokenizer_->vocabulary_size() > model.config_.vocabulary_size) {
    return invalid_argument(
        str_cat(path.string(), ": the tokenizer has ", model.tokenizer_->vocabulary_size(),
                " tokens, the model's embedding only ", model.config_.vocabulary_size));
  }
  model.weights_ = std::make_shared<const DecoderWeights>(std::move(weights));
  model.find_stop_ids();
  return model;
}

LanguageModel LanguageModel::with_weights(const ModelFile& file, const LoadOptions& options,
                                          DecoderWeights weights) {
  LanguageModel model;
  model.options_ = options;
  if (model.options_.threads <= 0) model.options_.threads = core_count();
  model.config_ = file.config();
  model.tokenizer_ = file.tokenizer();
  model.chat_template_text_ = file.chat_template_text();
  model.weights_ = std::make_shared<const DecoderWeights>(std::move(weights));
  model.find_stop_ids();
  return model;
}

void LanguageModel::find_stop_ids() {
  const auto add = [&](std::optional<int32_t> id) {
    if (id.has_value() && std::ranges::find(stop_ids_, *id) == stop_ids_.end()) {
      stop_ids_.push_back(*id);
    }
  };
  add(tokenizer_->eos_id());
  add(tokenizer_->id_of("<|endoftext|>"));
  if (const Result<ChatTemplate> chat = chat_template(); chat.ok()) {
    add(tokenizer_->id_of(chat->turn_end()));
  }
}

Result<ChatTemplate> LanguageModel::chat_template() const {
  if (!chat_template_text_.has_value()) {
    return invalid_argument("the model's files carry no chat template; give \"prompt\" as text");
  }
  return ChatTemplate::recognise(*chat_template_text_);
}

}  // namespace candor
