#include "lm/model_file.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "base/file.h"
#include "base/json.h"
#include "base/strings.h"
#include "formats/prompt_encoder.h"

namespace candor {

namespace {

namespace fs = std::filesystem;

// What GGUF calls the tensors of a layer.
constexpr std::array<std::pair<const char*, const char*>, 9> kGgufLayerNames = {{
    {kAttentionNormName, "attn_norm.weight"},
    {kFfnNormName, "ffn_norm.weight"},
    {"self_attn.q_proj.weight", "attn_q.weight"},
    {"self_attn.k_proj.weight", "attn_k.weight"},
    {"self_attn.v_proj.weight", "attn_v.weight"},
    {"self_attn.o_proj.weight", "attn_output.weight"},
    {"mlp.gate_proj.weight", "ffn_gate.weight"},
    {"mlp.up_proj.weight", "ffn_up.weight"},
    {"mlp.down_proj.weight", "ffn_down.weight"},
}};
constexpr const char* kGgufEmbedding = "token_embd.weight";
constexpr const char* kGgufHead = "output.weight";

// "model.layers.3.mlp.up_proj.weight" gives "blk.3.ffn_up.weight".
std::string gguf_name(const std::string& name) {
  if (name == kEmbeddingName) return kGgufEmbedding;
  if (name == kFinalNormName) return "output_norm.weight";
  if (name == kHeadName) return kGgufHead;
  const std::string prefix = "model.layers.";
  const size_t dot = name.find('.', prefix.size());
  for (const auto& [ours, theirs] : kGgufLayerNames) {
    if (dot == std::string::npos || name.substr(dot + 1) != ours) continue;
    return str_cat("blk.", name.substr(prefix.size(), dot - prefix.size()), ".", theirs);
  }
  return name;
}

std::string shape_text(const std::vector<int64_t>& shape) {
  std::vector<std::string> parts;
  parts.reserve(shape.size());
  for (const int64_t extent : shape) parts.push_back(std::to_string(extent));
  return str_cat("[", join(parts, ", "), "]");
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
  const auto embedding = file.tensors().find(kGgufEmbedding);
  if (embedding == file.tensors().end()) {
    return invalid_argument(str_cat(file.path(), ": has no tensor ", quote(kGgufEmbedding)));
  }
  config.vocabulary_size = embedding->second.shape[0];
  config.tied_head = !file.tensors().contains(kGgufHead);
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

bool is_classifier(const Json& config) {
  const Json names = config.value("architectures", Json::array());
  return names.is_array() && std::ranges::any_of(names, [](const Json& name) {
           return name.is_string() &&
                  name.get<std::string>().ends_with("ForSequenceClassification");
         });
}

// Errors: a token id that is no number of the vocabulary.
Result<std::optional<int32_t>> pad_of(const fs::path& folder, int64_t vocabulary_size) {
  const std::string where = (folder / "config.json").string();
  CANDOR_TRY(const Json json, read_json_file(where));
  if (!json.contains("pad_token_id") || json["pad_token_id"].is_null()) {
    return std::optional<int32_t>();
  }
  JsonReader in(json, where);
  const int64_t id = in.integer("pad_token_id", -1, vocabulary_size - 1);
  CANDOR_RETURN_IF_ERROR(in.status());
  return id < 0 ? std::optional<int32_t>() : std::optional(static_cast<int32_t>(id));
}

Result<DecoderConfig> config_from_folder(const fs::path& folder, const SafeTensors& tensors,
                                         ModelHead head) {
  const std::string where = (folder / "config.json").string();
  CANDOR_TRY(const Json json, read_json_file(where));
  JsonReader in(json, where);
  CANDOR_RETURN_IF_ERROR(in.status());
  CANDOR_RETURN_IF_ERROR(check_hf_options(where, json));
  if (head == ModelHead::kLanguage && is_classifier(json)) {
    return invalid_argument(str_cat(where, ": $.architectures: found ",
                                    json["architectures"].dump(),
                                    "; a classifier says nothing: it is a reward model"));
  }
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
  config.tied_head = tied || head == ModelHead::kScore || !tensors.tensors().contains(kHeadName);
  if (!tied && config.tied_head && head == ModelHead::kLanguage) {
    return invalid_argument(
        str_cat(where, ": the head is not tied and ", quote(kHeadName), " is missing"));
  }
  return config;
}

}  // namespace

Status ModelFile::open_gguf(const fs::path& path) {
  CANDOR_TRY(GgufFile file, GgufFile::open(path));
  CANDOR_TRY(config_, config_from_gguf(file));
  CANDOR_RETURN_IF_ERROR(check_config(path_, config_));
  CANDOR_TRY(tokenizer_, tokenizer_from_gguf(file));
  if (file.has("tokenizer.chat_template")) {
    CANDOR_TRY(chat_template_text_, file.text("tokenizer.chat_template"));
  }
  gguf_ = std::move(file);
  return {};
}

Status ModelFile::open_folder(const fs::path& path, ModelHead head) {
  CANDOR_TRY(SafeTensors tensors, SafeTensors::open_folder(path));
  CANDOR_TRY(config_, config_from_folder(path, tensors, head));
  if (head == ModelHead::kScore) {
    CANDOR_TRY(pad_token_id_, pad_of(path, config_.vocabulary_size));
  }
  CANDOR_RETURN_IF_ERROR(check_config(path_, config_));
  CANDOR_TRY(tokenizer_, tokenizer_from_folder(path));
  CANDOR_TRY(chat_template_text_, chat_template_of_folder(path));
  tensors_ = std::move(tensors);
  return {};
}

const std::vector<std::string>& model_head_names() {
  static const std::vector<std::string> kNames = {"language", "score"};
  return kNames;
}

Result<ModelFile> ModelFile::open(const fs::path& path, ModelHead head) {
  ModelFile out;
  out.path_ = path.string();
  CANDOR_RETURN_IF_ERROR(fs::is_directory(path) ? out.open_folder(path, head)
                                                : out.open_gguf(path));
  if (head == ModelHead::kScore) out.config_.tied_head = true;
  if (out.tokenizer_->vocabulary_size() > out.config_.vocabulary_size) {
    return invalid_argument(
        str_cat(out.path_, ": the tokenizer has ", out.tokenizer_->vocabulary_size(),
                " tokens, the model's embedding only ", out.config_.vocabulary_size));
  }
  return out;
}

Result<std::vector<float>> ModelFile::gguf_weight(const std::string& name,
                                                  const std::vector<int64_t>& shape) const {
  const std::string stored = gguf_name(name);
  CANDOR_TRY(std::vector<float> values, gguf_->floats(stored));
  CANDOR_RETURN_IF_ERROR(check_shape(path_, stored, gguf_->tensors().at(stored).shape, shape));
  CANDOR_RETURN_IF_ERROR(check_finite(path_, stored, values));
  // GGUF stores query and key rows for the interleaved layout.
  if (name.ends_with("q_proj.weight") || name.ends_with("k_proj.weight")) {
    return to_rotate_half(values, shape[0] / config_.head_width, config_.head_width, shape[1]);
  }
  return values;
}

Result<std::vector<float>> ModelFile::weight(const std::string& name,
                                             const std::vector<int64_t>& shape) const {
  if (gguf_.has_value()) return gguf_weight(name, shape);
  CANDOR_TRY(const SafeTensor* tensor, tensors_->find(name));
  CANDOR_RETURN_IF_ERROR(check_shape(path_, name, tensor->shape, shape));
  CANDOR_TRY(std::vector<float> values, tensors_->floats(name));
  CANDOR_RETURN_IF_ERROR(check_finite(path_, name, values));
  return values;
}

}  // namespace candor
