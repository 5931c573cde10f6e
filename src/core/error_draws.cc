#include "core/error_draws.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace candor {

double quantile(std::vector<double> values, double share) {
  CANDOR_CHECK(!values.empty() && share >= 0 && share <= 1);
  std::sort(values.begin(), values.end());
  const double place = share * static_cast<double>(values.size() - 1);
  const auto below = static_cast<size_t>(place);
  const size_t above = std::min(below + 1, values.size() - 1);
  return values[below] + (place - static_cast<double>(below)) * (values[above] - values[below]);
}

ErrorDraws difference(const ErrorDraws& a, const ErrorDraws& b) {
  CANDOR_CHECK(a.size() == b.size());
  ErrorDraws out(a.size());
  for (size_t draw = 0; draw < a.size(); ++draw) out[draw] = a[draw] - b[draw];
  return out;
}

double spread_of(const ErrorDraws& errors) {
  double squares = 0;
  for (const double error : errors) squares += error * error;
  return std::sqrt(squares / static_cast<double>(errors.size()));
}

void LargestErrors::add(std::span<const double> errors, double spread, ErrorSide side) {
  CANDOR_CHECK(errors.size() == largest_.size());
  if (spread <= kRoundingShare * scale_) return;
  const double unit = 1 / spread;
  for (size_t draw = 0; draw < errors.size(); ++draw) {
    const double error = errors[draw] * unit;
    const double size = side == ErrorSide::kAbove   ? error
                        : side == ErrorSide::kBelow ? -error
                                                    : std::abs(error);
    largest_[draw] = std::max(largest_[draw], size);
  }
}

}  // namespace candor
