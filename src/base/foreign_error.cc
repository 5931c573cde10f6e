#include "base/foreign_error.h"

#include <algorithm>
#include <array>
#include <new>
#include <string>

#include "base/strings.h"

namespace candor {

namespace {

// The first line: LibTorch's text goes on with a stack trace. Without a library's own label in
// front of it ("[json.exception.type_error.302] ...").
std::string plain_text(const std::exception& exception) {
  std::string text = split(exception.what(), '\n')[0];
  if (text.starts_with('[')) {
    if (const size_t end = text.find("] "); end != std::string::npos) text.erase(0, end + 2);
  }
  return text;
}

}  // namespace

Error error_of_exception(const std::exception& exception, std::string_view what) {
  // LibTorch throws one class for everything on a CPU; only its words tell memory apart.
  static constexpr std::array<std::string_view, 3> kMemoryWords = {
      "can't allocate memory", "not enough memory", "out of memory"};
  const std::string text = plain_text(exception);
  const bool memory = dynamic_cast<const std::bad_alloc*>(&exception) != nullptr ||
                      std::ranges::any_of(kMemoryWords, [&](std::string_view words) {
                        return text.find(words) != std::string::npos;
                      });
  if (memory) return resource_error(str_cat(what, ": not enough memory (", text, ")"));
  return Error{
      ErrorCode::kInternal,
      str_cat(what, ": internal error, a bug of this program: please report it (", text, ")")};
}

}  // namespace candor
