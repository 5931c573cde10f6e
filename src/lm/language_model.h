#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "formats/chat_template.h"
#include "formats/tokenizer.h"
#include "lm/decoder_config.h"

namespace candor {

enum class Dtype { kF32, kBf16 };

// A LoRA adapter laid over the weights as they are loaded: W + weight x scale x B A, in f32.
struct AdapterChoice {
  std::filesystem::path folder;  // a PEFT folder
  double weight = 1;
};

struct LoadOptions {
  Dtype dtype = Dtype::kF32;  // of weights and products; norms, softmax and logits are f32
  int threads = 0;            // 0: all cores of this process
  std::vector<AdapterChoice> adapters = {};  // several: a rewarded soup (MATH 8)
};

struct DecoderWeights;  // decoder_weights.h: internal to lm
class ModelFile;        // model_file.h

// A decoder with its tokenizer and chat template, loaded once, read-only afterwards.
class LanguageModel {
 public:
  // `path`: a GGUF file, or a Hugging Face folder (config.json, safetensors, tokenizer files).
  // Errors: kInvalidArgument: an architecture, option or tensor type that is not supported (named),
  // a missing or misshapen tensor, an adapter of other weights than
  // this model's, a tokenizer whose size does not fit, NaN or infinite weights.
  static Result<LanguageModel> load(const std::filesystem::path& path, const LoadOptions& options);

  // The same tokenizer and template over weights made in memory (a snapshot of training).
  // REQUIRES: weights of the file's shape.
  static LanguageModel with_weights(const ModelFile& file, const LoadOptions& options,
                                    DecoderWeights weights);

  [[nodiscard]] const DecoderConfig& config() const { return config_; }
  [[nodiscard]] const LoadOptions& options() const { return options_; }
  [[nodiscard]] const Tokenizer& tokenizer() const { return *tokenizer_; }
  // Absent when the model's files carry none; an unknown one is an error where it is used.
  [[nodiscard]] Result<ChatTemplate> chat_template() const;
  // Ids that end a reply: the end-of-text token and the chat template's turn end.
  [[nodiscard]] const std::vector<int32_t>& stop_ids() const { return stop_ids_; }
  [[nodiscard]] const DecoderWeights& weights() const { return *weights_; }

 private:
  LanguageModel() = default;
  void find_stop_ids();
  DecoderConfig config_;
  LoadOptions options_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  std::optional<std::string> chat_template_text_;
  std::vector<int32_t> stop_ids_;
  std::shared_ptr<const DecoderWeights> weights_;
};

// Errors: kInvalidArgument for an id outside the model's vocabulary.
Status check_token_ids(const LanguageModel& model, std::span<const int32_t> ids);

}  // namespace candor
