#include "lm/train_kernels.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "formats/half.h"

// Copies of each loop for the instruction sets there are; the fitting one is chosen at the start.
// Contraction is off, so they differ in speed, not in results.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define CANDOR_VECTOR_LOOP \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default"), optimize("O3")))
#else
#define CANDOR_VECTOR_LOOP
#endif

namespace candor {

namespace {

constexpr int64_t kLanes = 16;  // sums run in so many chains, whatever the machine has

[[gnu::always_inline]] inline float wide(uint16_t bits) { return float_from_bf16(bits); }

// Round to nearest even; NaN stays one as long as it has a high mantissa bit, as LibTorch's have.
[[gnu::always_inline]] inline uint16_t narrow(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  return static_cast<uint16_t>((bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16);
}

// exp to 2 ulp for x <= 88; 0 below -87.
[[gnu::always_inline]] inline float fast_exp(float x) {
  const float clamped = std::min(std::max(x, -87.3F), 88.0F);
  const float magic = 12582912.0F;  // 1.5 * 2^23: adding it rounds to a whole number
  const float shifted = clamped * 1.44269504F + magic;
  const float n = shifted - magic;
  const float r = (clamped - n * 0.693145752F) - n * 1.42860677e-6F;
  float p = 1.9875691500e-4F;
  p = p * r + 1.3981999507e-3F;
  p = p * r + 8.3334519073e-3F;
  p = p * r + 4.1665795894e-2F;
  p = p * r + 1.6666665459e-1F;
  p = p * r + 5.0000001201e-1F;
  p = p * r * r + r + 1.0F;
  const auto exponent = std::bit_cast<uint32_t>(shifted) << 23;
  const float scaled = std::bit_cast<float>(std::bit_cast<uint32_t>(p) + exponent);
  return x < -87.0F ? 0.0F : scaled;
}

[[gnu::always_inline]] inline float total(const std::array<float, kLanes>& chains) {
  float sum = 0;
  for (const float chain : chains) sum += chain;
  return sum;
}

}  // namespace

CANDOR_VECTOR_LOOP
void rms_rows(const float* x, const float* weight, const RmsShape& shape, int64_t rows,
              uint16_t* out, float* scales) {
  const int64_t width = shape.width;
  const int64_t whole = width / kLanes * kLanes;
  for (int64_t row = 0; row < rows; ++row) {
    const float* in = x + row * width;
    std::array<float, kLanes> chains{};
    for (int64_t i = 0; i < whole; i += kLanes) {
      for (int64_t lane = 0; lane < kLanes; ++lane) {
        chains[static_cast<size_t>(lane)] += in[i + lane] * in[i + lane];
      }
    }
    float sum = total(chains);
    for (int64_t i = whole; i < width; ++i) sum += in[i] * in[i];
    const float scale =
        1.0F / std::sqrt(sum / static_cast<float>(width) + static_cast<float>(shape.epsilon));
    scales[row] = scale;
    for (int64_t i = 0; i < width; ++i) out[row * width + i] = narrow(in[i] * scale * weight[i]);
  }
}

CANDOR_VECTOR_LOOP
void rms_rows_backward(const RmsGradient& in, int64_t width, int64_t rows, float* dx,
                       float* dweight) {
  const int64_t whole = width / kLanes * kLanes;
  for (int64_t row = 0; row < rows; ++row) {
    const float* x = in.x + row * width;
    const uint16_t* dy = in.dy + row * width;
    const float scale = in.scales[row];
    std::array<float, kLanes> chains{};
    for (int64_t i = 0; i < whole; i += kLanes) {
      for (int64_t lane = 0; lane < kLanes; ++lane) {
        chains[static_cast<size_t>(lane)] += wide(dy[i + lane]) * in.weight[i + lane] * x[i + lane];
      }
    }
    float dot = total(chains);
    for (int64_t i = whole; i < width; ++i) dot += wide(dy[i]) * in.weight[i] * x[i];
    const float back = dot * scale * scale * scale / static_cast<float>(width);
    for (int64_t i = 0; i < width; ++i) {
      dx[row * width + i] = scale * in.weight[i] * wide(dy[i]) - back * x[i];
    }
    if (dweight == nullptr) continue;
    for (int64_t i = 0; i < width; ++i) dweight[i] += wide(dy[i]) * x[i] * scale;
  }
}

CANDOR_VECTOR_LOOP
void silu_values(const uint16_t* gate, const uint16_t* up, int64_t count, uint16_t* out) {
  for (int64_t i = 0; i < count; ++i) {
    const float g = wide(gate[i]);
    out[i] = narrow(g / (1.0F + fast_exp(-g)) * wide(up[i]));
  }
}

CANDOR_VECTOR_LOOP
void silu_values_backward(const SiluGradient& in, int64_t count, uint16_t* dgate, uint16_t* dup) {
  for (int64_t i = 0; i < count; ++i) {
    const float g = wide(in.gate[i]);
    const float dy = wide(in.dy[i]);
    const float sigmoid = 1.0F / (1.0F + fast_exp(-g));
    dup[i] = narrow(dy * g * sigmoid);
    dgate[i] = narrow(dy * wide(in.up[i]) * sigmoid * (1.0F + g * (1.0F - sigmoid)));
  }
}

CANDOR_VECTOR_LOOP
void rotate_head(const uint16_t* x, const float* cosines, const float* sines, int64_t width,
                 float direction, uint16_t* out) {
  const int64_t half = width / 2;
  for (int64_t i = 0; i < half; ++i) {
    const float first = wide(x[i]);
    const float second = wide(x[i + half]);
    const float sine = direction * sines[i];
    out[i] = narrow(first * cosines[i] - second * sine);
    out[i + half] = narrow(second * cosines[i] + first * sine);
  }
}

CANDOR_VECTOR_LOOP
void adam_values(float* __restrict p, const float* __restrict g, float* __restrict m,
                 float* __restrict v, int64_t count, const AdamRates& given) {
  const AdamRates rates = given;  // a copy: nothing below can change it
  for (int64_t i = 0; i < count; ++i) {
    m[i] += (1 - rates.beta1) * (g[i] - m[i]);
    v[i] = rates.beta2 * v[i] + (1 - rates.beta2) * g[i] * g[i];
    p[i] = rates.keep * p[i] - rates.step * m[i] / (std::sqrt(v[i]) / rates.root + rates.epsilon);
  }
}

// base/rng.h's philox, sixteen counters side by side.
CANDOR_VECTOR_LOOP
void dropout_piece(const DropoutRule& rule, uint32_t piece, float* mask) {
  constexpr size_t kBlocks = kDropoutPiece / 4;
  std::array<std::array<uint32_t, kBlocks>, 4> c;
  for (size_t i = 0; i < kBlocks; ++i) {
    c[0][i] = rule.stream;
    c[1][i] = rule.step;
    c[2][i] = rule.place;
    c[3][i] = piece * static_cast<uint32_t>(kBlocks) + static_cast<uint32_t>(i);
  }
  auto key0 = static_cast<uint32_t>(rule.seed);
  auto key1 = static_cast<uint32_t>(rule.seed >> 32);
  for (int round = 0; round < 10; ++round) {
    for (size_t i = 0; i < kBlocks; ++i) {
      const uint64_t product0 = uint64_t{0xD2511F53} * c[0][i];
      const uint64_t product1 = uint64_t{0xCD9E8D57} * c[2][i];
      c[0][i] = static_cast<uint32_t>(product1 >> 32) ^ c[1][i] ^ key0;
      c[1][i] = static_cast<uint32_t>(product1);
      c[2][i] = static_cast<uint32_t>(product0 >> 32) ^ c[3][i] ^ key1;
      c[3][i] = static_cast<uint32_t>(product0);
    }
    key0 += 0x9E3779B9;
    key1 += 0xBB67AE85;
  }
  for (size_t i = 0; i < kBlocks; ++i) {
    for (size_t word = 0; word < 4; ++word) {
      mask[i * 4 + word] = c[word][i] < rule.threshold ? 0.0F : rule.kept;
    }
  }
}

CANDOR_VECTOR_LOOP
float softmax_row(float* scores, const AttentionRow& row) {
  const int64_t whole = row.visible / kLanes * kLanes;
  std::array<float, kLanes> chains;
  chains.fill(-INFINITY);
  for (int64_t i = 0; i < whole; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      const auto place = static_cast<size_t>(lane);
      chains[place] = std::max(chains[place], scores[i + lane]);
    }
  }
  for (int64_t i = whole; i < row.visible; ++i) chains[0] = std::max(chains[0], scores[i]);
  const float largest = *std::max_element(chains.begin(), chains.end());
  chains.fill(0);
  for (int64_t i = 0; i < row.visible; ++i) scores[i] = fast_exp((scores[i] - largest) * row.scale);
  for (int64_t i = 0; i < whole; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      chains[static_cast<size_t>(lane)] += scores[i + lane];
    }
  }
  float sum = total(chains);
  for (int64_t i = whole; i < row.visible; ++i) sum += scores[i];
  const float inverse = 1.0F / sum;
  for (int64_t i = 0; i < row.visible; ++i) scores[i] *= inverse;
  for (int64_t i = row.visible; i < row.count; ++i) scores[i] = 0;
  return std::log(sum) + largest * row.scale;
}

CANDOR_VECTOR_LOOP
void softmax_row_backward(float* scores, const AttentionRow& row, float log_sum, float* d) {
  const int64_t whole = row.visible / kLanes * kLanes;
  for (int64_t i = 0; i < row.visible; ++i) scores[i] = fast_exp(scores[i] * row.scale - log_sum);
  std::array<float, kLanes> chains{};
  for (int64_t i = 0; i < whole; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      chains[static_cast<size_t>(lane)] += scores[i + lane] * d[i + lane];
    }
  }
  float dot = total(chains);
  for (int64_t i = whole; i < row.visible; ++i) dot += scores[i] * d[i];
  for (int64_t i = 0; i < row.visible; ++i) d[i] = scores[i] * (d[i] - dot) * row.scale;
  for (int64_t i = row.visible; i < row.count; ++i) {
    scores[i] = 0;
    d[i] = 0;
  }
}

namespace {

struct Sums {
  float exponentials = 0;
  float weighted = 0;  // sum exp(z) z
};

CANDOR_VECTOR_LOOP
float largest_logit(const uint16_t* logits, int64_t count) {
  std::array<float, kLanes> best;
  best.fill(-INFINITY);
  const int64_t whole = count / kLanes * kLanes;
  for (int64_t i = 0; i < whole; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      const auto place = static_cast<size_t>(lane);
      best[place] = std::max(best[place], wide(logits[i + lane]));
    }
  }
  for (int64_t i = whole; i < count; ++i) best[0] = std::max(best[0], wide(logits[i]));
  return *std::max_element(best.begin(), best.end());
}

CANDOR_VECTOR_LOOP
Sums sums_of(const uint16_t* logits, int64_t count, float largest, float inverse_temperature) {
  std::array<float, kLanes> exponentials{};
  std::array<float, kLanes> weighted{};
  const int64_t whole = count / kLanes * kLanes;
  for (int64_t i = 0; i < whole; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      const float z = (wide(logits[i + lane]) - largest) * inverse_temperature;
      const float e = fast_exp(z);
      exponentials[static_cast<size_t>(lane)] += e;
      weighted[static_cast<size_t>(lane)] += e * z;
    }
  }
  Sums out{total(exponentials), total(weighted)};
  for (int64_t i = whole; i < count; ++i) {
    const float z = (wide(logits[i]) - largest) * inverse_temperature;
    out.exponentials += fast_exp(z);
    out.weighted += fast_exp(z) * z;
  }
  return out;
}

}  // namespace

RowScore score_row(const uint16_t* logits, int64_t count, int32_t target,
                   float inverse_temperature) {
  const float largest = largest_logit(logits, count);
  const Sums sums = sums_of(logits, count, largest, inverse_temperature);
  RowScore out;
  const float log_sum = std::log(sums.exponentials);
  out.log_sum = log_sum + largest * inverse_temperature;
  out.logprob = (wide(logits[target]) - largest) * inverse_temperature - log_sum;
  out.entropy = log_sum - sums.weighted / sums.exponentials;
  // Among equals the first counts, as in argmax.
  out.correct = std::find_if(logits, logits + target,
                             [&](uint16_t bits) { return wide(bits) >= wide(logits[target]); }) ==
                            logits + target &&
                        wide(logits[target]) >= largest
                    ? 1.0F
                    : 0.0F;
  return out;
}

CANDOR_VECTOR_LOOP
void score_row_backward(uint16_t* logits, int64_t count, const RowGradient& row) {
  const float factor = -row.gradient * row.inverse_temperature;
  const float target =
      (1.0F - fast_exp(wide(logits[row.target]) * row.inverse_temperature - row.log_sum)) * -factor;
  for (int64_t i = 0; i < count; ++i) {
    logits[i] = narrow(factor * fast_exp(wide(logits[i]) * row.inverse_temperature - row.log_sum));
  }
  logits[row.target] = narrow(target);
}

}  // namespace candor
