#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace candor {

// Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", 2011):
// a counter in, 128 random bits out, no state. Equal on every machine.
[[nodiscard]] std::array<uint32_t, 4> philox(std::array<uint32_t, 4> counter,
                                             std::array<uint32_t, 2> key);

// What a random number belongs to. Numbers are keyed by what they are for, never by the order in
// which work happens to be done, so threads, batches and restarts cannot change a result.
struct RandomKey {
  uint64_t seed = 0;
  uint32_t stream = 0;    // the purpose: one constant per use
  uint32_t prompt = 0;    // or any first index
  uint32_t sample = 0;    // or any second index
  uint32_t position = 0;  // or any third index
};

// 64 random bits of the key.
[[nodiscard]] uint64_t random_bits(const RandomKey& key);

// Uniform on [0, 1), a multiple of 2^-53.
[[nodiscard]] double random_uniform(const RandomKey& key);

// A sequential source over one key, for loops that draw many numbers; satisfies
// UniformRandomBitGenerator. Draw i is random_bits of the key with `position` replaced by i.
class RandomStream {
 public:
  using result_type = uint64_t;
  explicit RandomStream(RandomKey key) : key_(key) { key_.position = 0; }

  static constexpr uint64_t min() { return 0; }
  static constexpr uint64_t max() { return UINT64_MAX; }
  uint64_t operator()();
  double uniform();
  double normal();                 // Box-Muller
  uint64_t below(uint64_t bound);  // uniform on 0..bound-1 without bias; REQUIRES: bound > 0

 private:
  RandomKey key_;
};

// 0 .. count - 1 in an order that the key alone decides (Fisher and Yates).
[[nodiscard]] std::vector<size_t> shuffled_order(size_t count, RandomKey key);

}  // namespace candor
