#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <vector>

namespace candor::bench {

// What the machine can do, as vectorised as it gets, to set beside what a solver takes.
[[nodiscard]] double read_part(const double* values, size_t count);              // their sum
[[nodiscard]] double exp_part(const double* buffer, size_t size, size_t count);  // of a hot buffer

// Seconds of one call.
template <typename Work>
double seconds(const Work& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

inline double median(std::vector<double> times) {
  std::ranges::nth_element(times, times.begin() + static_cast<ptrdiff_t>(times.size() / 2));
  return times[times.size() / 2];
}

}  // namespace candor::bench
