#include "lm/vector_math.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

// The compiler makes one version per instruction set of every loop below.
#define CANDOR_CLONES __attribute__((target_clones("avx512f", "avx2", "default"), optimize("O3")))

namespace candor {

namespace {

constexpr int64_t kLanes = 16;

// e^x by 2^n e^r with |r| <= ln 2 / 2 and a polynomial of degree 6; branch-free, so that loops over
// it vectorise.
inline float fast_exp(float x) {
  x = std::max(-87.0F, std::min(88.0F, x));
  static constexpr float kRound = 12582912.0F;  // 1.5 * 2^23: adding it rounds to a whole number
  const float shifted = x * 1.44269504F + kRound;
  const float n = shifted - kRound;
  const float r = (x - n * 0.693359375F) + n * 2.12194440e-4F;
  float p = 1.0F / 720;
  p = p * r + 1.0F / 120;
  p = p * r + 1.0F / 24;
  p = p * r + 1.0F / 6;
  p = p * r + 0.5F;
  p = p * r + 1.0F;
  p = p * r + 1.0F;
  const int32_t exponent = (std::bit_cast<int32_t>(shifted) - std::bit_cast<int32_t>(kRound)) + 127;
  return p * std::bit_cast<float>(exponent << 23);
}

}  // namespace

CANDOR_CLONES float dot(const float* a, const float* b, int64_t count) {
  std::array<float, kLanes> lanes{};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      lanes[static_cast<size_t>(lane)] += a[i + lane] * b[i + lane];
    }
  }
  float sum = 0;
  for (const float lane : lanes) sum += lane;
  for (; i < count; ++i) sum += a[i] * b[i];
  return sum;
}

CANDOR_CLONES void add_scaled(float* out, const float* in, float scale, int64_t count) {
  for (int64_t i = 0; i < count; ++i) out[i] += scale * in[i];
}

CANDOR_CLONES void exp_minus(float* values, int64_t count, float shift) {
  for (int64_t i = 0; i < count; ++i) values[i] = fast_exp(values[i] - shift);
}

CANDOR_CLONES double sum_exp_minus(const float* values, int64_t count, float shift) {
  std::array<double, kLanes> lanes{};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      lanes[static_cast<size_t>(lane)] += fast_exp(values[i + lane] - shift);
    }
  }
  double sum = 0;
  for (const double lane : lanes) sum += lane;
  for (; i < count; ++i) sum += fast_exp(values[i] - shift);
  return sum;
}

CANDOR_CLONES double relative_weights(const float* in, int64_t count, float shift, float scale,
                                      float* out) {
  for (int64_t i = 0; i < count; ++i) {
    const float x = (in[i] - shift) * scale;
    out[i] = x > -87.0F ? fast_exp(x) : 0.0F;
  }
  std::array<double, kLanes> lanes{};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) lanes[static_cast<size_t>(lane)] += out[i + lane];
  }
  double sum = 0;
  for (const double lane : lanes) sum += lane;
  for (; i < count; ++i) sum += out[i];
  return sum;
}

CANDOR_CLONES float largest_of(const float* values, int64_t count) {
  std::array<float, kLanes> lanes{};
  lanes.fill(values[0]);
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      float& best = lanes[static_cast<size_t>(lane)];
      best = values[i + lane] > best ? values[i + lane] : best;
    }
  }
  float best = *std::max_element(lanes.begin(), lanes.end());
  for (; i < count; ++i) best = std::max(best, values[i]);
  return best;
}

CANDOR_CLONES void silu_times(const float* gate, const float* up, float* out, int64_t count) {
  for (int64_t i = 0; i < count; ++i) out[i] = gate[i] / (1.0F + fast_exp(-gate[i])) * up[i];
}

CANDOR_CLONES void round_to_bf16(const float* in, uint16_t* out, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    const auto bits = std::bit_cast<uint32_t>(in[i]);
    out[i] = static_cast<uint16_t>((bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16);
  }
}

float exp_one(float value) { return fast_exp(value); }

}  // namespace candor
