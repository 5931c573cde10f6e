#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <thread>
#include <vector>

namespace candor {

// All cores for 0, else `threads`.
[[nodiscard]] inline int thread_count(int threads) {
  return threads > 0 ? threads : std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

// Calls work(i) once for every i below `count`, on up to `threads` threads, the caller's among
// them; returns when all are done. Which thread does which i is not fixed: results belong in slots
// by i. REQUIRES: work does not throw.
template <typename Work>
void parallel_for(size_t count, int threads, const Work& work) {
  std::atomic<size_t> next = 0;
  const auto drain = [&] {
    for (size_t i = next++; i < count; i = next++) work(i);
  };
  const size_t helpers = std::min(count, static_cast<size_t>(thread_count(threads)));
  std::vector<std::jthread> pool;
  for (size_t i = 1; i < helpers; ++i) pool.emplace_back(drain);
  drain();
}

}  // namespace candor
