#pragma once

#include <cstdint>

namespace candor {

// The compiler makes one version per instruction set of every function so marked.
#define CANDOR_CLONES __attribute__((target_clones("avx512f", "avx2", "default"), optimize("O3")))

// The small loops between the products of a decoding step, compiled for several instruction sets
// and chosen at run time. Every sum has a fixed order (16 lanes, then the lanes in order), so a
// result does not depend on what else is computed.

[[nodiscard]] float dot(const float* a, const float* b, int64_t count);
void add_scaled(float* out, const float* in, float scale, int64_t count);  // out += scale * in
void exp_minus(float* values, int64_t count, float shift);                 // exp(v - shift)
[[nodiscard]] double sum_exp_minus(const float* values, int64_t count, float shift);
// out = exp((in - shift) * scale), 0 where that exponent is -87 or less; returns the sum of out.
[[nodiscard]] double relative_weights(const float* in, int64_t count, float shift, float scale,
                                      float* out);
[[nodiscard]] float largest_of(const float* values, int64_t count);  // REQUIRES: count > 0, no NaN
[[nodiscard]] float sum_of(const float* values, int64_t count);
// The largest value and sum exp(v - largest), by which chunks of a softmax are put together.
struct ExpSum {
  float largest = 0;
  double sum = 0;
};
[[nodiscard]] ExpSum exp_sum_of(const float* values, int64_t count);  // REQUIRES: count > 0
// log sum exp of `count` chunks, in their order.
[[nodiscard]] double log_sum_exp_of(const ExpSum* chunks, int64_t count);
// out = x / sqrt(mean(x^2) + epsilon) * weight
void rms_norm(const float* x, const float* weight, float epsilon, int64_t count, float* out);
// Rotary positions, rotate-half layout: pairs (i, i + half) turned by the angles of the position.
void rotate_half(float* head, int64_t half, const float* cosines, const float* sines);
// out = gate / (1 + exp(-gate)) * up
void silu_times(const float* gate, const float* up, float* out, int64_t count);
// Of a tile [rows][32] of sums: added to, or copied to, `columns` columns of rows `stride` apart.
void add_columns(const float* sums, int64_t rows, int64_t columns, float* out, int64_t stride);
void copy_columns(const float* sums, int64_t rows, int64_t columns, float* out, int64_t stride);
// Columns 0..15 of each row of the tile are gates, 16..31 ups; silu(gate) up replaces the gates.
void swiglu_columns(float* sums, int64_t rows);
void round_to_bf16(const float* in, uint16_t* out, int64_t count);  // to nearest even, no NaN
// exp of one value as the loops above compute it: relative error below 2e-7.
[[nodiscard]] float exp_one(float value);

}  // namespace candor
