#include "core/reward_kernels.h"

#include <limits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/reward_kernels.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace candor::reward::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

template <typename V>
struct Pair {
  V high, low;
};

// As in double_double.h, operation by operation.
template <typename V>
HWY_INLINE Pair<V> exact_sum(V a, V b) {
  const V sum = hn::Add(a, b);
  const V shadow = hn::Sub(sum, a);
  return {sum, hn::Add(hn::Sub(a, hn::Sub(sum, shadow)), hn::Sub(b, shadow))};
}
template <typename V>
HWY_INLINE Pair<V> add(const Pair<V>& a, const Pair<V>& b) {
  const Pair<V> high = exact_sum(a.high, b.high);
  const Pair<V> low = exact_sum(a.low, b.low);
  const Pair<V> first = exact_sum(high.high, hn::Add(high.low, low.high));
  return exact_sum(first.high, hn::Add(first.low, low.low));
}

// Two halves of 26 bits (Veltkamp 1968).
template <typename D, typename V>
HWY_INLINE Pair<V> halves(D d, V a) {
  const V wide = hn::Mul(hn::Set(d, 0x1p27 + 1), a);
  const V high = hn::Sub(wide, hn::Sub(wide, a));
  return {high, hn::Sub(a, high)};
}

// a * b exactly (Dekker 1971): a fused product would be quicker, but not every processor has one.
template <typename D, typename V>
HWY_INLINE Pair<V> exact_product(D d, V a, const Pair<V>& a_halves, V b) {
  const V product = hn::Mul(a, b);
  const Pair<V> b_halves = halves(d, b);
  V low = hn::Sub(hn::Mul(a_halves.high, b_halves.high), product);
  low = hn::Add(low, hn::Mul(a_halves.high, b_halves.low));
  low = hn::Add(low, hn::Mul(a_halves.low, b_halves.high));
  return {product, hn::Add(low, hn::Mul(a_halves.low, b_halves.low))};
}

// Four lanes: wider stores than the memory's own copies stall the loads of small games, and large
// ones wait for memory anyway.
using Four = hn::CappedTag<double, 4>;

// Calls body(d, x) for whole vectors of outcomes, then for single ones.
template <typename Body>
HWY_INLINE void each_vector(size_t count, const Body& body) {
  const Four d;
  size_t x = 0;
  for (; x + hn::Lanes(d) <= count; x += hn::Lanes(d)) body(d, x);
  const hn::CappedTag<double, 1> one;
  for (; x < count; ++x) body(one, x);
}

// Whether all bits but signs that it was shown were 0.
class Zeros {
 public:
  template <typename D, typename V>
  HWY_INLINE void show(D d, V a, V b) {
    const V seen = hn::Or(hn::Abs(a), hn::Abs(b));
    all_ = all_ && hn::AllTrue(d, hn::Eq(seen, hn::Zero(d)));
  }
  [[nodiscard]] bool all() const { return all_; }

 private:
  bool all_ = true;
};

// Calls body(d, x, stake) with the stakes to 106 bits.
template <typename Body>
HWY_INLINE void each_stake(const Stakes& stakes, size_t count, const Body& body) {
  each_vector(count, [&](auto d, size_t x) HWY_ATTR {
    const auto size = hn::Set(d, stakes.size);
    auto stake = exact_product(d, size, halves(d, size), hn::LoadU(d, stakes.reward + x));
    if (stakes.rest != nullptr) {
      stake.low = hn::Add(stake.low, hn::Mul(size, hn::LoadU(d, stakes.rest + x)));
    }
    body(d, x, stake);
  });
}

bool add_stakes_kernel(const Stakes& stakes, size_t count, const Numbers& totals) {
  Zeros zeros;
  each_stake(stakes, count, [&](auto d, size_t x, const auto& stake) HWY_ATTR {
    using P = std::remove_cvref_t<decltype(stake)>;
    const P sum = add(P{hn::LoadU(d, totals.high + x), hn::LoadU(d, totals.low + x)}, stake);
    hn::StoreU(sum.high, d, totals.high + x);
    hn::StoreU(sum.low, d, totals.low + x);
    zeros.show(d, stake.low, sum.low);
  });
  return zeros.all();
}

void subtract_stakes_kernel(const Stakes& stakes, size_t count, const ConstNumbers& totals,
                            const Numbers& others) {
  each_stake(stakes, count, [&](auto d, size_t x, const auto& stake) HWY_ATTR {
    using P = std::remove_cvref_t<decltype(stake)>;
    const P rest = add(P{hn::LoadU(d, totals.high + x), hn::LoadU(d, totals.low + x)},
                       P{hn::Neg(stake.high), hn::Neg(stake.low)});
    hn::StoreU(rest.high, d, others.high + x);
    hn::StoreU(rest.low, d, others.low + x);
  });
}

DoubleDouble highest_kernel(size_t count, const Numbers& numbers) {
  const Four d;
  const size_t lanes = hn::Lanes(d);
  DoubleDouble top{-std::numeric_limits<double>::infinity(), 0};
  const auto raise = [&](const DoubleDouble& value) {
    if (top < value) top = value;
  };
  size_t x = 0;
  if (count >= lanes) {
    auto high = hn::LoadU(d, numbers.high);
    auto low = hn::LoadU(d, numbers.low);
    for (x = lanes; x + lanes <= count; x += lanes) {
      const auto next = hn::LoadU(d, numbers.high + x);
      const auto next_low = hn::LoadU(d, numbers.low + x);
      const auto above =
          hn::Or(hn::Lt(high, next), hn::And(hn::Eq(high, next), hn::Lt(low, next_low)));
      high = hn::IfThenElse(above, next, high);
      low = hn::IfThenElse(above, next_low, low);
    }
    HWY_ALIGN double highs[HWY_MAX_BYTES / sizeof(double)];
    HWY_ALIGN double lows[HWY_MAX_BYTES / sizeof(double)];
    hn::Store(high, d, highs);
    hn::Store(low, d, lows);
    for (size_t lane = 0; lane < lanes; ++lane) raise({highs[lane], lows[lane]});
  }
  for (; x < count; ++x) raise({numbers.high[x], numbers.low[x]});
  return top;
}

bool subtract_from_kernel(const DoubleDouble& top, size_t count, const Numbers& numbers) {
  Zeros zeros;
  each_vector(count, [&](auto d, size_t x) HWY_ATTR {
    using P = Pair<hn::Vec<decltype(d)>>;
    const auto low = hn::LoadU(d, numbers.low + x);
    const P drop = add(P{hn::Set(d, top.high), hn::Set(d, top.low)},
                       P{hn::Neg(hn::LoadU(d, numbers.high + x)), hn::Neg(low)});
    hn::StoreU(drop.high, d, numbers.high + x);
    hn::StoreU(drop.low, d, numbers.low + x);
    zeros.show(d, low, drop.low);
  });
  return zeros.all();
}

}  // namespace candor::reward::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace candor::reward {

HWY_EXPORT(add_stakes_kernel);
HWY_EXPORT(subtract_stakes_kernel);
HWY_EXPORT(highest_kernel);
HWY_EXPORT(subtract_from_kernel);

bool add_stakes(const Stakes& stakes, size_t count, const Numbers& totals) {
  return HWY_DYNAMIC_DISPATCH(add_stakes_kernel)(stakes, count, totals);
}

void subtract_stakes(const Stakes& stakes, size_t count, const ConstNumbers& totals,
                     const Numbers& others) {
  HWY_DYNAMIC_DISPATCH(subtract_stakes_kernel)(stakes, count, totals, others);
}

DoubleDouble highest(size_t count, const Numbers& numbers) {
  return HWY_DYNAMIC_DISPATCH(highest_kernel)(count, numbers);
}

bool subtract_from(const DoubleDouble& top, size_t count, const Numbers& numbers) {
  return HWY_DYNAMIC_DISPATCH(subtract_from_kernel)(top, count, numbers);
}

}  // namespace candor::reward
#endif
