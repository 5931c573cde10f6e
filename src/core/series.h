#pragma once

#include <cmath>

namespace candor {

struct Mean {
  double value = 0;
  double half_width = 0;  // 1.96 standard errors
};

// Mean and standard error of a running series (Welford 1962).
class Series {
 public:
  void add(double value) {
    ++count_;
    const double step = value - mean_;
    mean_ += step / count_;
    squares_ += step * (value - mean_);
  }
  [[nodiscard]] double variance() const { return count_ > 1 ? squares_ / (count_ - 1) : 0; }
  [[nodiscard]] Mean mean() const { return {mean_, 1.96 * std::sqrt(variance() / count_)}; }

 private:
  double count_ = 0;
  double mean_ = 0;
  double squares_ = 0;
};

}  // namespace candor
