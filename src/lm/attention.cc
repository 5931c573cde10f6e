#include "lm/attention.h"

#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "formats/half.h"
#include "lm/kv_cache.h"
#include "lm/vector_math.h"

namespace candor {

namespace {

constexpr int64_t kBlock = KvCache::kBlock;

int64_t most_positions(const AttentionTile& tile) {
  return *std::max_element(tile.counts, tile.counts + tile.query_count);
}

// Scores of one query become its weights exp(s - largest) / sum, zero up to `end`.
CANDOR_CLONES void softmax(float* scores, int64_t count, int64_t end) {
  exp_minus(scores, count, largest_of(scores, count));
  const float share = 1.0F / sum_of(scores, count);
  for (int64_t t = 0; t < count; ++t) scores[t] *= share;
  for (int64_t t = count; t < end; ++t) scores[t] = 0;
}

void softmax_all(const AttentionTile& tile, int64_t end) {
  for (int64_t q = 0; q < tile.query_count; ++q) {
    softmax(tile.scores + q * tile.score_stride, tile.counts[q], end);
  }
}

float element(const void* values, int64_t index, Dtype dtype) {
  return dtype == Dtype::kF32 ? static_cast<const float*>(values)[index]
                              : float_from_bf16(static_cast<const uint16_t*>(values)[index]);
}

// Any machine: the layout's definition in plain loops.
template <Dtype kType>
void attend_plain(const AttentionTile& tile) {
  const int64_t width = tile.padded_width;
  for (int64_t q = 0; q < tile.query_count; ++q) {
    float* scores = tile.scores;
    for (int64_t t = 0; t < tile.counts[q]; ++t) {
      const int64_t block = t / kBlock * kBlock * width;
      float sum = 0;
      for (int64_t w = 0; w < width; ++w) {
        const int64_t place = kType == Dtype::kF32
                                  ? block + w * kBlock + t % kBlock
                                  : block + (w / 2 * kBlock + t % kBlock) * 2 + w % 2;
        sum += element(tile.queries[q], w, kType) * element(tile.keys, place, kType);
      }
      scores[t] = sum * tile.scale;
    }
    softmax(scores, tile.counts[q], tile.counts[q]);
    std::fill_n(tile.outputs[q], width, 0.0F);
    for (int64_t t = 0; t < tile.counts[q]; ++t) {
      for (int64_t w = 0; w < width; ++w) {
        tile.outputs[q][w] += scores[t] * element(tile.values, t * width + w, kType);
      }
    }
  }
}

// scores[q][t] for all t of the blocks below `end`, 16 positions at a time.
template <int kCount>
__attribute__((target("avx512f"))) void scores_f32(const AttentionTile& tile, int64_t end) {
  const auto* keys = static_cast<const float*>(tile.keys);
  const __m512 scale = _mm512_set1_ps(tile.scale);
  for (int64_t t = 0; t < end; t += kBlock) {
    __m512 sums[kCount];
#pragma GCC unroll 12
    for (int q = 0; q < kCount; ++q) sums[q] = _mm512_setzero_ps();
    for (int64_t w = 0; w < tile.padded_width; ++w) {
      const __m512 key = _mm512_loadu_ps(keys + t * tile.padded_width + w * kBlock);
#pragma GCC unroll 12
      for (int q = 0; q < kCount; ++q) {
        const float query = static_cast<const float*>(tile.queries[q])[w];
        sums[q] = _mm512_fmadd_ps(key, _mm512_set1_ps(query), sums[q]);
      }
    }
#pragma GCC unroll 12
    for (int q = 0; q < kCount; ++q) {
      _mm512_storeu_ps(tile.scores + q * tile.score_stride + t, _mm512_mul_ps(sums[q], scale));
    }
  }
}

template <int kCount>
__attribute__((target("avx512f,avx512bw,avx512bf16"))) void scores_bf16(const AttentionTile& tile,
                                                                        int64_t end) {
  const auto* keys = static_cast<const uint16_t*>(tile.keys);
  const __m512 scale = _mm512_set1_ps(tile.scale);
  for (int64_t t = 0; t < end; t += kBlock) {
    __m512 sums[kCount];
#pragma GCC unroll 12
    for (int q = 0; q < kCount; ++q) sums[q] = _mm512_setzero_ps();
    for (int64_t w = 0; w < tile.padded_width; w += 2) {
      const auto key =
          reinterpret_cast<__m512bh>(_mm512_loadu_si512(keys + t * tile.padded_width + w * kBlock));
#pragma GCC unroll 12
      for (int q = 0; q < kCount; ++q) {
        int32_t both = 0;
        std::memcpy(&both, static_cast<const uint16_t*>(tile.queries[q]) + w, sizeof both);
        sums[q] =
            _mm512_dpbf16_ps(sums[q], key, reinterpret_cast<__m512bh>(_mm512_set1_epi32(both)));
      }
    }
#pragma GCC unroll 12
    for (int q = 0; q < kCount; ++q) {
      _mm512_storeu_ps(tile.scores + q * tile.score_stride + t, _mm512_mul_ps(sums[q], scale));
    }
  }
}

template <Dtype kType>
__attribute__((target("avx512f"))) inline __m512 load_values(const void* values, int64_t index) {
  if constexpr (kType == Dtype::kF32) {
    return _mm512_loadu_ps(static_cast<const float*>(values) + index);
  } else {
    const __m256i halves = _mm256_loadu_si256(
        reinterpret_cast<const __m256i*>(static_cast<const uint16_t*>(values) + index));
    // Masks of all lanes: the plain forms make GCC 12 warn of uninitialised values.
    const __m512i wide = _mm512_maskz_cvtepu16_epi32(0xffff, halves);
    return _mm512_castsi512_ps(_mm512_maskz_slli_epi32(0xffff, wide, 16));
  }
}

// outputs[q][first ..] = sum over t < end of weight times value, 16 kParts columns at a time.
template <Dtype kType, int kCount, int kParts>
__attribute__((target("avx512f"))) void mix(const AttentionTile& tile, int64_t end, int64_t first) {
  __m512 sums[kCount][kParts];
#pragma GCC unroll 12
  for (int q = 0; q < kCount; ++q) {
#pragma GCC unroll 4
    for (int part = 0; part < kParts; ++part) sums[q][part] = _mm512_setzero_ps();
  }
  for (int64_t t = 0; t < end; ++t) {
    __m512 values[kParts];
#pragma GCC unroll 4
    for (int part = 0; part < kParts; ++part) {
      values[part] = load_values<kType>(tile.values, t * tile.padded_width + first + 16 * part);
    }
#pragma GCC unroll 12
    for (int q = 0; q < kCount; ++q) {
      const __m512 weight = _mm512_set1_ps(tile.scores[q * tile.score_stride + t]);
#pragma GCC unroll 4
      for (int part = 0; part < kParts; ++part) {
        sums[q][part] = _mm512_fmadd_ps(weight, values[part], sums[q][part]);
      }
    }
  }
#pragma GCC unroll 12
  for (int q = 0; q < kCount; ++q) {
#pragma GCC unroll 4
    for (int part = 0; part < kParts; ++part) {
      _mm512_storeu_ps(tile.outputs[q] + first + 16 * part, sums[q][part]);
    }
  }
}

template <Dtype kType, int kCount>
void attend_count(const AttentionTile& tile) {
  const int64_t end = most_positions(tile);
  if constexpr (kType == Dtype::kF32) {
    scores_f32<kCount>(tile, end);
  } else {
    scores_bf16<kCount>(tile, end);
  }
  softmax_all(tile, end);
  static constexpr int kParts = kCount <= 6 ? 4 : 2;  // as many sums as registers hold
  int64_t column = 0;
  for (; column + 16 * kParts <= tile.padded_width; column += 16 * kParts) {
    mix<kType, kCount, kParts>(tile, end, column);
  }
  for (; column < tile.padded_width; column += 16) mix<kType, kCount, 1>(tile, end, column);
}

template <Dtype kType, int... kIndices>
AttentionKernel kernel_of(int64_t count, std::integer_sequence<int, kIndices...>) {
  static constexpr AttentionKernel kKernels[] = {attend_count<kType, kIndices + 1>...};
  return kKernels[count - 1];
}

template <Dtype kType>
void attend_avx512(const AttentionTile& tile) {
  kernel_of<kType>(tile.query_count,
                   std::make_integer_sequence<int, int{AttentionTile::kQueries}>{})(tile);
}

}  // namespace

AttentionKernel attention_kernel(Dtype dtype, InstructionSet set) {
  if (dtype == Dtype::kF32) {
    return set >= InstructionSet::kAvx512 ? attend_avx512<Dtype::kF32> : attend_plain<Dtype::kF32>;
  }
  return set >= InstructionSet::kAvx512Bf16 ? attend_avx512<Dtype::kBf16>
                                            : attend_plain<Dtype::kBf16>;
}

}  // namespace candor
