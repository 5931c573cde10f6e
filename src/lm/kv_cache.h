#pragma once

#include <cstdint>

#include "lm/dtype.h"
#include "lm/zeroed_bytes.h"

namespace candor {

// Keys and values of every (slot, layer, key/value head), laid out for attention over blocks of 16
// positions; H is the head's width, padded to a multiple of 16.
//
//   keys, f32     [positions/16][H][16]
//   keys, bf16    [positions/16][H/2][16][2]
//   values        [positions][H]
//
// Memory appears as positions are written. Values of positions that were never written are zero.
class KvCache {
 public:
  struct Shape {
    int64_t slots = 0;
    int64_t layers = 0;
    int64_t kv_heads = 0;
    int64_t positions = 0;
    int64_t head_width = 0;
    Dtype dtype = Dtype::kF32;
  };
  static constexpr int64_t kBlock = 16;  // positions side by side, and the unit of H

  KvCache() = default;
  explicit KvCache(const Shape& shape);

  // Of one (slot, layer, kv_head).
  struct Place {
    int64_t slot = 0;
    int64_t layer = 0;
    int64_t kv_head = 0;
  };
  [[nodiscard]] const void* keys(const Place& place) const;
  [[nodiscard]] const void* values(const Place& place) const;
  // key, value: [head_width]. Threads: may be called for different places or positions at once.
  void store(const Place& place, int64_t position, const float* key, const float* value);
  // Copies the first `positions` of a slot to another, all layers and heads.
  void copy(int64_t from, int64_t to, int64_t positions);

  [[nodiscard]] int64_t padded_width() const { return padded_width_; }

 private:
  [[nodiscard]] int64_t offset(const Place& place) const;  // bytes
  Shape shape_;
  int64_t padded_width_ = 0;
  int64_t padded_positions_ = 0;
  ZeroedBytes keys_;
  ZeroedBytes values_;
};

}  // namespace candor
