#pragma once

#include <filesystem>
#include <memory>

#include "base/result.h"
#include "formats/pipeline_tokenizer.h"

namespace candor {

// The readers behind tokenizer.h, one per file format. Errors name the file.
Result<TokenizerParts> parts_from_tokenizer_json(const std::filesystem::path& path);
Result<TokenizerParts> parts_from_vocab_txt(const std::filesystem::path& path);
Result<std::shared_ptr<const Tokenizer>> tokenizer_from_sentencepiece(
    const std::filesystem::path& path);

}  // namespace candor
