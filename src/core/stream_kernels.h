#pragma once

#include <cstddef>
#include <vector>

#include "core/double_double.h"

namespace candor::stream {

// The vectorised inner loops of stream.cc, over one chunk of outcomes; compiled for several
// instruction sets, the best one is chosen at run time.
inline constexpr size_t kChunk = 256;  // outcomes; what a chunk touches stays in the L1 cache

// A column's part of one chunk; exactly one pointer is set, to kChunk readable numbers.
struct ChunkColumn {
  const double* f64 = nullptr;
  const float* f32 = nullptr;
};

struct ChunkView {
  ChunkColumn initial;               // 0 where the chunk is padded
  std::vector<ChunkColumn> rewards;  // [n]
};

// Sums of KL over a chunk, in powers of two: with z = sum_i rate_i (r_i - top_i), rate_i = w_i/(L
// log 2) times the normalisation, and exponent + headroom >= z everywhere,
//   mass     = sum p0 2^(z - exponent)
//   lean[i]  = sum p0 2^(z - exponent) y,        y = rate_i (r_i - centre_i) log 2
//   curve[i] = sum p0 2^(z - exponent) phi(y),   phi(y) = e^-y - 1 + y to full relative accuracy
// For a group with `wide` set, instead of curve, others[i] = sum p0 2^(z_{-i} - other_exponent[i]).
struct KlRates {
  std::vector<double> rate, top, centre;  // [n]
  std::vector<bool> wide;                 // [n]
  // Whole; so large that the outcome of the highest total has a mass in the range of doubles
  // however small its p0, and its sums too.
  double headroom = 0;
};
struct KlSums {
  double exponent = 0;
  double mass = 0;
  std::vector<double> lean, curve, other_exponent, others;  // [n]
};
void kl_chunk(const ChunkView& chunk, const KlRates& rates, KlSums& out);

// Moments over a chunk: with d_i = r_i - centre_i and s = sum_i rate_i d_i, s_{-i} = s - rate_i
// d_i. Padding repeats an outcome, so it changes no minimum or maximum.
struct MomentRates {
  std::vector<double> rate, centre;  // [n]
};
struct Moments {
  double mass = 0, mean = 0, square = 0;            // sums of p0, p0 s, p0 s^2
  double low = 0, high = 0;                         // of s
  std::vector<double> own_mean, own_square, cross;  // [n]: p0 d, p0 d^2, p0 s d
  std::vector<double> others_low, others_high;      // [n]: of s_{-i}
};
void moments_chunk(const ChunkView& chunk, const MomentRates& rates, Moments& out);

// Sum, least and greatest number of `count` numbers, and whether all are finite.
struct ColumnStatistics {
  DoubleDouble sum;  // relative error 2^-90 where nothing is negative
  double low = 0, high = 0;
  bool finite = true;
};
ColumnStatistics column_statistics(const ChunkColumn& column, size_t count);

}  // namespace candor::stream
