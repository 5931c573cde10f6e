#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/result.h"

namespace candor {

// Byte-pair encoding of one piece of text: symbols are joined in pairs, best pair first (lowest
// rank; leftmost among equals), until no pair can be joined.
//
// Ranked by merges (GPT-2, Hugging Face): a pair may join if it is in the list; rank = place there.
// Ranked by scores (SentencePiece): a pair may join if the joined text is a token; best score
// first.
class Bpe {
 public:
  struct Options {
    bool byte_fallback = false;  // unknown characters become <0xNN> tokens
    bool ignore_merges = false;  // a piece that is a token needs no merging
    int32_t unknown_id = -1;     // where no fallback applies; -1: the character is left out
    bool fuse_unknown = false;   // neighbouring unknowns become one
  };

  // merges: "left right" or the two parts; a part or product outside the vocabulary is an error.
  static Result<Bpe> from_merges(std::unordered_map<std::string, int32_t> vocabulary,
                                 const std::vector<std::pair<std::string, std::string>>& merges,
                                 const Options& options);
  static Bpe from_scores(std::unordered_map<std::string, int32_t> vocabulary,
                         std::vector<float> scores, const Options& options);

  // Appends the ids of `piece` (well-formed UTF-8). Cost: O(length log length).
  // A character that is neither in the vocabulary nor covered by a fallback is left out where there
  // is no unknown token, as the reference library does: SmolLM2's vocabulary lacks some 20 bytes.
  void encode(std::string_view piece, std::vector<int32_t>& ids) const;

 private:
  struct Joined {
    double priority = 0;  // smaller joins first
    int32_t id = -1;
  };
  [[nodiscard]] bool find_join(int32_t left, int32_t right, Joined& joined) const;
  void first_symbols(std::string_view piece, std::vector<int32_t>& symbols) const;
  void merge(std::vector<int32_t>& symbols) const;

  Options options_;
  std::unordered_map<std::string, int32_t> vocabulary_;
  std::vector<std::string> tokens_;              // by id, for scores
  std::vector<float> scores_;                    // by id; empty: merges
  std::unordered_map<uint64_t, Joined> merges_;  // (left id, right id)
};

}  // namespace candor
