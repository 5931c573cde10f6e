#pragma once

#include <cstdint>

namespace candor {

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
// out = gate / (1 + exp(-gate)) * up
void silu_times(const float* gate, const float* up, float* out, int64_t count);
void round_to_bf16(const float* in, uint16_t* out, int64_t count);  // to nearest even, no NaN
// exp of one value as the loops above compute it: relative error below 2e-7.
[[nodiscard]] float exp_one(float value);

}  // namespace candor
