#pragma once

#include <atomic>
#include <cstdint>

namespace candor {

// Where the threads of one team wait for each other: a short spin, for the microseconds between two
// products of a decoding step, then sleep, so that a machine with other work does not burn its
// cores on waiting (OpenMP's own barrier spins for milliseconds: 20 times slower there).
class TeamBarrier {
 public:
  // REQUIRES: every one of the team's `team_size` threads calls it equally often.
  void wait(int64_t team_size) {
    if (team_size == 1) return;
    const uint32_t turn = turn_.load(std::memory_order_acquire);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == team_size) {
      arrived_.store(0, std::memory_order_relaxed);
      turn_.store(turn + 1, std::memory_order_release);
      turn_.notify_all();
      return;
    }
    for (int spin = 0; spin < kSpins; ++spin) {
      if (turn_.load(std::memory_order_acquire) != turn) return;
#if defined(__x86_64__)
      __builtin_ia32_pause();
#endif
    }
    turn_.wait(turn, std::memory_order_acquire);
  }

 private:
  static constexpr int kSpins = 2000;
  alignas(64) std::atomic<int64_t> arrived_ = 0;
  alignas(64) std::atomic<uint32_t> turn_ = 0;
};

}  // namespace candor
