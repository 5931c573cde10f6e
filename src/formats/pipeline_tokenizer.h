#pragma once

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "formats/bpe.h"
#include "formats/splitter.h"
#include "formats/tokenizer.h"

namespace candor {

// What a tokenizer is made of: special tokens cut out of the text, then normalise, split, encode.
// The readers of tokenizer.json and GGUF fill one in.
struct TokenizerParts {
  struct AddedToken {
    std::string content;
    int32_t id = 0;
    bool special = true;
  };
  using Normalizer = std::function<std::string(std::string)>;
  // `at_start`: the piece begins where the whole text begins.
  using Splitter =
      std::function<Result<std::vector<std::string>>(const std::string& piece, bool at_start)>;
  using Encoder = std::function<Status(std::string_view piece, std::vector<int32_t>& ids)>;
  enum class Decoding {
    kByteLevel,      // GPT-2's alphabet back to bytes
    kSentencePiece,  // U+2581 to spaces, <0xNN> to bytes
    kWordPiece,      // "##" joins, anything else follows a space
    kSpaced,         // a space between tokens
  };

  std::vector<AddedToken> added;
  std::vector<Normalizer> normalizers;
  std::vector<Splitter> splitters;
  Encoder encode;
  Decoding decoding = Decoding::kByteLevel;
  bool strips_first_space = false;  // kSentencePiece: the dummy prefix
  bool cleans_up_spaces = true;     // kWordPiece: BERT's clean-up
  std::vector<std::string> tokens;  // by id
  std::vector<int32_t> prefix;      // with add_special_tokens
  std::vector<int32_t> suffix;
  std::optional<int32_t> bos;
  std::optional<int32_t> eos;
};

std::shared_ptr<const Tokenizer> make_pipeline_tokenizer(TokenizerParts parts);

// WordPiece: greedy longest match from the left, continuations marked "##".
struct WordPiece {
  std::unordered_map<std::string, int32_t> vocabulary;
  int32_t unknown_id = 0;
  std::string continuing_prefix = "##";
  size_t longest_word = 100;  // in characters; longer words are unknown
  void encode(std::string_view word, std::vector<int32_t>& ids) const;
};

}  // namespace candor
