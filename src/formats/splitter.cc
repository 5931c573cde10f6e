#include "formats/splitter.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <array>
#include <cctype>

#include "base/strings.h"

namespace candor {

const char* const kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

struct RegexSplitter::Code {
  pcre2_code* code = nullptr;
  ~Code() { pcre2_code_free(code); }
};

namespace {

std::string error_text(int code) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(code, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

// Unicode's White_Space, which is what \s means in the reference library.
constexpr std::string_view kSpaces = R"(\t-\r\x{85}\p{Z})";
constexpr std::string_view kGroups[] = {"(?:", "(?i:", "(?=", "(?!", "(?<=", "(?<!"};

// Reads a pattern from left to right and writes the one for PCRE2.
class Translator {
 public:
  explicit Translator(std::string_view pattern) : in_(pattern) {}

  Result<std::string> run() {
    while (place_ < in_.size()) {
      const bool ok = in_[place_] == '\\' ? escape() : in_class_ ? class_sign() : sign();
      if (!ok) {
        return invalid_argument(str_cat("the pattern ", quote(in_, 120), " is not supported at ",
                                        quote(in_.substr(place_), 12)));
      }
    }
    return std::move(out_);
  }

 private:
  bool copy(size_t count) {
    out_ += in_.substr(place_, count);
    place_ += count;
    return true;
  }
  bool write(std::string_view text, size_t count) {
    out_ += text;
    place_ += count;
    return true;
  }
  [[nodiscard]] bool at(std::string_view text) const {
    return in_.substr(place_).starts_with(text);
  }

  bool escape() {
    if (place_ + 1 >= in_.size()) return false;
    const char letter = in_[place_ + 1];
    if (letter == 's')
      return write(in_class_ ? std::string(kSpaces) : str_cat("[", kSpaces, "]"), 2);
    if (letter == 'S' && !in_class_) return write(str_cat("[^", kSpaces, "]"), 2);
    if (letter == 'p' || letter == 'P' || letter == 'x') {
      const size_t end = in_.find('}', place_);
      if (place_ + 2 >= in_.size() || in_[place_ + 2] != '{' || end == std::string::npos)
        return false;
      return copy(end + 1 - place_);
    }
    const bool same = std::string_view("rntdD").find(letter) != std::string_view::npos ||
                      std::ispunct(static_cast<unsigned char>(letter)) != 0;
    return same && copy(2);
  }
  bool class_sign() {
    if (at("[") || at("&&")) return false;
    in_class_ = !at("]");
    return copy(1);
  }
  bool sign() {
    if (at("^") || at("$") || at("(*") || at("{,")) return false;
    if (at("(?")) {
      for (const std::string_view group : kGroups) {
        if (at(group)) return copy(group.size());
      }
      return false;
    }
    if (at("[")) {
      in_class_ = true;
      const size_t count = at("[^") ? 2 : 1;
      if (in_.substr(place_ + count).starts_with(']')) return false;
      return copy(count);
    }
    if (at("}+")) return false;  // possessive in one, greedy twice in the other
    return copy(1);
  }

  std::string_view in_;
  size_t place_ = 0;
  bool in_class_ = false;
  std::string out_;
};

}  // namespace

Result<std::string> pcre2_from_oniguruma(const std::string& pattern) {
  return Translator(pattern).run();
}

std::string pattern_of_text(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (std::ispunct(static_cast<unsigned char>(c)) != 0) {
      out += '\\';
    }
    out += c;
  }
  return out;
}

Result<RegexSplitter> RegexSplitter::compile(const std::string& pattern, Behavior behavior) {
  CANDOR_TRY(const std::string translated, pcre2_from_oniguruma(pattern));
  int error = 0;
  PCRE2_SIZE offset = 0;
  auto code = std::make_shared<Code>();
  code->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                             PCRE2_UTF | PCRE2_UCP, &error, &offset, nullptr);
  if (code->code == nullptr) {
    return invalid_argument(
        str_cat("the pattern ", quote(pattern), " does not compile: ", error_text(error)));
  }
  pcre2_jit_compile(code->code, PCRE2_JIT_COMPLETE);  // slower, not wrong, where it cannot
  return RegexSplitter(std::move(code), behavior);
}

Result<std::vector<std::string_view>> RegexSplitter::split(std::string_view text) const {
  const std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)> match(
      pcre2_match_data_create_from_pattern(code_->code, nullptr), &pcre2_match_data_free);
  std::vector<std::string_view> pieces;
  size_t place = 0;
  size_t begin = 0;  // of what has not been handed out yet
  while (place < text.size()) {
    // Without the option every call would read all of the text to check its UTF-8.
    const int found = pcre2_match(code_->code, reinterpret_cast<PCRE2_SPTR>(text.data()),
                                  text.size(), place, PCRE2_NO_UTF_CHECK, match.get(), nullptr);
    if (found == PCRE2_ERROR_NOMATCH) break;
    if (found < 0) return invalid_argument(str_cat("splitting failed: ", error_text(found)));
    const PCRE2_SIZE* ends = pcre2_get_ovector_pointer(match.get());
    if (ends[1] == ends[0]) {  // an empty match: step over one character
      place = ends[0];
      do {
        ++place;
      } while (place < text.size() && (static_cast<unsigned char>(text[place]) & 0xc0) == 0x80);
      continue;
    }
    if (ends[0] > begin) pieces.push_back(text.substr(begin, ends[0] - begin));
    if (behavior_ == Behavior::kIsolated) {
      pieces.push_back(text.substr(ends[0], ends[1] - ends[0]));
    }
    begin = ends[1];
    place = ends[1];
  }
  if (begin < text.size()) pieces.push_back(text.substr(begin));
  return pieces;
}

}  // namespace candor
