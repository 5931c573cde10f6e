#include "lm/packed_matrix.h"

#include <immintrin.h>

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/cpu.h"
#include "formats/half.h"
#include "lm/vector_math.h"

namespace candor {

namespace {

constexpr int64_t kColumns = PackedMatrix::kColumns;
constexpr int64_t kTileRows = PackedMatrix::kTileRows;

constexpr int64_t kSmallProduct = 1 << 20;  // multiplications below which one thread does them
constexpr int64_t kLine = 64;  // bytes of a cache line; a step of depth is two of weights

using Kernels = std::array<ProductKernel, kTileRows>;

CANDOR_CLONES void tile_f32_plain(const ProductTile& tile) {
  const auto* weights = static_cast<const float*>(tile.weights);
  for (int64_t row = 0; row < tile.rows; ++row) {
    const float* input = static_cast<const float*>(tile.input) + row * tile.input_stride;
    std::array<float, kColumns> sums{};
    for (int64_t k = 0; k < tile.depth; ++k) {
      for (int64_t column = 0; column < kColumns; ++column) {
        sums[static_cast<size_t>(column)] += input[k] * weights[k * kColumns + column];
      }
    }
    std::copy(sums.begin(), sums.end(), tile.output + row * kColumns);
  }
}

template <int kRowCount>
__attribute__((target("avx512f"))) void tile_f32_avx512(const ProductTile& tile) {
  const auto* weights = static_cast<const float*>(tile.weights);
  const auto* input = static_cast<const float*>(tile.input);
  const int64_t stride = tile.input_stride;
  const char* fetch = tile.fetch;
  __m512 sums[kRowCount][2];
#pragma GCC unroll 14
  for (int row = 0; row < kRowCount; ++row) sums[row][0] = sums[row][1] = _mm512_setzero_ps();
  for (int64_t k = 0; k < tile.depth; ++k) {
    _mm_prefetch(fetch, _MM_HINT_T1);
    fetch += tile.fetch_step;
    const __m512 left = _mm512_loadu_ps(weights + k * kColumns);
    const __m512 right = _mm512_loadu_ps(weights + k * kColumns + 16);
#pragma GCC unroll 14
    for (int row = 0; row < kRowCount; ++row) {
      const __m512 value = _mm512_set1_ps(input[row * stride + k]);
      sums[row][0] = _mm512_fmadd_ps(value, left, sums[row][0]);
      sums[row][1] = _mm512_fmadd_ps(value, right, sums[row][1]);
    }
  }
#pragma GCC unroll 14
  for (int row = 0; row < kRowCount; ++row) {
    _mm512_storeu_ps(tile.output + row * kColumns, sums[row][0]);
    _mm512_storeu_ps(tile.output + row * kColumns + 16, sums[row][1]);
  }
}

// Pairs (k, k+1) side by side, as the dot-product instruction wants them; f32 sums.
CANDOR_CLONES void tile_bf16_plain(const ProductTile& tile) {
  const auto* weights = static_cast<const uint16_t*>(tile.weights);
  for (int64_t row = 0; row < tile.rows; ++row) {
    const uint16_t* input = static_cast<const uint16_t*>(tile.input) + row * tile.input_stride;
    std::array<float, kColumns> sums{};
    for (int64_t pair = 0; pair < tile.depth; ++pair) {
      const float first = float_from_bf16(input[2 * pair]);
      const float second = float_from_bf16(input[2 * pair + 1]);
      for (int64_t column = 0; column < kColumns; ++column) {
        const uint16_t* both = weights + (pair * kColumns + column) * 2;
        float& sum = sums[static_cast<size_t>(column)];
        sum += second * float_from_bf16(both[1]);
        sum += first * float_from_bf16(both[0]);
      }
    }
    std::copy(sums.begin(), sums.end(), tile.output + row * kColumns);
  }
}

template <int kRowCount>
__attribute__((target("avx512f,avx512bw,avx512bf16"))) void tile_bf16_avx512(
    const ProductTile& tile) {
  const auto* weights = static_cast<const uint16_t*>(tile.weights);
  const auto* input = static_cast<const uint16_t*>(tile.input);
  const int64_t stride = tile.input_stride;
  const char* fetch = tile.fetch;
  __m512 sums[kRowCount][2];
#pragma GCC unroll 14
  for (int row = 0; row < kRowCount; ++row) sums[row][0] = sums[row][1] = _mm512_setzero_ps();
  for (int64_t pair = 0; pair < tile.depth; ++pair) {
    const uint16_t* place = weights + pair * 2 * kColumns;
    _mm_prefetch(fetch, _MM_HINT_T1);
    fetch += tile.fetch_step;
    const auto left = reinterpret_cast<__m512bh>(_mm512_loadu_si512(place));
    const auto right = reinterpret_cast<__m512bh>(_mm512_loadu_si512(place + kColumns));
#pragma GCC unroll 14
    for (int row = 0; row < kRowCount; ++row) {
      int32_t both = 0;
      std::memcpy(&both, input + row * stride + 2 * pair, sizeof both);
      const auto value = reinterpret_cast<__m512bh>(_mm512_set1_epi32(both));
      sums[row][0] = _mm512_dpbf16_ps(sums[row][0], left, value);
      sums[row][1] = _mm512_dpbf16_ps(sums[row][1], right, value);
    }
  }
#pragma GCC unroll 14
  for (int row = 0; row < kRowCount; ++row) {
    _mm512_storeu_ps(tile.output + row * kColumns, sums[row][0]);
    _mm512_storeu_ps(tile.output + row * kColumns + 16, sums[row][1]);
  }
}

template <int... kIndices>
Kernels f32_avx512(std::integer_sequence<int, kIndices...>) {
  return {tile_f32_avx512<kIndices + 1>...};
}

template <int... kIndices>
Kernels bf16_avx512(std::integer_sequence<int, kIndices...>) {
  return {tile_bf16_avx512<kIndices + 1>...};
}

// Rows of W that belong to one block, from its column `column` on.
struct BlockPart {
  const float* rows;
  int64_t row_count;
  int64_t inputs;
  int64_t column;
};

// Some inputs of all rows at a time: what is read and written stays in the cache.
constexpr int64_t kPackDepth = 64;

void pack_f32(const BlockPart& part, float* block) {
  for (int64_t begin = 0; begin < part.inputs; begin += kPackDepth) {
    const int64_t end = std::min(part.inputs, begin + kPackDepth);
    for (int64_t row = 0; row < part.row_count; ++row) {
      const float* from = part.rows + row * part.inputs;
      float* to = block + part.column + row;
      for (int64_t k = begin; k < end; ++k) to[k * kColumns] = from[k];
    }
  }
}

void pack_bf16(const BlockPart& part, uint16_t* block) {
  std::array<uint16_t, kPackDepth> rounded{};
  for (int64_t begin = 0; begin < part.inputs; begin += kPackDepth) {
    const int64_t width = std::min(kPackDepth, part.inputs - begin);
    if (width % 2 == 1) rounded.at(static_cast<size_t>(width)) = 0;
    for (int64_t row = 0; row < part.row_count; ++row) {
      round_to_bf16(part.rows + row * part.inputs + begin, rounded.data(), width);
      uint16_t* to = block + begin * kColumns + 2 * (part.column + row);
      for (int64_t k = 0; k < width; k += 2) {
        std::memcpy(to + k * kColumns, rounded.data() + k, 4);
      }
    }
  }
}

const Kernels& kernels_here(Dtype dtype) {
  static const Kernels kF32 = product_kernels(Dtype::kF32, instruction_set());
  static const Kernels kBf16 = product_kernels(Dtype::kBf16, instruction_set());
  return dtype == Dtype::kF32 ? kF32 : kBf16;
}

}  // namespace

Kernels product_kernels(Dtype dtype, InstructionSet set) {
  using Indices = std::make_integer_sequence<int, int{kTileRows}>;
  Kernels plain{};
  plain.fill(dtype == Dtype::kF32 ? tile_f32_plain : tile_bf16_plain);
  if (dtype == Dtype::kF32 && set >= InstructionSet::kAvx512) return f32_avx512(Indices{});
  if (dtype == Dtype::kBf16 && set >= InstructionSet::kAvx512Bf16) return bf16_avx512(Indices{});
  return plain;
}

RowRange even_share(int64_t count, int64_t part, int64_t parts) {
  return {count * part / parts, count * (part + 1) / parts};
}

PackedMatrix::PackedMatrix(int64_t output_count, int64_t input_count, Dtype dtype)
    : dtype_(dtype), output_count_(output_count), input_count_(input_count) {
  CANDOR_CHECK(output_count > 0 && input_count > 0);
  bytes_ = ZeroedBytes(
      static_cast<size_t>(block_count() * kColumns * input_stride() * element_size(dtype)));
}

PackedMatrix::PackedMatrix(std::span<const float> weights, int64_t output_count,
                           int64_t input_count, Dtype dtype)
    : PackedMatrix(output_count, input_count, dtype) {
  CANDOR_CHECK(static_cast<int64_t>(weights.size()) == output_count * input_count);
  set_rows(0, weights);
}

int64_t PackedMatrix::input_stride() const {
  return dtype_ == Dtype::kF32 ? input_count_ : (input_count_ + 1) / 2 * 2;
}

const char* PackedMatrix::block_bytes(int64_t block) const {
  return bytes_.data() + block * kColumns * input_stride() * element_size(dtype_);
}

void PackedMatrix::set_rows(int64_t first_output, std::span<const float> rows) {
  const auto count = static_cast<int64_t>(rows.size()) / input_count_;
  CANDOR_CHECK(count * input_count_ == static_cast<int64_t>(rows.size()) && first_output >= 0 &&
               first_output + count <= output_count_);
  for (int64_t begin = 0; begin < count;) {
    const int64_t block = (first_output + begin) / kColumns;
    const int64_t end = std::min(count, (block + 1) * kColumns - first_output);
    char* place = bytes_.data() + block * kColumns * input_stride() * element_size(dtype_);
    const BlockPart part{rows.data() + begin * input_count_, end - begin, input_count_,
                         (first_output + begin) % kColumns};
    if (dtype_ == Dtype::kF32) {
      pack_f32(part, reinterpret_cast<float*>(place));
    } else {
      pack_bf16(part, reinterpret_cast<uint16_t*>(place));
    }
    begin = end;
  }
}

void PackedMatrix::copy_row(int64_t output, float* out) const {
  const char* place = block_bytes(output / kColumns);
  const int64_t column = output % kColumns;
  if (dtype_ == Dtype::kF32) {
    const auto* from = reinterpret_cast<const float*>(place) + column;
    for (int64_t k = 0; k < input_count_; ++k) out[k] = from[k * kColumns];
    return;
  }
  const auto* from = reinterpret_cast<const uint16_t*>(place) + 2 * column;
  for (int64_t k = 0; k < input_count_; ++k) {
    out[k] = float_from_bf16(from[k / 2 * 2 * kColumns + k % 2]);
  }
}

void PackedMatrix::multiply_block(int64_t block, const BlockRows& rows, float* sums) const {
  const int64_t size = element_size(dtype_);
  const int64_t inputs = rows.end - rows.begin;
  const int64_t depth = dtype_ == Dtype::kF32 ? inputs : (inputs + 1) / 2;
  const bool fetch = rows.fetch_half >= 0 && block + 1 < block_count();
  const ProductTile tile{.weights = block_bytes(block) + rows.begin * kColumns * size,
                         .input = static_cast<const char*>(rows.input) + rows.begin * size,
                         .input_stride = input_stride(),
                         .depth = depth,
                         .rows = rows.row_count,
                         .output = sums,
                         .fetch = fetch ? block_bytes(block + 1) + rows.fetch_half * depth * kLine
                                        : block_bytes(block),
                         .fetch_step = fetch ? kLine : 0};
  kernels_here(dtype_)[static_cast<size_t>(rows.row_count - 1)](tile);
}

void PackedMatrix::multiply(const float* input, int64_t row_count, float* output,
                            int threads) const {
  const char* rows = reinterpret_cast<const char*>(input);
  const int64_t row_bytes = input_stride() * element_size(dtype_);
  std::vector<uint16_t> rounded;
  if (dtype_ == Dtype::kBf16) {
    rounded.assign(static_cast<size_t>(row_count * input_stride()), 0);
    for (int64_t row = 0; row < row_count; ++row) {
      round_to_bf16(input + row * input_count_, rounded.data() + row * input_stride(),
                    input_count_);
    }
    rows = reinterpret_cast<const char*>(rounded.data());
  }
  const int64_t tiles = (row_count + kTileRows - 1) / kTileRows;
  const bool small = row_count * output_count_ * input_count_ < kSmallProduct;
#pragma omp parallel for num_threads(small ? 1 : threads) schedule(static)
  for (int64_t block = 0; block < block_count(); ++block) {
    alignas(64) std::array<float, kTileRows * kColumns> sums;
    const int64_t columns = std::min(kColumns, output_count_ - block * kColumns);
    for (int64_t tile = 0; tile < tiles; ++tile) {
      const RowRange range = even_share(row_count, tile, tiles);
      multiply_block(block, {rows + range.begin * row_bytes, range.count(), 0, input_count_},
                     sums.data());
      for (int64_t row = range.begin; row < range.end; ++row) {
        std::copy_n(sums.data() + (row - range.begin) * kColumns, columns,
                    output + row * output_count_ + block * kColumns);
      }
    }
  }
}

}  // namespace candor
