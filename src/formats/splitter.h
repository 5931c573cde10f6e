#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace candor {

// Splits text at the matches of a regular expression (PCRE2, Unicode): every match is a piece and
// what lies between matches is one (Hugging Face's behaviour "Isolated").
class RegexSplitter {
 public:
  // Errors: a pattern that does not compile.
  static Result<RegexSplitter> compile(const std::string& pattern);
  // Errors: a text on which the engine's limits are reached.
  [[nodiscard]] Result<std::vector<std::string_view>> split(std::string_view text) const;

 private:
  struct Code;
  explicit RegexSplitter(std::shared_ptr<const Code> code) : code_(std::move(code)) {}
  std::shared_ptr<const Code> code_;
};

// GPT-2's pattern, which "ByteLevel" with use_regex means.
extern const char* const kGpt2Pattern;

}  // namespace candor
