#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/progress.h"
#include "base/result.h"
#include "formats/tokenizer.h"

namespace candor {

// A frozen sentence encoder: BERT with mean pooling over the attention mask and unit length
// (sentence-transformers' MiniLM). f32.
class TextEncoder {
 public:
  // `folder`: config.json (model_type bert), model.safetensors, tokenizer.json or vocab.txt,
  // modules.json / 1_Pooling/config.json, sentence_bert_config.json (max_seq_length) where present.
  // Errors: kInvalidArgument: an architecture, activation or pooling that is not supported (named).
  static Result<TextEncoder> load(const std::filesystem::path& folder, int threads = 0);

  // Embeddings [N, width], row-major, each of unit length; texts longer than the encoder's limit
  // are cut there, as the reference does. Batches are formed by length; the result does not depend
  // on the order of the texts beyond f32 rounding of padding-free batches.
  Result<std::vector<float>> embed(std::span<const std::string> texts,
                                   const ProgressSink& progress = {}) const;

  [[nodiscard]] int64_t width() const;
  [[nodiscard]] int64_t max_tokens() const;

 private:
  struct Impl;
  explicit TextEncoder(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<const Impl> impl_;
};

}  // namespace candor
