#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "formats/gguf.h"
#include "formats/safetensors.h"
#include "formats/tokenizer.h"
#include "lm/decoder_config.h"

namespace candor {

// What is to stand on top of the decoder: its own head over the vocabulary, or one number per text
// (a reward model; the language head, where there is one, is not read).
enum class ModelHead { kLanguage, kScore };
[[nodiscard]] const std::vector<std::string>& model_head_names();
inline constexpr const char* kScoreName = "score.weight";  // [1, width]

// The files of a decoder, a GGUF file or a Hugging Face folder (config.json, safetensors, tokenizer
// files), under one naming and one layout: Hugging Face's.
class ModelFile {
 public:
  // Errors: kInvalidArgument: an architecture or option that is not supported (named), a missing
  // key, a tokenizer whose size does not fit; for kLanguage a sequence classifier.
  // With kScore config().tied_head is set: there is no other head's weight to read or write.
  static Result<ModelFile> open(const std::filesystem::path& path,
                                ModelHead head = ModelHead::kLanguage);

  [[nodiscard]] const DecoderConfig& config() const { return config_; }
  [[nodiscard]] const std::shared_ptr<const Tokenizer>& tokenizer() const { return tokenizer_; }
  [[nodiscard]] const std::optional<std::string>& chat_template_text() const {
    return chat_template_text_;
  }

  // Of kScore: config.json's "pad_token_id"; nothing where there is none, and for GGUF.
  [[nodiscard]] std::optional<int32_t> pad_token_id() const { return pad_token_id_; }

  [[nodiscard]] const std::string& path() const { return path_; }
  // The GGUF file, or nullptr where this is a folder.
  [[nodiscard]] const GgufFile* gguf() const { return gguf_.has_value() ? &*gguf_ : nullptr; }

  // A weight by its Hugging Face name ("model.layers.0.self_attn.q_proj.weight"), row-major, query
  // and key rows in the rotate-half order. Threads: may be called by several at once.
  // Errors: kInvalidArgument: absent, another shape, a type that is not supported, a value that is
  // NaN or infinite.
  [[nodiscard]] Result<std::vector<float>> weight(const std::string& name,
                                                  const std::vector<int64_t>& shape) const;

 private:
  ModelFile() = default;
  Status open_gguf(const std::filesystem::path& path);
  Status open_folder(const std::filesystem::path& path, ModelHead head);
  [[nodiscard]] Result<std::vector<float>> gguf_weight(const std::string& name,
                                                       const std::vector<int64_t>& shape) const;
  std::string path_;
  std::optional<int32_t> pad_token_id_;
  DecoderConfig config_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  std::optional<std::string> chat_template_text_;
  std::optional<GgufFile> gguf_;  // exactly one of both
  std::optional<SafeTensors> tensors_;
};

}  // namespace candor
