#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "lm/language_model.h"

namespace candor {

// A weight matrix W [N, K] laid out for products with few or many rows: 32 output columns side by
// side, so one read of the weights serves every row of a batch.
//
//   f32    [N/32][K][32]
//   bf16   [N/32][K/2][32][2], pairs for the CPU's bf16 dot product; sums are f32
//
// A row's result depends on that row and W only, never on the other rows of the batch or on the
// number of threads: every output is one chain of additions over K in ascending order.
class PackedMatrix {
 public:
  PackedMatrix() = default;
  // weights: [N, K] row-major. N is padded with zeros to a multiple of 32, K of bf16 to even.
  PackedMatrix(std::span<const float> weights, int64_t output_count, int64_t input_count,
               Dtype dtype);

  // output [R, N] = input [R, K] W^T.
  void multiply(const float* input, int64_t row_count, float* output, int threads) const;

  [[nodiscard]] int64_t output_count() const { return output_count_; }
  [[nodiscard]] int64_t input_count() const { return input_count_; }
  [[nodiscard]] size_t size_bytes() const { return floats_.size() * 4 + halves_.size() * 2; }

 private:
  void multiply_f32(const float* input, int64_t row_count, float* output, int threads) const;
  void multiply_bf16(const float* input, int64_t row_count, float* output, int threads) const;

  Dtype dtype_ = Dtype::kF32;
  int64_t output_count_ = 0;
  int64_t input_count_ = 0;
  std::vector<float> floats_;
  std::vector<uint16_t> halves_;
};

}  // namespace candor
