#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace candor {

// Whether the bytes are well-formed UTF-8.
[[nodiscard]] bool is_utf8(std::string_view text);

// Every ill-formed part replaced by U+FFFD.
[[nodiscard]] std::string replace_invalid_utf8(std::string_view bytes);

// Code points of well-formed UTF-8, and back.
[[nodiscard]] std::vector<char32_t> code_points(std::string_view text);
void append_utf8(std::string& out, char32_t code_point);

enum class NormalForm { kC, kD, kKC, kKD };
[[nodiscard]] std::string to_normal_form(std::string_view text, NormalForm form);

// Lower case, one code point at a time (no rule for the final sigma), as the reference library.
[[nodiscard]] std::string to_lower(std::string_view text);
// Without combining marks.
[[nodiscard]] std::string without_marks(std::string_view text);

// The byte-level alphabet of GPT-2: every byte as one printable code point.
[[nodiscard]] std::string bytes_to_alphabet(std::string_view bytes);
// The byte of such a code point, or -1.
[[nodiscard]] int byte_of_alphabet(char32_t code_point);

// BERT's cleaning (the normaliser of uncased models): control characters out, white space to
// spaces, spaces around Chinese characters, accents stripped, lower case; each as asked for.
struct BertNormalizer {
  bool clean_text = true;
  bool handle_chinese_chars = true;
  bool strip_accents = true;
  bool lowercase = true;
};
[[nodiscard]] std::string bert_normalize(std::string_view text, const BertNormalizer& options);
// BERT's words: split at white space, punctuation by itself.
[[nodiscard]] std::vector<std::string> bert_words(std::string_view text);

}  // namespace candor
