#include "lm/model_export.h"

#include <array>

#include "base/file.h"
#include "base/json.h"
#include "base/strings.h"
#include "formats/safetensors_writer.h"
#include "formats/tokenizer_writer.h"
#include "lm/decoder_weights.h"
#include "lm/low_rank.h"

namespace candor {

namespace {

namespace fs = std::filesystem;

constexpr std::array kCopiedFiles = {
    "tokenizer.json",    "tokenizer.model",     "tokenizer_config.json",
    "vocab.json",        "merges.txt",          "special_tokens_map.json",
    "added_tokens.json", "chat_template.jinja", "generation_config.json"};

const char* dtype_name(Dtype dtype) { return dtype == Dtype::kBf16 ? "bfloat16" : "float32"; }

struct Shape {
  std::string name;
  std::vector<int64_t> extents;
};

std::vector<Shape> all_weights(const DecoderConfig& config) {
  std::vector<Shape> out = {{kEmbeddingName, {config.vocabulary_size, config.width}},
                            {kFinalNormName, {config.width}}};
  if (!config.tied_head) out.push_back({kHeadName, {config.vocabulary_size, config.width}});
  for (int64_t layer = 0; layer < config.layer_count; ++layer) {
    out.push_back({layer_name(layer, kAttentionNormName), {config.width}});
    out.push_back({layer_name(layer, kFfnNormName), {config.width}});
    for (const LinearModule& module : linear_modules(config)) {
      out.push_back({layer_name(layer, module.name) + ".weight", {module.outputs, module.inputs}});
    }
  }
  return out;
}

Json config_of(const DecoderConfig& config, Dtype dtype) {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"model_type", "llama"},
          {"hidden_act", "silu"},
          {"attention_bias", false},
          {"mlp_bias", false},
          {"num_hidden_layers", config.layer_count},
          {"hidden_size", config.width},
          {"intermediate_size", config.ffn_width},
          {"num_attention_heads", config.head_count},
          {"num_key_value_heads", config.kv_head_count},
          {"head_dim", config.head_width},
          {"vocab_size", config.vocabulary_size},
          {"max_position_embeddings", config.context_length},
          {"rms_norm_eps", config.norm_epsilon},
          {"rope_theta", config.rope_base},
          {"tie_word_embeddings", config.tied_head},
          {"torch_dtype", dtype_name(dtype)}};
}

// What makes a config.json one of a classifier with one label.
void make_classifier(const ScoreHead& score, Json& config) {
  config["architectures"] = {"LlamaForSequenceClassification"};
  config["id2label"] = {{"0", "LABEL_0"}};
  config["label2id"] = {{"LABEL_0", 0}};
  config["pad_token_id"] = score.pad_token_id;
}

struct FolderOptions {
  Dtype dtype = Dtype::kF32;
  const ScoreHead* score = nullptr;  // none: a language model
};

Status write_files_of_gguf(const ModelFile& file, const FolderOptions& options,
                           const fs::path& folder) {
  const GgufFile& gguf = *file.gguf();
  CANDOR_TRY(const Json tokenizer, tokenizer_json_of(gguf));
  CANDOR_TRY(const Json tokenizer_config, tokenizer_config_of(gguf));
  Json config = config_of(file.config(), options.dtype);
  Json generation = Json::object();
  const auto add = [&](const char* key, std::optional<int32_t> id) {
    if (!id.has_value()) return;
    config[key] = *id;
    generation[key] = *id;
  };
  add("bos_token_id", file.tokenizer()->bos_id());
  add("eos_token_id", file.tokenizer()->eos_id());
  if (options.score != nullptr) make_classifier(*options.score, config);
  CANDOR_RETURN_IF_ERROR(write_new_file(folder / "config.json", to_text(config)));
  if (options.score == nullptr) {
    CANDOR_RETURN_IF_ERROR(write_new_file(folder / "generation_config.json", to_text(generation)));
  }
  CANDOR_RETURN_IF_ERROR(write_new_file(folder / "tokenizer.json", to_text(tokenizer)));
  return write_new_file(folder / "tokenizer_config.json", to_text(tokenizer_config));
}

Status write_files_of_folder(const fs::path& from, const FolderOptions& options,
                             const fs::path& folder) {
  CANDOR_TRY(Json config, read_json_file((from / "config.json").string()));
  config.erase("dtype");
  config["torch_dtype"] = dtype_name(options.dtype);
  if (options.score != nullptr) make_classifier(*options.score, config);
  CANDOR_RETURN_IF_ERROR(write_new_file(folder / "config.json", to_text(config)));
  for (const char* name : kCopiedFiles) {
    const bool generation = std::string_view(name) == "generation_config.json";
    if (!fs::exists(from / name) || (generation && options.score != nullptr)) continue;
    CANDOR_TRY(const std::string bytes, read_file(from / name));
    CANDOR_RETURN_IF_ERROR(write_new_file(folder / name, bytes));
  }
  return {};
}

Status write_any_folder(const ModelFile& file, const WeightSource& weights,
                        const FolderOptions& options, const fs::path& folder) {
  const bool bf16 = options.dtype == Dtype::kBf16;
  std::vector<TensorToWrite> tensors;
  for (const Shape& shape : all_weights(file.config())) {
    TensorToWrite tensor = tensor_to_write(shape.name, shape.extents, nullptr, bf16);
    tensor.write = [&weights, shape, bf16](const ByteSink& sink) -> Status {
      CANDOR_TRY(const std::vector<float> values, weights(shape.name, shape.extents));
      return tensor_to_write(shape.name, shape.extents, values.data(), bf16).write(sink);
    };
    tensors.push_back(std::move(tensor));
  }
  if (options.score != nullptr) {
    const std::vector<float>& weight = options.score->weight;
    tensors.push_back(tensor_to_write(kScoreName, {1, static_cast<int64_t>(weight.size())},
                                      weight.data(), false));
  }
  CANDOR_RETURN_IF_ERROR(file.gguf() != nullptr
                             ? write_files_of_gguf(file, options, folder)
                             : write_files_of_folder(file.path(), options, folder));
  return write_safetensors(folder / "model.safetensors", std::move(tensors), {{"format", "pt"}});
}

}  // namespace

Status write_model_folder(const ModelFile& file, const WeightSource& weights, Dtype dtype,
                          const fs::path& folder) {
  return write_any_folder(file, weights, {.dtype = dtype}, folder);
}

Status write_classifier_folder(const ModelFile& file, const WeightSource& weights,
                               const ScoreHead& score, const fs::path& folder) {
  return write_any_folder(file, weights, {.score = &score}, folder);
}

WeightSource merged_weights(const ModelFile& file, const LoraAdapter& adapter) {
  return [&file, &adapter](const std::string& name,
                           const std::vector<int64_t>& shape) -> Result<std::vector<float>> {
    CANDOR_RETURN_IF_ERROR(check_adapter(file.config(), adapter));
    CANDOR_TRY(std::vector<float> values, file.weight(name, shape));
    const auto found = adapter.modules.find(name.substr(0, name.rfind(".weight")));
    if (found == adapter.modules.end()) return values;
    add_low_rank(found->second, adapter.rank, static_cast<float>(adapter.scale), values);
    CANDOR_RETURN_IF_ERROR(check_finite("with its adapters", name, values));
    return values;
  };
}

}  // namespace candor
