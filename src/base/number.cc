#include "base/number.h"

#include <charconv>
#include <cmath>

#include "base/strings.h"

namespace candor {

namespace {

// Few digits, where they are all there is.
std::string bound(double value) {
  const std::string text = format_short(value, 6);
  double again = 0;
  std::from_chars(text.data(), text.data() + text.size(), again);
  return again == value ? text : format_double(value);
}

// The text from its first byte to its last.
template <typename Number>
std::errc read_all(std::string_view text, Number& value) {
  const char* end = text.data() + text.size();
  const auto [stop, code] = std::from_chars(text.data(), end, value);
  return stop == end ? code : std::errc::invalid_argument;
}

Error refuse(std::string_view text, const std::string& allowed) {
  return invalid_argument(str_cat("found ", quote(text), "; expected ", allowed));
}

}  // namespace

std::string NumberRange::text() const {
  const double largest = std::numeric_limits<double>::max();
  const bool open = high == largest;
  if (low == -largest) return open ? "a finite number" : "a number of at most " + bound(high);
  if (above_low) {
    return str_cat("a finite number above ", bound(low), open ? "" : ", at most " + bound(high));
  }
  if (open) return "a number of at least " + bound(low);
  return str_cat("a number from ", bound(low), " to ", bound(high));
}

std::string whole_range_text(int64_t low, int64_t high) {
  return str_cat("a whole number from ", low, " to ", high);
}

Result<double> parse_number(std::string_view text, const NumberRange& range) {
  double value = 0;
  const std::errc code = read_all(text, value);
  if (code == std::errc::result_out_of_range) {
    return refuse(text, range.text() + " that a double can hold");
  }
  if (code != std::errc() || !std::isfinite(value) || !range.holds(value)) {
    return refuse(text, range.text());
  }
  return value + 0.0;  // -0 becomes 0
}

Result<int64_t> parse_whole(std::string_view text, int64_t low, int64_t high) {
  int64_t value = 0;
  if (read_all(text, value) != std::errc() || value < low || value > high) {
    return refuse(text, whole_range_text(low, high));
  }
  return value;
}

}  // namespace candor
