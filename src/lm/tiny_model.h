#pragma once

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/rng.h"
#include "formats/safetensors.h"
#include "lm/decoder_config.h"

namespace candor {

// For tests: a Llama of random weights so small that all its replies can be enumerated. Tokens are
// the letters "a", "b", ... and the end token, which is the last one.
struct TinyModel {
  int64_t vocabulary_size = 7;
  int64_t width = 32;
  int64_t layer_count = 2;
  int64_t head_count = 4;
  int64_t kv_head_count = 2;
  int64_t ffn_width = 64;
  int64_t context_length = 16;
  double spread = 0.25;  // standard deviation of the weights
  uint64_t seed = 1;
};

// Writes it as a Hugging Face folder.
inline void write_tiny_model(const TinyModel& tiny, const std::filesystem::path& folder) {
  std::filesystem::create_directories(folder);
  const int64_t end = tiny.vocabulary_size - 1;
  DecoderConfig config;
  config.layer_count = tiny.layer_count;
  config.width = tiny.width;
  config.head_count = tiny.head_count;
  config.kv_head_count = tiny.kv_head_count;
  config.head_width = tiny.width / tiny.head_count;
  config.ffn_width = tiny.ffn_width;
  config.vocabulary_size = tiny.vocabulary_size;
  RandomStream random({.seed = tiny.seed, .stream = 7});
  std::vector<NamedFloats> tensors;
  const auto add = [&](const std::string& name, const std::vector<int64_t>& shape, double mean) {
    int64_t count = 1;
    for (const int64_t extent : shape) count *= extent;
    std::vector<float> values;
    for (int64_t i = 0; i < count; ++i) {
      values.push_back(static_cast<float>(mean + tiny.spread * random.normal()));
    }
    tensors.push_back({name, shape, std::move(values)});
  };
  add(kEmbeddingName, {tiny.vocabulary_size, tiny.width}, 0);
  add(kHeadName, {tiny.vocabulary_size, tiny.width}, 0);
  add(kFinalNormName, {tiny.width}, 1);
  for (int64_t layer = 0; layer < tiny.layer_count; ++layer) {
    add(layer_name(layer, kAttentionNormName), {tiny.width}, 1);
    add(layer_name(layer, kFfnNormName), {tiny.width}, 1);
    for (const LinearModule& module : linear_modules(config)) {
      add(layer_name(layer, module.name) + ".weight", {module.outputs, module.inputs}, 0);
    }
  }
  std::ofstream(folder / "model.safetensors", std::ios::binary) << float_safetensors_bytes(tensors);
  const Json json = {{"model_type", "llama"},
                     {"architectures", {"LlamaForCausalLM"}},
                     {"hidden_act", "silu"},
                     {"num_hidden_layers", tiny.layer_count},
                     {"hidden_size", tiny.width},
                     {"intermediate_size", tiny.ffn_width},
                     {"num_attention_heads", tiny.head_count},
                     {"num_key_value_heads", tiny.kv_head_count},
                     {"vocab_size", tiny.vocabulary_size},
                     {"max_position_embeddings", tiny.context_length},
                     {"rms_norm_eps", 1e-5},
                     {"rope_theta", 10000.0},
                     {"tie_word_embeddings", false},
                     {"eos_token_id", end}};
  std::ofstream(folder / "config.json") << json.dump();
  Json vocabulary;
  for (int64_t id = 0; id < end; ++id) vocabulary[std::string(1, static_cast<char>('a' + id))] = id;
  vocabulary["</s>"] = end;
  const Json byte_level = {{"type", "ByteLevel"},
                           {"add_prefix_space", false},
                           {"trim_offsets", true},
                           {"use_regex", false}};
  const Json tokenizer = {{"version", "1.0"},
                          {"truncation", nullptr},
                          {"padding", nullptr},
                          {"added_tokens",
                           {{{"id", end},
                             {"content", "</s>"},
                             {"single_word", false},
                             {"lstrip", false},
                             {"rstrip", false},
                             {"normalized", false},
                             {"special", true}}}},
                          {"normalizer", nullptr},
                          {"pre_tokenizer", byte_level},
                          {"post_processor", nullptr},
                          {"decoder", byte_level},
                          {"model",
                           {{"type", "BPE"},
                            {"dropout", nullptr},
                            {"unk_token", nullptr},
                            {"continuing_subword_prefix", nullptr},
                            {"end_of_word_suffix", nullptr},
                            {"fuse_unk", false},
                            {"byte_fallback", false},
                            {"vocab", vocabulary},
                            {"merges", Json::array()}}}};
  std::ofstream(folder / "tokenizer.json") << tokenizer.dump();
}

}  // namespace candor
