#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "formats/gguf.h"

namespace candor {

struct EncodeOptions {
  bool add_special_tokens = false;   // BOS / EOS, [CLS] / [SEP], as the tokenizer's files say
  bool parse_special_tokens = true;  // text of special tokens becomes those tokens
};

// Text to token ids and back, exactly as the model's own tokenizer does it. Immutable: threads may
// share one.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // Errors: kInvalidArgument when the text is not UTF-8 (where the tokenizer needs that).
  [[nodiscard]] virtual Result<std::vector<int32_t>> encode(std::string_view text,
                                                            const EncodeOptions& options) const = 0;
  Result<std::vector<int32_t>> encode(std::string_view text) const { return encode(text, {}); }

  // The text of the ids as one string; special tokens are left out unless asked for. Bytes that do
  // not form UTF-8 are replaced by U+FFFD.
  // Errors: an id outside 0..vocabulary_size-1.
  [[nodiscard]] virtual Result<std::string> decode(const std::vector<int32_t>& token_ids,
                                                   bool keep_special_tokens = false) const = 0;

  [[nodiscard]] virtual int32_t vocabulary_size() const = 0;
  [[nodiscard]] virtual std::optional<int32_t> bos_id() const = 0;
  [[nodiscard]] virtual std::optional<int32_t> eos_id() const = 0;
  [[nodiscard]] virtual std::optional<int32_t> id_of(std::string_view token) const = 0;
};

// The tokenizer of a GGUF file's metadata: model "gpt2" (byte-level BPE, with the pre-tokenizers
// named in tokenizer.ggml.pre that are supported) or "llama" (SentencePiece-style BPE).
// Errors: a model or pre-tokenizer that is not supported, by name.
Result<std::shared_ptr<const Tokenizer>> tokenizer_from_gguf(const GgufFile& file);

// The tokenizer of a Hugging Face folder: tokenizer.json (BPE byte-level, BPE with byte fallback,
// WordPiece), or tokenizer.model (SentencePiece), or vocab.txt (WordPiece).
// Every component of tokenizer.json (normalizer, pre-tokenizer, model, post-processor) that is not
// supported is an error by name, never skipped.
Result<std::shared_ptr<const Tokenizer>> tokenizer_from_folder(const std::filesystem::path& folder);

// One tokenizer.json / tokenizer.model / vocab.txt by its own path.
Result<std::shared_ptr<const Tokenizer>> tokenizer_from_file(const std::filesystem::path& file);

}  // namespace candor
