#include "lm/kv_cache.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "formats/half.h"
#include "lm/vector_math.h"

namespace candor {

namespace {

int64_t round_up(int64_t count) {
  return (count + KvCache::kBlock - 1) / KvCache::kBlock * KvCache::kBlock;
}

}  // namespace

KvCache::KvCache(const Shape& shape)
    : shape_(shape),
      padded_width_(round_up(shape.head_width)),
      padded_positions_(round_up(shape.positions)) {
  CANDOR_CHECK(shape.slots > 0 && shape.positions > 0);
  const auto size = static_cast<size_t>(offset({shape.slots, 0, 0}));
  keys_ = ZeroedBytes(size);
  values_ = ZeroedBytes(size);
}

int64_t KvCache::offset(const Place& place) const {
  return ((place.slot * shape_.layers + place.layer) * shape_.kv_heads + place.kv_head) *
         padded_positions_ * padded_width_ * element_size(shape_.dtype);
}

const void* KvCache::keys(const Place& place) const { return keys_.data() + offset(place); }
const void* KvCache::values(const Place& place) const { return values_.data() + offset(place); }

void KvCache::store(const Place& place, int64_t position, const float* key, const float* value) {
  const int64_t begin = position / kBlock * kBlock * padded_width_;
  const int64_t lane = position % kBlock;
  char* keys = keys_.data() + offset(place);
  char* values = values_.data() + offset(place);
  if (shape_.dtype == Dtype::kF32) {
    auto* to = reinterpret_cast<float*>(keys) + begin + lane;
    for (int64_t w = 0; w < shape_.head_width; ++w) to[w * kBlock] = key[w];
    std::copy_n(value, shape_.head_width,
                reinterpret_cast<float*>(values) + position * padded_width_);
    return;
  }
  auto* to = reinterpret_cast<uint16_t*>(keys) + begin + 2 * lane;
  for (int64_t w = 0; w < shape_.head_width; ++w) {
    to[w / 2 * 2 * kBlock + w % 2] = bf16_from_float(key[w]);
  }
  round_to_bf16(value, reinterpret_cast<uint16_t*>(values) + position * padded_width_,
                shape_.head_width);
}

void KvCache::copy(int64_t from, int64_t to, int64_t positions) {
  if (from == to) return;
  const auto size =
      static_cast<size_t>(round_up(positions) * padded_width_ * element_size(shape_.dtype));
  for (int64_t layer = 0; layer < shape_.layers; ++layer) {
    for (int64_t head = 0; head < shape_.kv_heads; ++head) {
      for (ZeroedBytes* both : {&keys_, &values_}) {
        std::memcpy(both->data() + offset({to, layer, head}),
                    both->data() + offset({from, layer, head}), size);
      }
    }
  }
}

}  // namespace candor
