#include "base/product_rate.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <thread>
#include <vector>

#include "base/cpu.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace candor {

namespace {

constexpr int kChains = 12;  // sums that do not wait for each other: more than the latency needs
constexpr int64_t kRounds = 100'000;
constexpr int kRepeats = 10;

// A kernel multiplies and adds kRounds times in every chain and returns what keeps that alive.
using ProductKernel = float (*)(float value);

template <typename Vector>
[[gnu::always_inline]] inline float multiply_f32(float value) {
  std::array<Vector, kChains> sums{};
  Vector factor = {};
  factor += value;
#pragma GCC unroll 12
  for (size_t i = 0; i < kChains; ++i) sums[i] += static_cast<float>(i);
  for (int64_t round = 0; round < kRounds; ++round) {
#pragma GCC unroll 12
    for (size_t i = 0; i < kChains; ++i) sums[i] = sums[i] * factor + factor;
  }
  Vector total = {};
  for (const Vector& sum : sums) total += sum;
  return total[0];
}

using Vector16 [[gnu::vector_size(16)]] = float;
using Vector32 [[gnu::vector_size(32)]] = float;
using Vector64 [[gnu::vector_size(64)]] = float;

float multiply_generic(float value) { return multiply_f32<Vector16>(value); }

#if defined(__x86_64__)
[[gnu::target("avx2,fma")]] float multiply_avx2(float value) {
  return multiply_f32<Vector32>(value);
}

[[gnu::target("avx512f")]] float multiply_avx512(float value) {
  return multiply_f32<Vector64>(value);
}

[[gnu::target("avx512f,avx512bw,avx512bf16")]] float multiply_bf16(float value) {
  __m512 sums[kChains];
#pragma GCC unroll 12
  for (int i = 0; i < kChains; ++i) sums[i] = _mm512_set1_ps(static_cast<float>(i));
  const auto factor = reinterpret_cast<__m512bh>(_mm512_set1_ps(value));
  for (int64_t round = 0; round < kRounds; ++round) {
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) sums[i] = _mm512_dpbf16_ps(sums[i], factor, factor);
  }
  __m512 total = _mm512_setzero_ps();
  for (const __m512& sum : sums) total = _mm512_add_ps(total, sum);
  return _mm512_cvtss_f32(total);
}
#endif

struct Products {
  ProductKernel kernel = multiply_generic;
  double operations = 2.0 * kChains * kRounds * 4;
};

Products products_here() {
#if defined(__x86_64__)
  const double lanes = 2.0 * kChains * kRounds;
  if (instruction_set() >= InstructionSet::kAvx512Bf16) return {multiply_bf16, 32 * lanes};
  if (instruction_set() >= InstructionSet::kAvx512) return {multiply_avx512, 16 * lanes};
  if (instruction_set() >= InstructionSet::kAvx2) return {multiply_avx2, 8 * lanes};
#endif
  return {};
}

// Of one thread, the best of several tries.
double best_rate(const Products& products) {
  double best = 0;
  for (int repeat = 0; repeat < kRepeats; ++repeat) {
    const auto begin = std::chrono::steady_clock::now();
    (void)products.kernel(0x1p-20F * static_cast<float>(repeat + 1));
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    best = std::max(best, products.operations / std::max(took.count(), 1e-9));
  }
  return best;
}

}  // namespace

double product_rate(int threads) {
  const Products products = products_here();
  std::vector<double> rates(static_cast<size_t>(threads), 0.0);
  {
    std::vector<std::jthread> team;
    team.reserve(rates.size());
    for (double& rate : rates) team.emplace_back([&] { rate = best_rate(products); });
  }
  double sum = 0;
  for (const double rate : rates) sum += rate;
  return sum;
}

}  // namespace candor
