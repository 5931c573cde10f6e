#include "bench/probes.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "bench/probes.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
// After highway.h.
#include <hwy/contrib/math/math-inl.h>

HWY_BEFORE_NAMESPACE();
namespace candor::bench::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// The sum of `count` doubles.
double read_part_kernel(const double* values, size_t count) {
  const hn::ScalableTag<double> d;
  const size_t lanes = hn::Lanes(d);
  auto a = hn::Zero(d);
  auto b = hn::Zero(d);
  auto c = hn::Zero(d);
  auto e = hn::Zero(d);
  for (size_t x = 0; x + 4 * lanes <= count; x += 4 * lanes) {
    a = hn::Add(a, hn::LoadU(d, values + x));
    b = hn::Add(b, hn::LoadU(d, values + x + lanes));
    c = hn::Add(c, hn::LoadU(d, values + x + 2 * lanes));
    e = hn::Add(e, hn::LoadU(d, values + x + 3 * lanes));
  }
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(a, b), hn::Add(c, e))));
}

// The sum of exp over a hot buffer, `count` times in all.
double exp_part_kernel(const double* buffer, size_t size, size_t count) {
  const hn::ScalableTag<double> d;
  const size_t lanes = hn::Lanes(d);
  auto a = hn::Zero(d);
  auto b = hn::Zero(d);
  for (size_t done = 0; done < count; done += size) {
    for (size_t x = 0; x + 2 * lanes <= size; x += 2 * lanes) {
      a = hn::Add(a, hn::Exp(d, hn::LoadU(d, buffer + x)));
      b = hn::Add(b, hn::Exp(d, hn::LoadU(d, buffer + x + lanes)));
    }
  }
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(a, b)));
}
}  // namespace candor::bench::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace candor::bench {
HWY_EXPORT(read_part_kernel);
HWY_EXPORT(exp_part_kernel);

double read_part(const double* values, size_t count) {
  return HWY_DYNAMIC_DISPATCH(read_part_kernel)(values, count);
}

double exp_part(const double* buffer, size_t size, size_t count) {
  return HWY_DYNAMIC_DISPATCH(exp_part_kernel)(buffer, size, count);
}

}  // namespace candor::bench
#endif
