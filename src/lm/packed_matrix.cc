#include "lm/packed_matrix.h"

#include <immintrin.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "base/check.h"
#include "base/cpu.h"
#include "formats/half.h"
#include "lm/vector_math.h"

namespace candor {

namespace {

constexpr int64_t kColumns = 32;  // output columns side by side
constexpr int64_t kRows = 8;      // rows that share one read of the weights inside a kernel

int64_t blocks_of(int64_t output_count) { return (output_count + kColumns - 1) / kColumns; }

bool has_avx512() { return instruction_set() != "generic"; }
bool has_avx512_bf16() { return instruction_set() == "avx512_bf16"; }

// Every kernel computes `rows` x 32 outputs of one column block.
struct Tile {
  const void* weights;  // the block
  const void* input;    // first row, rows `input_stride` elements apart
  int64_t input_stride;
  int64_t depth;  // K, or K/2 for pairs
  int64_t rows;
  float* output;  // [rows][32]
};

void tile_f32_plain(const Tile& tile) {
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

template <int kTileRows>
__attribute__((target("avx512f"))) void tile_f32_avx512(const Tile& tile) {
  const auto* weights = static_cast<const float*>(tile.weights);
  const auto* input = static_cast<const float*>(tile.input);
  __m512 sums[kTileRows][2];
  for (auto& row : sums) row[0] = row[1] = _mm512_setzero_ps();
  for (int64_t k = 0; k < tile.depth; ++k) {
    const __m512 left = _mm512_loadu_ps(weights + k * kColumns);
    const __m512 right = _mm512_loadu_ps(weights + k * kColumns + 16);
    for (int row = 0; row < kTileRows; ++row) {
      const __m512 value = _mm512_set1_ps(input[row * tile.input_stride + k]);
      sums[row][0] = _mm512_fmadd_ps(value, left, sums[row][0]);
      sums[row][1] = _mm512_fmadd_ps(value, right, sums[row][1]);
    }
  }
  for (int row = 0; row < kTileRows; ++row) {
    _mm512_storeu_ps(tile.output + row * kColumns, sums[row][0]);
    _mm512_storeu_ps(tile.output + row * kColumns + 16, sums[row][1]);
  }
}

// Pairs (k, k+1) side by side, as the dot-product instruction wants them; f32 sums.
void tile_bf16_plain(const Tile& tile) {
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

template <int kTileRows>
__attribute__((target("avx512f,avx512bw,avx512bf16"))) void tile_bf16_avx512(const Tile& tile) {
  const auto* weights = static_cast<const uint16_t*>(tile.weights);
  const auto* input = static_cast<const uint16_t*>(tile.input);
  __m512 sums[kTileRows][2];
  for (auto& row : sums) row[0] = row[1] = _mm512_setzero_ps();
  for (int64_t pair = 0; pair < tile.depth; ++pair) {
    const auto left = reinterpret_cast<__m512bh>(_mm512_loadu_si512(weights + pair * 2 * kColumns));
    const auto right =
        reinterpret_cast<__m512bh>(_mm512_loadu_si512(weights + pair * 2 * kColumns + kColumns));
    for (int row = 0; row < kTileRows; ++row) {
      int32_t both = 0;
      std::memcpy(&both, input + row * tile.input_stride + 2 * pair, sizeof both);
      const auto value = reinterpret_cast<__m512bh>(_mm512_set1_epi32(both));
      sums[row][0] = _mm512_dpbf16_ps(sums[row][0], left, value);
      sums[row][1] = _mm512_dpbf16_ps(sums[row][1], right, value);
    }
  }
  for (int row = 0; row < kTileRows; ++row) {
    _mm512_storeu_ps(tile.output + row * kColumns, sums[row][0]);
    _mm512_storeu_ps(tile.output + row * kColumns + 16, sums[row][1]);
  }
}

using Kernel = void (*)(const Tile&);

// The kernel for 1..8 rows, by index rows - 1.
std::array<Kernel, kRows> f32_kernels() {
  std::array<Kernel, kRows> kernels{};
  kernels.fill(tile_f32_plain);
  if (has_avx512()) {
    kernels = {tile_f32_avx512<1>, tile_f32_avx512<2>, tile_f32_avx512<3>, tile_f32_avx512<4>,
               tile_f32_avx512<5>, tile_f32_avx512<6>, tile_f32_avx512<7>, tile_f32_avx512<8>};
  }
  return kernels;
}

std::array<Kernel, kRows> bf16_kernels() {
  std::array<Kernel, kRows> kernels{};
  kernels.fill(tile_bf16_plain);
  if (has_avx512_bf16()) {
    kernels = {tile_bf16_avx512<1>, tile_bf16_avx512<2>, tile_bf16_avx512<3>, tile_bf16_avx512<4>,
               tile_bf16_avx512<5>, tile_bf16_avx512<6>, tile_bf16_avx512<7>, tile_bf16_avx512<8>};
  }
  return kernels;
}

// Runs the kernels over all column blocks (in parallel) and row tiles.
struct Product {
  const char* weights;
  int64_t block_bytes;
  const char* input;
  int64_t row_bytes;
  int64_t input_stride;
  int64_t depth;
  int64_t output_count;
};

void run(const Product& product, const std::array<Kernel, kRows>& kernels, int64_t row_count,
         float* output, int threads) {
  const int64_t blocks = blocks_of(product.output_count);
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t block = 0; block < blocks; ++block) {
    alignas(64) std::array<float, kRows * kColumns> sums;
    const int64_t first = block * kColumns;
    const int64_t columns = std::min(kColumns, product.output_count - first);
    for (int64_t row = 0; row < row_count; row += kRows) {
      const int64_t rows = std::min(kRows, row_count - row);
      const Tile tile{product.weights + block * product.block_bytes,
                      product.input + row * product.row_bytes,
                      product.input_stride,
                      product.depth,
                      rows,
                      sums.data()};
      kernels[static_cast<size_t>(rows - 1)](tile);
      for (int64_t i = 0; i < rows; ++i) {
        std::copy_n(sums.data() + i * kColumns, columns,
                    output + (row + i) * product.output_count + first);
      }
    }
  }
}

}  // namespace

PackedMatrix::PackedMatrix(std::span<const float> weights, int64_t output_count,
                           int64_t input_count, Dtype dtype)
    : dtype_(dtype), output_count_(output_count), input_count_(input_count) {
  CANDOR_CHECK(static_cast<int64_t>(weights.size()) == output_count * input_count);
  const int64_t depth = dtype == Dtype::kF32 ? input_count : (input_count + 1) / 2 * 2;
  const auto size = static_cast<size_t>(blocks_of(output_count) * kColumns * depth);
  (dtype == Dtype::kF32 ? floats_.resize(size) : halves_.resize(size));
  for (int64_t n = 0; n < output_count; ++n) {
    for (int64_t k = 0; k < input_count; ++k) {
      const float value = weights[static_cast<size_t>(n * input_count + k)];
      const int64_t block = n / kColumns * kColumns * depth;
      if (dtype == Dtype::kF32) {
        floats_[static_cast<size_t>(block + k * kColumns + n % kColumns)] = value;
      } else {
        const int64_t place = block + (k / 2 * kColumns + n % kColumns) * 2 + k % 2;
        halves_[static_cast<size_t>(place)] = bf16_from_float(value);
      }
    }
  }
}

void PackedMatrix::multiply(const float* input, int64_t row_count, float* output,
                            int threads) const {
  if (dtype_ == Dtype::kF32) {
    multiply_f32(input, row_count, output, threads);
  } else {
    multiply_bf16(input, row_count, output, threads);
  }
}

void PackedMatrix::multiply_f32(const float* input, int64_t row_count, float* output,
                                int threads) const {
  static const std::array<Kernel, kRows> kKernels = f32_kernels();
  run({reinterpret_cast<const char*>(floats_.data()), kColumns * input_count_ * 4,
       reinterpret_cast<const char*>(input), input_count_ * 4, input_count_, input_count_,
       output_count_},
      kKernels, row_count, output, threads);
}

void PackedMatrix::multiply_bf16(const float* input, int64_t row_count, float* output,
                                 int threads) const {
  static const std::array<Kernel, kRows> kKernels = bf16_kernels();
  const int64_t depth = (input_count_ + 1) / 2 * 2;
  // One buffer per calling thread, kept: a decoding step allocates nothing.
  thread_local std::vector<uint16_t> rounded;
  rounded.assign(static_cast<size_t>(row_count * depth), 0);
  for (int64_t row = 0; row < row_count; ++row) {
    round_to_bf16(input + row * input_count_, rounded.data() + row * depth, input_count_);
  }
  run({reinterpret_cast<const char*>(halves_.data()), kColumns * depth * 2,
       reinterpret_cast<const char*>(rounded.data()), depth * 2, depth, depth / 2, output_count_},
      kKernels, row_count, output, threads);
}

}  // namespace candor
