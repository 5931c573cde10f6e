#pragma once

#include "base/json.h"
#include "base/result.h"
#include "formats/gguf.h"

namespace candor {

// A GGUF file's tokenizer as the tokenizers library's tokenizer.json: byte-level BPE ("gpt2") with
// the pre-tokenizers smollm and gpt-2, special tokens as added tokens, begin and end
// tokens around a text where the file adds them.
// Errors: kInvalidArgument: another tokenizer model or pre-tokenizer, by name.
Result<Json> tokenizer_json_of(const GgufFile& file);

// The tokenizer_config.json beside it: class, special tokens by role, chat template where there is
// one. Errors: an id outside the vocabulary.
Result<Json> tokenizer_config_of(const GgufFile& file);

}  // namespace candor
