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
#include "formats/lora_adapter.h"
#include "formats/tokenizer.h"
#include "lm/decoder_config.h"
#include "lm/decoder_weights.h"
#include "lm/dtype.h"
#include "lm/row_adapters.h"

namespace candor {

// A LoRA adapter laid over the weights as they are loaded: W + weight x scale x B A, in f32.
struct AdapterChoice {
  std::filesystem::path folder;  // a PEFT folder
  double weight = 1;
};

struct LoadOptions {
  Dtype dtype = Dtype::kF32;  // of weights, products and the cache; norms, softmax, logits are f32
  int threads = 0;            // 0: all cores of this process
  std::vector<AdapterChoice> adapters = {};  // several: a rewarded soup (MATH 8)
  // PEFT folders kept beside the weights as low-rank factors: each row of a batch mixes them as it
  // likes (GenerateRequest::adapter_weights), on top of `adapters`.
  std::vector<std::filesystem::path> row_adapters = {};
};

class ModelFile;  // model_file.h

// A decoder with its tokenizer and chat template, loaded once, read-only afterwards.
class LanguageModel {
 public:
  // `path`: a GGUF file, or a Hugging Face folder (config.json, safetensors, tokenizer files).
  // Errors: kInvalidArgument: an architecture, option or tensor type that is not supported (named),
  // a missing or misshapen tensor, an adapter of other weights than
  // this model's, a tokenizer whose size does not fit, NaN or infinite weights.
  static Result<LanguageModel> load(const std::filesystem::path& path, const LoadOptions& options);

  // A model of `file`'s shape, tokenizer and template whose weights `read` gives (a snapshot of
  // training); `merged` may add an adapter to them. options.adapters and row_adapters are not read.
  // Errors: as pack_decoder. Cost: one read of the weights; a third of a second for 135M parameters
  // on two cores.
  static Result<LanguageModel> from_weights(const ModelFile& file, const LoadOptions& options,
                                            const WeightReader& read,
                                            const LoraAdapter* merged = nullptr);
  // The same model, its packed weights shared, with these row adapters in place of its own: what a
  // LoRA policy in training samples from. Errors: as check_adapter.
  [[nodiscard]] Result<LanguageModel> with_row_adapters(
      std::span<const LoraAdapter> adapters) const;

  [[nodiscard]] const DecoderConfig& config() const { return config_; }
  [[nodiscard]] const LoadOptions& options() const { return options_; }
  [[nodiscard]] const Tokenizer& tokenizer() const { return *tokenizer_; }
  // Absent when the model's files carry none; an unknown one is an error where it is used.
  [[nodiscard]] Result<ChatTemplate> chat_template() const;
  // Ids that end a reply: the end-of-text token and the chat template's turn end.
  [[nodiscard]] const std::vector<int32_t>& stop_ids() const { return stop_ids_; }
  [[nodiscard]] const DecoderWeights& weights() const { return *weights_; }
  [[nodiscard]] const RowAdapters& row_adapters() const { return *row_adapters_; }

 private:
  LanguageModel() = default;
  void find_stop_ids();
  DecoderConfig config_;
  LoadOptions options_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  std::optional<std::string> chat_template_text_;
  std::vector<int32_t> stop_ids_;
  std::shared_ptr<const DecoderWeights> weights_;
  std::shared_ptr<const RowAdapters> row_adapters_;
};

// Errors: kInvalidArgument unless there are none (the base model), or one finite coefficient per
// row adapter of the model.
Status check_adapter_weights(const LanguageModel& model, std::span<const float> weights);

// Errors: kInvalidArgument for an id outside the model's vocabulary.
Status check_token_ids(const LanguageModel& model, std::span<const int32_t> ids);

}  // namespace candor
