#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace candor {

// What can be counted about how a reply is supported by its prompt (an article, say), without a
// model. All lie in [0, 1]; none is a length. Words are runs of ASCII letters and digits, in lower
// case; a plural or possessive s is dropped; words of fewer than four letters and a few function
// words are not "content". Bytes that are not ASCII belong to words.
enum class SupportFeature : size_t {
  kContentShare,     // content words of the reply that occur in the prompt
  kBigramShare,      // neighbouring words of the reply that are neighbours in the prompt
  kNameShare,        // capitalised words (not a sentence's first) that occur in the prompt
  kNumberShare,      // words with a digit that occur in the prompt
  kCopiedRun,        // the longest run of words copied from the prompt, over the reply's words
  kCopiedFromStart,  // that run, where it begins in the prompt's first fifth; else 0
  kWhole,            // 1: begins with a capital or digit and ends with . ! ? or a quote
  kContentDensity,   // content words over words
  kCount,
};
inline constexpr size_t kSupportFeatures = static_cast<size_t>(SupportFeature::kCount);

// Shares over nothing are 1 (nothing is unsupported). Cost: O(prompt x reply) words.
[[nodiscard]] std::array<float, kSupportFeatures> support_features(std::string_view prompt,
                                                                   std::string_view completion);

// Sentences: cut after . ! ? before white space, and at line breaks; blank ones left out.
[[nodiscard]] std::vector<std::string> sentences_of(std::string_view text);

// Neighbouring sentences joined until a chunk has `min_words`; at most `max_chunks`, the text
// beyond them unread. A text without a word is one empty chunk.
[[nodiscard]] std::vector<std::string> chunks_of(std::string_view text, size_t min_words,
                                                 size_t max_chunks);

}  // namespace candor
