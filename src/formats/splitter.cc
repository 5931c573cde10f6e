#include "formats/splitter.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <array>

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

}  // namespace

Result<RegexSplitter> RegexSplitter::compile(const std::string& pattern) {
  int error = 0;
  PCRE2_SIZE offset = 0;
  auto code = std::make_shared<Code>();
  code->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                             PCRE2_UTF | PCRE2_UCP, &error, &offset, nullptr);
  if (code->code == nullptr) {
    return invalid_argument(
        str_cat("the pattern ", quote(pattern), " does not compile: ", error_text(error)));
  }
  pcre2_jit_compile(code->code, PCRE2_JIT_COMPLETE);  // slower, not wrong, where it cannot
  return RegexSplitter(std::move(code));
}

Result<std::vector<std::string_view>> RegexSplitter::split(std::string_view text) const {
  const std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)> match(
      pcre2_match_data_create_from_pattern(code_->code, nullptr), &pcre2_match_data_free);
  std::vector<std::string_view> pieces;
  size_t place = 0;
  size_t begin = 0;  // of what has not been handed out yet
  while (place < text.size()) {
    const int found = pcre2_match(code_->code, reinterpret_cast<PCRE2_SPTR>(text.data()),
                                  text.size(), place, 0, match.get(), nullptr);
    if (found == PCRE2_ERROR_NOMATCH) break;
    if (found < 0) return invalid_argument(str_cat("splitting failed: ", error_text(found)));
    const PCRE2_SIZE* ends = pcre2_get_ovector_pointer(match.get());
    if (ends[1] == ends[0]) {  // an empty match: step over one character
      do {
        ++place;
      } while (place < text.size() && (static_cast<unsigned char>(text[place]) & 0xc0) == 0x80);
      continue;
    }
    if (ends[0] > begin) pieces.push_back(text.substr(begin, ends[0] - begin));
    pieces.push_back(text.substr(ends[0], ends[1] - ends[0]));
    begin = ends[1];
    place = ends[1];
  }
  if (begin < text.size()) pieces.push_back(text.substr(begin));
  return pieces;
}

}  // namespace candor
