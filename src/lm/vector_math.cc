#include "lm/vector_math.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

namespace candor {

namespace {

constexpr int64_t kLanes = 16;
constexpr int64_t kTileColumns = 32;

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

CANDOR_CLONES float sum_of(const float* values, int64_t count) {
  std::array<float, kLanes> lanes{};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      lanes[static_cast<size_t>(lane)] += values[i + lane];
    }
  }
  float sum = 0;
  for (const float lane : lanes) sum += lane;
  for (; i < count; ++i) sum += values[i];
  return sum;
}

CANDOR_CLONES ExpSum exp_sum_of(const float* values, int64_t count) {
  const float largest = largest_of(values, count);
  std::array<float, kLanes> lanes{};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      lanes[static_cast<size_t>(lane)] += fast_exp(values[i + lane] - largest);
    }
  }
  double sum = 0;
  for (const float lane : lanes) sum += lane;
  for (; i < count; ++i) sum += fast_exp(values[i] - largest);
  return {largest, sum};
}

double log_sum_exp_of(const ExpSum* chunks, int64_t count) {
  float largest = chunks[0].largest;
  for (int64_t i = 1; i < count; ++i) largest = std::max(largest, chunks[i].largest);
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) {
    sum += chunks[i].sum * std::exp(double{chunks[i].largest} - largest);
  }
  return double{largest} + std::log(sum);
}

CANDOR_CLONES void rms_norm(const float* x, const float* weight, float epsilon, int64_t count,
                            float* out) {
  const float mean = dot(x, x, count) / static_cast<float>(count);
  const float scale = 1.0F / std::sqrt(mean + epsilon);
  for (int64_t i = 0; i < count; ++i) out[i] = x[i] * scale * weight[i];
}

CANDOR_CLONES void rotate_half(float* head, int64_t half, const float* cosines,
                               const float* sines) {
  for (int64_t i = 0; i < half; ++i) {
    const float first = head[i];
    const float second = head[i + half];
    head[i] = first * cosines[i] - second * sines[i];
    head[i + half] = second * cosines[i] + first * sines[i];
  }
}

CANDOR_CLONES void silu_times(const float* gate, const float* up, float* out, int64_t count) {
  for (int64_t i = 0; i < count; ++i) out[i] = gate[i] / (1.0F + fast_exp(-gate[i])) * up[i];
}

CANDOR_CLONES void add_columns(const float* sums, int64_t rows, int64_t columns, float* out,
                               int64_t stride) {
  for (int64_t row = 0; row < rows; ++row) {
    if (columns == kTileColumns) {
      for (int64_t i = 0; i < kTileColumns; ++i) {
        out[row * stride + i] += sums[row * kTileColumns + i];
      }
    } else {
      for (int64_t i = 0; i < columns; ++i) out[row * stride + i] += sums[row * kTileColumns + i];
    }
  }
}

CANDOR_CLONES void copy_columns(const float* sums, int64_t rows, int64_t columns, float* out,
                                int64_t stride) {
  for (int64_t row = 0; row < rows; ++row) {
    std::copy_n(sums + row * kTileColumns, columns, out + row * stride);
  }
}

CANDOR_CLONES void swiglu_columns(float* sums, int64_t rows) {
  for (int64_t row = 0; row < rows; ++row) {
    float* gate = sums + row * kTileColumns;
    const float* up = gate + kTileColumns / 2;
    for (int64_t i = 0; i < kTileColumns / 2; ++i) {
      gate[i] = gate[i] / (1.0F + fast_exp(-gate[i])) * up[i];
    }
  }
}

CANDOR_CLONES void round_to_bf16(const float* in, uint16_t* out, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    const auto bits = std::bit_cast<uint32_t>(in[i]);
    out[i] = static_cast<uint16_t>((bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16);
  }
}

float exp_one(float value) { return fast_exp(value); }

}  // namespace candor
