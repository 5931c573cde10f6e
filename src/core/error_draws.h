#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace candor {

// Of numbers of size 1: a difference below this is rounding, not spread.
inline constexpr double kRoundingShare = 1e-12;

// The value below which a share of `values` lies, linear between neighbours.
// REQUIRES: values not empty, 0 <= share <= 1.
[[nodiscard]] double quantile(std::vector<double> values, double share);

// Draws of one estimate's error (estimate - truth): what resampling says of how far it may be off.
using ErrorDraws = std::vector<double>;  // [B]

// a - b, draw by draw.
[[nodiscard]] ErrorDraws difference(const ErrorDraws& a, const ErrorDraws& b);
// Root of the mean square: errors are centred at 0.
[[nodiscard]] double spread_of(const ErrorDraws& errors);

enum class ErrorSide {
  kAbove,  // the estimate lies above the truth: what a lower end must survive
  kBelow,  // below it: an upper end
  kBoth,
};

// The largest error of a family of estimates in each draw, in units of every estimate's own spread
// ("max-t"). Its quantile c makes bands estimate +- c x spread hold all members at once
// (Chernozhukov, Chetverikov, Kato 2013). An estimate without any spread counts as known: of two
// candidates whose replies agree, the difference has none.
class LargestErrors {
 public:
  // `scale`: the size of numbers whose rounding is no spread (kRoundingShare).
  LargestErrors(size_t draws, double scale) : largest_(draws, 0.0), scale_(scale) {}
  void add(std::span<const double> errors, double spread, ErrorSide side);
  // The quantile at `level`; 0 for an empty family.
  [[nodiscard]] double critical_value(double level) const { return quantile(largest_, level); }

 private:
  std::vector<double> largest_;  // [B]
  double scale_;
};

}  // namespace candor
