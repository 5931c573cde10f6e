#pragma once

#include <span>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace candor {

// Shortest text that reads back as the same double ("0.1", "1e-300"); "nan", "inf" as such.
[[nodiscard]] std::string format_double(double value);

// `value` with `digits` significant digits, for people.
[[nodiscard]] std::string format_short(double value, int digits = 4);

// 1536 -> "1.5 KiB"; for messages and plans.
[[nodiscard]] std::string format_bytes(double bytes);

namespace internal {
template <typename T>
void append(std::ostringstream& out, const T& part) {
  if constexpr (std::is_floating_point_v<T>) {
    out << format_double(static_cast<double>(part));
  } else {
    out << part;
  }
}
}  // namespace internal

// Concatenates its arguments; doubles in round-trip form.
template <typename... Parts>
[[nodiscard]] std::string str_cat(const Parts&... parts) {
  std::ostringstream out;
  (internal::append(out, parts), ...);
  return out.str();
}

// "a, b, c"
[[nodiscard]] std::string join(std::span<const std::string> parts, std::string_view separator);

// Text from outside as it may be shown on a terminal or a page: control characters (of a byte, of
// U+0080 to U+009F), those that turn or break lines (U+2028 to U+202E, U+2066 to U+2069) and bytes
// that are not UTF-8 become "\x1b", "\u202e", "\xff". Lines::kKeep leaves line breaks and tabs.
enum class Lines { kEscape, kKeep };
[[nodiscard]] std::string printable(std::string_view text, Lines lines = Lines::kEscape);

// Text as it is shown in an error: quoted and printable, cut after about `limit` bytes.
[[nodiscard]] std::string quote(std::string_view text, size_t limit = 60);

// The candidate nearest to `word` by edit distance, as "; did you mean \"size\"?", or "" when none
// is near enough to be a slip of the finger.
[[nodiscard]] std::string did_you_mean(std::string_view word,
                                       std::span<const std::string> candidates);

[[nodiscard]] std::vector<std::string> split(std::string_view text, char separator);
[[nodiscard]] std::string_view trim(std::string_view text);

}  // namespace candor
