#include "core/stream_kernels.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>

#include "core/sum.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/stream_kernels.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
// After highway.h.
#include <hwy/cache_control.h>

HWY_BEFORE_NAMESPACE();
namespace candor::stream::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<double>;
using V = hn::Vec<D>;

HWY_INLINE V load(D d, const double* from) { return hn::LoadU(d, from); }
HWY_INLINE V load(D d, const float* from) {
  return hn::PromoteTo(d, hn::LoadU(hn::Rebind<float, D>(), from));
}

// Calls body(pointer) with the column's own type.
template <typename Body>
HWY_INLINE void with_type(const ChunkColumn& column, const Body& body) {
  if (column.f64 != nullptr) {
    body(column.f64);
  } else {
    body(column.f32);
  }
}

// Asks for the part of the next chunk that lies where this one is read: the loops below compute
// while it arrives. Past the end of a column the hint comes to nothing. By address: no pointer
// leaves its array.
template <typename T>
HWY_INLINE void prefetch_next_chunk(const T* from) {
  const uintptr_t ahead = reinterpret_cast<uintptr_t>(from) + kChunk * sizeof(T);
  hwy::Prefetch(reinterpret_cast<const T*>(ahead));  // NOLINT(performance-no-int-to-ptr)
}

constexpr double kLog2 = 0.6931471805599453;

// A number z in (-1022, 1022) as a whole n and r = (z - n) log 2, |r| <= log(2)/2, with scale =
// 2^n. Adding the constant leaves n, with the exponent's bias, in the low bits of the sum.
struct Split {
  V n, r, scale;
};
HWY_INLINE Split split(D d, V z) {
  const V shifter = hn::Set(d, 0x1.8p52 + 1023);
  const V shifted = hn::Add(z, shifter);
  const hn::RebindToUnsigned<D> bits;
  const V n = hn::Sub(shifted, shifter);
  return {n, hn::Mul(hn::Sub(z, n), hn::Set(d, kLog2)),
          hn::BitCast(d, hn::ShiftLeft<52>(hn::BitCast(bits, shifted)))};
}

// e^r - 1 - r for |r| <= log(2)/2: r^2 times the polynomial of degree 9 that interpolates at
// Chebyshev's points, relative error 2.1e-16.
HWY_INLINE V second_order(D d, V r) {
  static constexpr std::array<double, 10> kCoefficients = {
      0.50000000000000010221,     0.16666666666666667453,   0.041666666666624127873,
      0.0083333333333300618325,   0.0013888888917213716901, 0.00019841269863053616878,
      0.000024801521295954375131, 2.7557268459997064772e-6, 2.7620088445409748161e-7,
      2.5100385495510319078e-8};
  // Two interleaved Horner chains in r^2 halve the latency.
  const V r2 = hn::Mul(r, r);
  V even = hn::Set(d, kCoefficients[8]);
  V odd = hn::Set(d, kCoefficients[9]);
  for (size_t k = 6; k <= 6; k -= 2) {
    even = hn::MulAdd(even, r2, hn::Set(d, kCoefficients[k]));
    odd = hn::MulAdd(odd, r2, hn::Set(d, kCoefficients[k + 1]));
  }
  return hn::Mul(r2, hn::MulAdd(odd, r, even));
}

// 2^z for z < 1022; 2^-1021 where that is larger.
HWY_INLINE V exp2_of(D d, V z) {
  const Split parts = split(d, hn::Max(z, hn::Set(d, -1021.0)));
  const V tail = hn::Add(parts.r, second_order(d, parts.r));
  return hn::MulAdd(parts.scale, tail, parts.scale);
}

// e^-y - 1 + y for z = -y / log 2 in (-1022, 1022): with z = n + f the three terms 2^n q(r),
// (2^n - 1)(1 + r) and -n log 2 cancel nothing; at n = 0 only q is left.
HWY_INLINE V phi_of(D d, V z) {
  const Split parts = split(d, z);
  const V lift = hn::Sub(parts.scale, hn::Set(d, 1.0));
  const V rest = hn::NegMulAdd(parts.n, hn::Set(d, kLog2), hn::MulAdd(lift, parts.r, lift));
  return hn::MulAdd(parts.scale, second_order(d, parts.r), rest);
}

// z = sum_i rate_i (r_i - offset_i) over the chunk.
HWY_INLINE void add_up(D d, const std::vector<ChunkColumn>& rewards,
                       const std::vector<double>& rate, const std::vector<double>& offset,
                       double* HWY_RESTRICT z) {
  std::fill(z, z + kChunk, 0.0);
  for (size_t i = 0; i < rewards.size(); ++i) {
    const V a = hn::Set(d, rate[i]);
    const V from = hn::Set(d, offset[i]);
    with_type(rewards[i], [&](const auto* reward) {
      for (size_t x = 0; x < kChunk; x += hn::Lanes(d)) {
        const V r = hn::Sub(load(d, reward + x), from);
        hn::Store(hn::MulAdd(a, r, hn::Load(d, z + x)), d, z + x);
      }
    });
  }
}

HWY_INLINE double ceiling(D d, const double* HWY_RESTRICT z) {
  V high = hn::Load(d, z);
  for (size_t x = hn::Lanes(d); x < kChunk; x += hn::Lanes(d)) {
    high = hn::Max(high, hn::Load(d, z + x));
  }
  return std::ceil(hn::GetLane(hn::MaxOfLanes(d, high)));
}

void kl_chunk_kernel(const ChunkView& chunk, const KlRates& rates, KlSums& out) {
  const D d;
  const size_t lanes = hn::Lanes(d);
  HWY_ALIGN double z[kChunk];
  HWY_ALIGN double weight[kChunk];
  HWY_ALIGN double z_others[kChunk];
  add_up(d, chunk.rewards, rates.rate, rates.top, z);
  out.exponent = ceiling(d, z) - rates.headroom;
  V mass = hn::Zero(d);
  with_type(chunk.initial, [&](const auto* initial) {
    const V shift = hn::Set(d, out.exponent);
    for (size_t x = 0; x < kChunk; x += lanes) {
      prefetch_next_chunk(initial + x);
      const V e = hn::Mul(load(d, initial + x), exp2_of(d, hn::Sub(hn::Load(d, z + x), shift)));
      hn::Store(e, d, weight + x);
      mass = hn::Add(mass, e);
    }
  });
  out.mass = hn::GetLane(hn::SumOfLanes(d, mass));
  for (size_t i = 0; i < chunk.rewards.size(); ++i) {
    const V a = hn::Set(d, rates.rate[i]);
    const V minus_a = hn::Neg(a);
    const V centre = hn::Set(d, rates.centre[i]);
    V lean = hn::Zero(d);
    V curve = hn::Zero(d);
    const bool wide = rates.wide[i];
    with_type(chunk.rewards[i], [&](const auto* reward) {
      for (size_t x = 0; x < kChunk; x += lanes) {
        prefetch_next_chunk(reward + x);
        const V e = hn::Load(d, weight + x);
        const V minus_y2 = hn::Mul(minus_a, hn::Sub(load(d, reward + x), centre));
        lean = hn::NegMulAdd(e, minus_y2, lean);
        if (!wide) curve = hn::MulAdd(e, phi_of(d, minus_y2), curve);
      }
    });
    out.lean[i] = kLog2 * hn::GetLane(hn::SumOfLanes(d, lean));
    out.curve[i] = hn::GetLane(hn::SumOfLanes(d, curve));
    if (!wide) continue;
    const V top = hn::Set(d, rates.top[i]);
    with_type(chunk.rewards[i], [&](const auto* reward) {
      for (size_t x = 0; x < kChunk; x += lanes) {
        const V own = hn::Sub(load(d, reward + x), top);
        hn::Store(hn::NegMulAdd(a, own, hn::Load(d, z + x)), d, z_others + x);
      }
    });
    out.other_exponent[i] = ceiling(d, z_others) - rates.headroom;
    V others = hn::Zero(d);
    with_type(chunk.initial, [&](const auto* initial) {
      const V shift = hn::Set(d, out.other_exponent[i]);
      for (size_t x = 0; x < kChunk; x += lanes) {
        const V e = exp2_of(d, hn::Sub(hn::Load(d, z_others + x), shift));
        others = hn::MulAdd(load(d, initial + x), e, others);
      }
    });
    out.others[i] = hn::GetLane(hn::SumOfLanes(d, others));
  }
}

void moments_chunk_kernel(const ChunkView& chunk, const MomentRates& rates, Moments& out) {
  const D d;
  const size_t lanes = hn::Lanes(d);
  HWY_ALIGN double s[kChunk];
  HWY_ALIGN double p[kChunk];
  add_up(d, chunk.rewards, rates.rate, rates.centre, s);
  with_type(chunk.initial, [&](const auto* initial) {
    V mass = hn::Zero(d);
    V mean = hn::Zero(d);
    V square = hn::Zero(d);
    V low = hn::Load(d, s);
    V high = low;
    for (size_t x = 0; x < kChunk; x += lanes) {
      prefetch_next_chunk(initial + x);
      const V p0 = load(d, initial + x);
      hn::Store(p0, d, p + x);
      const V value = hn::Load(d, s + x);
      const V weighted = hn::Mul(p0, value);
      mass = hn::Add(mass, p0);
      mean = hn::Add(mean, weighted);
      square = hn::MulAdd(weighted, value, square);
      low = hn::Min(low, value);
      high = hn::Max(high, value);
    }
    out.low = hn::GetLane(hn::MinOfLanes(d, low));
    out.high = hn::GetLane(hn::MaxOfLanes(d, high));
    out.mass = hn::GetLane(hn::SumOfLanes(d, mass));
    out.mean = hn::GetLane(hn::SumOfLanes(d, mean));
    out.square = hn::GetLane(hn::SumOfLanes(d, square));
  });
  for (size_t i = 0; i < chunk.rewards.size(); ++i) {
    const V a = hn::Set(d, rates.rate[i]);
    const V centre = hn::Set(d, rates.centre[i]);
    V mean = hn::Zero(d);
    V square = hn::Zero(d);
    V cross = hn::Zero(d);
    V low = hn::Set(d, std::numeric_limits<double>::infinity());
    V high = hn::Neg(low);
    with_type(chunk.rewards[i], [&](const auto* reward) {
      for (size_t x = 0; x < kChunk; x += lanes) {
        prefetch_next_chunk(reward + x);
        const V own = hn::Sub(load(d, reward + x), centre);
        const V value = hn::Load(d, s + x);
        const V weighted = hn::Mul(hn::Load(d, p + x), own);
        const V others = hn::NegMulAdd(a, own, value);
        mean = hn::Add(mean, weighted);
        square = hn::MulAdd(weighted, own, square);
        cross = hn::MulAdd(weighted, value, cross);
        low = hn::Min(low, others);
        high = hn::Max(high, others);
      }
    });
    out.own_mean[i] = hn::GetLane(hn::SumOfLanes(d, mean));
    out.own_square[i] = hn::GetLane(hn::SumOfLanes(d, square));
    out.cross[i] = hn::GetLane(hn::SumOfLanes(d, cross));
    out.others_low[i] = hn::GetLane(hn::MinOfLanes(d, low));
    out.others_high[i] = hn::GetLane(hn::MaxOfLanes(d, high));
  }
}

// a + b exactly, as exact_sum() of double_double.h.
struct DoubleVector {
  V high, low;
};
HWY_INLINE DoubleVector exact_sum_of(V a, V b) {
  const V sum = hn::Add(a, b);
  const V shadow = hn::Sub(sum, a);
  return {sum, hn::Add(hn::Sub(a, hn::Sub(sum, shadow)), hn::Sub(b, shadow))};
}

ColumnStatistics statistics_kernel(const ChunkColumn& column, size_t count) {
  const D d;
  const size_t lanes = hn::Lanes(d);
  ColumnStatistics out;
  out.low = std::numeric_limits<double>::infinity();
  out.high = -out.low;
  with_type(column, [&](const auto* values) {
    V low = hn::Set(d, out.low);
    V high = hn::Set(d, out.high);
    V poison = hn::Zero(d);  // NaN once a value is not finite
    DoubleVector total{hn::Zero(d), hn::Zero(d)};
    size_t x = 0;
    while (x + lanes <= count) {
      // A chunk at a time, so that the rounding of the rests does not grow with the column.
      const size_t end = std::min(count, x + kChunk);
      V sum = hn::Zero(d);
      V rest = hn::Zero(d);
      for (; x + lanes <= end; x += lanes) {
        const V value = load(d, values + x);
        const DoubleVector next = exact_sum_of(sum, value);
        sum = next.high;
        rest = hn::Add(rest, next.low);
        low = hn::Min(low, value);
        high = hn::Max(high, value);
        poison = hn::MulAdd(value, hn::Zero(d), poison);
      }
      const DoubleVector next = exact_sum_of(total.high, sum);
      total = exact_sum_of(next.high, hn::Add(total.low, hn::Add(rest, next.low)));
    }
    HWY_ALIGN double highs[hn::MaxLanes(d)];
    HWY_ALIGN double lows[hn::MaxLanes(d)];
    hn::Store(total.high, d, highs);
    hn::Store(total.low, d, lows);
    for (size_t lane = 0; lane < lanes; ++lane) {
      out.sum = out.sum + DoubleDouble{highs[lane], lows[lane]};
    }
    double rest_poison = hn::GetLane(hn::SumOfLanes(d, poison));
    out.low = hn::GetLane(hn::MinOfLanes(d, low));
    out.high = hn::GetLane(hn::MaxOfLanes(d, high));
    for (; x < count; ++x) {
      const auto value = static_cast<double>(values[x]);
      out.sum = out.sum + DoubleDouble{value, 0};
      rest_poison += value * 0.0;
      out.low = std::min(out.low, value);
      out.high = std::max(out.high, value);
    }
    out.finite = rest_poison == 0;
  });
  return out;
}

}  // namespace candor::stream::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace candor::stream {

HWY_EXPORT(kl_chunk_kernel);
HWY_EXPORT(moments_chunk_kernel);
HWY_EXPORT(statistics_kernel);

void kl_chunk(const ChunkView& chunk, const KlRates& rates, KlSums& out) {
  HWY_DYNAMIC_DISPATCH(kl_chunk_kernel)(chunk, rates, out);
}

void moments_chunk(const ChunkView& chunk, const MomentRates& rates, Moments& out) {
  HWY_DYNAMIC_DISPATCH(moments_chunk_kernel)(chunk, rates, out);
}

ColumnStatistics column_statistics(const ChunkColumn& column, size_t count) {
  return HWY_DYNAMIC_DISPATCH(statistics_kernel)(column, count);
}

}  // namespace candor::stream
#endif
