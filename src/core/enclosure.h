#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

namespace candor {

// Half a unit in the last place of 1: every operation of double arithmetic is off by at most this
// much of its result.
inline constexpr double kUnitRoundoff = std::numeric_limits<double>::epsilon() / 2;

// Two doubles with the truth between them. What "the truth" is, and what the bounds rest on:
// docs/guide/theory.md, "What the bounds are".
struct Enclosure {
  double low = 0;
  double high = 0;

  [[nodiscard]] double width() const { return high - low; }
  [[nodiscard]] bool contains(double value) const { return low <= value && value <= high; }
  [[nodiscard]] double nearest(double value) const { return std::min(std::max(value, low), high); }
  // The largest distance of a value inside to `value`; infinity where an end is not a number.
  [[nodiscard]] double distance(double value) const {
    const double up = high - value;
    const double down = value - low;
    if (!(std::isfinite(up) && std::isfinite(down))) return std::numeric_limits<double>::infinity();
    return std::max(up, down);
  }
};

// What is known to be within `error` >= 0 of `value`.
inline Enclosure around(double value, double error) {
  const double rounding = 2 * kUnitRoundoff * (std::abs(value) + error);
  return {value - error - rounding, value + error + rounding};
}

inline Enclosure operator+(const Enclosure& a, const Enclosure& b) {
  const double rounding =
      2 * kUnitRoundoff *
      (std::max(std::abs(a.low), std::abs(a.high)) + std::max(std::abs(b.low), std::abs(b.high)));
  return {a.low + b.low - rounding, a.high + b.high + rounding};
}
inline Enclosure operator-(const Enclosure& a) { return {-a.high, -a.low}; }
inline Enclosure operator-(const Enclosure& a, const Enclosure& b) { return a + -b; }

// A number and what surely holds it.
struct Bounded {
  double value = 0;
  Enclosure enclosure;

  // The same where `bounds`, finite, hold the truth as well; also of what is not a number.
  [[nodiscard]] Bounded within(const Enclosure& bounds) const {
    Enclosure met = {enclosure.low >= bounds.low ? enclosure.low : bounds.low,
                     enclosure.high <= bounds.high ? enclosure.high : bounds.high};
    return {std::isnan(value) ? met.low : met.nearest(value), met};
  }
};

// What both say. Two enclosures of one number always meet.
inline Enclosure both(const Enclosure& a, const Enclosure& b) {
  return {std::max(a.low, b.low), std::min(a.high, b.high)};
}
// What at least one of them holds.
inline Enclosure hull(const Enclosure& a, const Enclosure& b) {
  return {std::min(a.low, b.low), std::max(a.high, b.high)};
}

}  // namespace candor
