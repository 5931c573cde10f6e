#pragma once

#include <cmath>

namespace candor {

// A running sum whose rounding error does not grow with the number of terms (Neumaier 1974).
class Sum {
 public:
  void add(double term) {
    const double total = sum_ + term;
    correction_ += std::abs(sum_) >= std::abs(term) ? (sum_ - total) + term : (term - total) + sum_;
    sum_ = total;
  }
  [[nodiscard]] double value() const {
    return std::isfinite(correction_) ? sum_ + correction_ : sum_;
  }

 private:
  double sum_ = 0;
  double correction_ = 0;
};

}  // namespace candor
