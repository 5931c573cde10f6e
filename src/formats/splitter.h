#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace candor {

// Splits text at the matches of a regular expression (Unicode): every match is a piece and what
// lies between matches is one (Hugging Face's behaviour "Isolated"), or is all there is
// ("Removed").
//
// Patterns are written for Oniguruma, the reference library's engine; ours is PCRE2. What the two
// read differently is rewritten (\s: PCRE2 counts U+180E as a space) or refused (\w, \b, ^, $, \h,
// sets inside sets, `&&`, ...): a pattern never means something else here without a word.
class RegexSplitter {
 public:
  enum class Behavior { kIsolated, kRemoved };
  // Errors: a pattern that does not compile, or holds a sign whose meaning differs.
  static Result<RegexSplitter> compile(const std::string& pattern,
                                       Behavior behavior = Behavior::kIsolated);
  // REQUIRES: well-formed UTF-8.
  // Errors: a text on which the engine's limits are reached.
  [[nodiscard]] Result<std::vector<std::string_view>> split(std::string_view text) const;

 private:
  struct Code;
  RegexSplitter(std::shared_ptr<const Code> code, Behavior behavior)
      : code_(std::move(code)), behavior_(behavior) {}
  std::shared_ptr<const Code> code_;
  Behavior behavior_;
};

// A pattern in Oniguruma's language as one of PCRE2 that matches the same.
Result<std::string> pcre2_from_oniguruma(const std::string& pattern);

// A pattern that matches exactly this text.
[[nodiscard]] std::string pattern_of_text(std::string_view text);

// GPT-2's pattern, which "ByteLevel" with use_regex means.
extern const char* const kGpt2Pattern;

}  // namespace candor
