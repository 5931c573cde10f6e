#include "formats/unicode.h"

#include <unicode/locid.h>
#include <unicode/normalizer2.h>
#include <unicode/uchar.h>
#include <unicode/unistr.h>
#include <unicode/utf8.h>

#include <array>
#include <cctype>

#include "base/check.h"

namespace candor {

bool is_utf8(std::string_view text) {
  const auto size = static_cast<int32_t>(text.size());
  CANDOR_CHECK(text.size() < (size_t{1} << 31));
  int32_t place = 0;
  while (place < size) {
    UChar32 point = 0;
    U8_NEXT(text.data(), place, size, point);
    if (point < 0) return false;
  }
  return true;
}

std::string replace_invalid_utf8(std::string_view bytes) {
  std::string out;
  icu::UnicodeString::fromUTF8(icu::StringPiece(bytes.data(), static_cast<int32_t>(bytes.size())))
      .toUTF8String(out);
  return out;
}

std::vector<char32_t> code_points(std::string_view text) {
  std::vector<char32_t> points;
  const auto size = static_cast<int32_t>(text.size());
  int32_t place = 0;
  while (place < size) {
    UChar32 point = 0;
    U8_NEXT_OR_FFFD(text.data(), place, size, point);
    points.push_back(static_cast<char32_t>(point));
  }
  return points;
}

void append_utf8(std::string& out, char32_t code_point) {
  std::array<char, 4> buffer{};
  int32_t length = 0;
  U8_APPEND_UNSAFE(buffer.data(), length, code_point);
  out.append(buffer.data(), static_cast<size_t>(length));
}

namespace {

const icu::Normalizer2* normalizer_of(NormalForm form, UErrorCode& code) {
  switch (form) {
    case NormalForm::kC:
      return icu::Normalizer2::getNFCInstance(code);
    case NormalForm::kD:
      return icu::Normalizer2::getNFDInstance(code);
    case NormalForm::kKC:
      return icu::Normalizer2::getNFKCInstance(code);
    case NormalForm::kKD:
      return icu::Normalizer2::getNFKDInstance(code);
  }
  return nullptr;
}

// GPT-2's alphabet: printable Latin-1 stands for itself, the others for 256, 257, ...
struct Alphabet {
  std::array<char32_t, 256> point{};
  std::array<int16_t, 512> byte{};
  Alphabet() {
    byte.fill(-1);
    char32_t next = 256;
    for (int b = 0; b < 256; ++b) {
      const bool printable =
          (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || (b >= 0xae && b <= 0xff);
      point[static_cast<size_t>(b)] = printable ? static_cast<char32_t>(b) : next++;
      byte[point[static_cast<size_t>(b)]] = static_cast<int16_t>(b);
    }
  }
};

const Alphabet& alphabet() {
  static const Alphabet kAlphabet;
  return kAlphabet;
}

bool is_space(UChar32 c) { return u_hasBinaryProperty(c, UCHAR_WHITE_SPACE) != 0; }

// Whether the character's category is in `mask` and was so in Unicode 8: the tables of the
// reference library's BERT are that old, and later characters count as unassigned there.
bool has_category(UChar32 c, uint32_t mask) {
  if ((U_GET_GC_MASK(c) & mask) == 0) return false;
  UVersionInfo age = {};
  u_charAge(c, age);
  return age[0] <= 8;
}

bool is_control(UChar32 c) {
  if (c == '\t' || c == '\n' || c == '\r') return false;
  // Unassigned code points stay, as in the reference library.
  return has_category(c, U_GC_CC_MASK | U_GC_CF_MASK | U_GC_CO_MASK);
}

bool is_punctuation(UChar32 c) {
  if (c < 128) return std::ispunct(c) != 0;
  return has_category(c, U_GC_P_MASK);
}

// The blocks that BERT's reference code lists.
bool is_chinese(UChar32 c) {
  return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) ||
         (c >= 0x20000 && c <= 0x2A6DF) || (c >= 0x2A700 && c <= 0x2B73F) ||
         (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) ||
         (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

// One code point at a time, as the reference does: no final-sigma rule.
void append_lower(std::string& out, UChar32 c) {
  icu::UnicodeString lower(c);
  lower.toLower(icu::Locale::getRoot());
  lower.toUTF8String(out);
}

}  // namespace

std::string to_normal_form(std::string_view text, NormalForm form) {
  UErrorCode code = U_ZERO_ERROR;
  const icu::Normalizer2* normalizer = normalizer_of(form, code);
  CANDOR_CHECK(U_SUCCESS(code), "ICU has its normalisation data");
  const icu::StringPiece piece(text.data(), static_cast<int32_t>(text.size()));
  const icu::UnicodeString normal =
      normalizer->normalize(icu::UnicodeString::fromUTF8(piece), code);
  CANDOR_CHECK(U_SUCCESS(code), "normalisation only fails without memory");
  std::string out;
  normal.toUTF8String(out);
  return out;
}

std::string to_lower(std::string_view text) {
  std::string out;
  for (const char32_t point : code_points(text)) append_lower(out, static_cast<UChar32>(point));
  return out;
}

std::string without_marks(std::string_view text) {
  std::string out;
  for (const char32_t point : code_points(text)) {
    if ((U_GET_GC_MASK(static_cast<UChar32>(point)) & U_GC_M_MASK) == 0) append_utf8(out, point);
  }
  return out;
}

std::string bytes_to_alphabet(std::string_view bytes) {
  std::string out;
  for (const char byte : bytes)
    append_utf8(out, alphabet().point[static_cast<unsigned char>(byte)]);
  return out;
}

int byte_of_alphabet(char32_t code_point) {
  return code_point < alphabet().byte.size() ? alphabet().byte[code_point] : -1;
}

std::string bert_normalize(std::string_view text, const BertNormalizer& options) {
  std::string cleaned;
  for (const char32_t point : code_points(text)) {
    const auto c = static_cast<UChar32>(point);
    if (options.clean_text) {
      if (c == 0 || c == 0xFFFD || is_control(c)) continue;
      if (is_space(c)) {
        cleaned += ' ';
        continue;
      }
    }
    const bool spaced = options.handle_chinese_chars && is_chinese(c);
    if (spaced) cleaned += ' ';
    append_utf8(cleaned, point);
    if (spaced) cleaned += ' ';
  }
  std::string out;
  for (const char32_t point :
       code_points(options.strip_accents ? to_normal_form(cleaned, NormalForm::kD) : cleaned)) {
    const auto c = static_cast<UChar32>(point);
    if (options.strip_accents && has_category(c, U_GC_MN_MASK)) continue;
    if (options.lowercase) {
      append_lower(out, c);
    } else {
      append_utf8(out, point);
    }
  }
  return out;
}

std::vector<std::string> bert_words(std::string_view text) {
  std::vector<std::string> words;
  std::string word;
  const auto flush = [&] {
    if (!word.empty()) words.push_back(std::move(word));
    word.clear();
  };
  for (const char32_t point : code_points(text)) {
    const auto c = static_cast<UChar32>(point);
    if (is_space(c)) {
      flush();
    } else if (is_punctuation(c)) {
      flush();
      append_utf8(word, point);
      flush();
    } else {
      append_utf8(word, point);
    }
  }
  flush();
  return words;
}

}  // namespace candor
