#pragma once

#include <filesystem>
#include <memory>

#include "base/result.h"
#include "formats/pipeline_tokenizer.h"
#include "formats/unicode.h"

namespace candor {

// The readers behind tokenizer.h, one per file format. Errors name the file.
Result<TokenizerParts> parts_from_tokenizer_json(const std::filesystem::path& path);
// BERT's vocab.txt; the file does not say how text is normalised: `options` must.
Result<TokenizerParts> parts_from_vocab_txt(const std::filesystem::path& path,
                                            const BertNormalizer& options);
// SentencePiece's tokenizer.model, through its own library. No prefix or suffix.
Result<TokenizerParts> parts_from_sentencepiece(const std::filesystem::path& path);

}  // namespace candor
