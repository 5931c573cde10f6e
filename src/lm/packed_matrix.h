#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "base/cpu.h"
#include "lm/dtype.h"
#include "lm/zeroed_bytes.h"

namespace candor {

// A weight matrix W [N, K] laid out for products with few or many rows: 32 output columns side by
// side (a block), so one read of the weights serves every row of a batch.
//
//   f32    [N/32][K][32]
//   bf16   [N/32][K/2][32][2], pairs for the CPU's bf16 dot product; sums are f32
//
// A row's result depends on that row and W only, never on the other rows of the batch or on the
// number of threads: every output is one chain of additions over K in ascending order.
class PackedMatrix {
 public:
  static constexpr int64_t kColumns = 32;   // of a block
  static constexpr int64_t kTileRows = 14;  // the most rows that share one pass over a block

  PackedMatrix() = default;
  // All zeros. N is padded to a multiple of 32, K of bf16 to even.
  PackedMatrix(int64_t output_count, int64_t input_count, Dtype dtype);
  // weights: [N, K] row-major.
  PackedMatrix(std::span<const float> weights, int64_t output_count, int64_t input_count,
               Dtype dtype);

  // Rows first_output, first_output + 1, ... of W. rows: [any, K] row-major.
  // Threads: callers may set disjoint rows at once.
  void set_rows(int64_t first_output, std::span<const float> rows);
  // Row `output` of W as it is kept: [K].
  void copy_row(int64_t output, float* out) const;

  // output [R, N] = input [R, K] W^T.
  void multiply(const float* input, int64_t row_count, float* output, int threads) const;

  // sums [rows][32] = input W_block^T over inputs begin <= k < end. `input` holds rows of
  // input_stride() elements of the matrix's dtype, the odd end zero.
  // REQUIRES: 1 <= row_count <= kTileRows; for bf16 an even begin.
  // fetch_half: 0 or 1 brings the first or second half of the next block towards this core
  // meanwhile, -1 nothing.
  struct BlockRows {
    const void* input = nullptr;
    int64_t row_count = 0;
    int64_t begin = 0;
    int64_t end = 0;
    int fetch_half = -1;
  };
  void multiply_block(int64_t block, const BlockRows& rows, float* sums) const;

  [[nodiscard]] Dtype dtype() const { return dtype_; }
  [[nodiscard]] int64_t output_count() const { return output_count_; }
  [[nodiscard]] int64_t input_count() const { return input_count_; }
  [[nodiscard]] int64_t block_count() const { return (output_count_ + kColumns - 1) / kColumns; }
  // Elements from one row of input to the next, as multiply_block wants them.
  [[nodiscard]] int64_t input_stride() const;
  [[nodiscard]] size_t size_bytes() const { return bytes_.size(); }

 private:
  [[nodiscard]] const char* block_bytes(int64_t block) const;
  Dtype dtype_ = Dtype::kF32;
  int64_t output_count_ = 0;
  int64_t input_count_ = 0;
  ZeroedBytes bytes_;
};

// The kernel of one tile: `rows` x 32 outputs of one block. Exposed for tests, which run every
// instruction set that the machine has.
struct ProductTile {
  const void* weights = nullptr;  // [depth][32], or pairs [depth][32][2]
  const void* input = nullptr;    // first row, rows `input_stride` elements apart
  int64_t input_stride = 0;
  int64_t depth = 0;  // inputs, or pairs of inputs
  int64_t rows = 0;
  float* output = nullptr;      // [rows][32]
  const char* fetch = nullptr;  // prefetched, `fetch_step` bytes further at each step of depth
  int64_t fetch_step = 0;
};
using ProductKernel = void (*)(const ProductTile&);
// By rows - 1. REQUIRES: this machine has the instruction set.
[[nodiscard]] std::array<ProductKernel, PackedMatrix::kTileRows> product_kernels(
    Dtype dtype, InstructionSet set);

// The half of the next block that tile `tile` of `tile_count` fetches: the last two tiles share it.
[[nodiscard]] constexpr int fetch_half_of(int64_t tile, int64_t tile_count) {
  if (tile_count < 2 || tile + 2 < tile_count) return -1;
  return tile + 2 == tile_count ? 0 : 1;
}

// Cuts `row_count` rows into tiles of nearly equal size: the rows of tile `tile` of `tile_count`.
struct RowRange {
  int64_t begin = 0;
  int64_t end = 0;
  [[nodiscard]] int64_t count() const { return end - begin; }
};
[[nodiscard]] RowRange even_share(int64_t count, int64_t part, int64_t parts);

}  // namespace candor
