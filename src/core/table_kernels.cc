#include "core/table_kernels.h"

#include <algorithm>
#include <limits>

#include "base/fixed_point.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/table_kernels.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
// After highway.h.
#include <hwy/cache_control.h>

HWY_BEFORE_NAMESPACE();
namespace candor::table::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<int64_t>;

// Rows follow one another in memory where they were made one after the other; asking for what lies
// ahead keeps reading going across their ends. Elsewhere the hint comes to nothing.
HWY_INLINE void prefetch_ahead(const int64_t* from) {
  static constexpr size_t kAheadBytes = 4096;
  const uintptr_t ahead = reinterpret_cast<uintptr_t>(from) + kAheadBytes;
  hwy::Prefetch(reinterpret_cast<const int64_t*>(ahead));  // NOLINT(performance-no-int-to-ptr)
}

bool add_row_kernel(const int64_t* row, int64_t size, size_t count, int64_t* totals) {
  const D d;
  const size_t lanes = hn::Lanes(d);
  const auto factor = hn::Set(d, size);
  auto least = hn::Zero(d);
  auto most = hn::Zero(d);
  size_t k = 0;
  for (; k + lanes <= count; k += lanes) {
    prefetch_ahead(row + k);
    const auto value = hn::LoadU(d, row + k);
    least = hn::Min(least, value);
    most = hn::Max(most, value);
    hn::StoreU(hn::Add(hn::LoadU(d, totals + k), hn::Mul(factor, value)), d, totals + k);
  }
  int64_t low = hn::GetLane(hn::MinOfLanes(d, least));
  int64_t high = hn::GetLane(hn::MaxOfLanes(d, most));
  for (; k < count; ++k) {
    low = std::min(low, row[k]);
    high = std::max(high, row[k]);
    totals[k] += size * row[k];
  }
  return low >= 0 && high <= kFixedPointOne;
}

int64_t best_without_row_kernel(const int64_t* row, int64_t size, size_t count,
                                const int64_t* totals) {
  const D d;
  const size_t lanes = hn::Lanes(d);
  const auto factor = hn::Set(d, size);
  auto most = hn::Set(d, std::numeric_limits<int64_t>::min());
  size_t k = 0;
  for (; k + lanes <= count; k += lanes) {
    prefetch_ahead(row + k);
    const auto own = hn::Mul(factor, hn::LoadU(d, row + k));
    most = hn::Max(most, hn::Sub(hn::LoadU(d, totals + k), own));
  }
  int64_t best = hn::GetLane(hn::MaxOfLanes(d, most));
  for (; k < count; ++k) best = std::max(best, totals[k] - size * row[k]);
  return best;
}

}  // namespace candor::table::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace candor::table {

HWY_EXPORT(add_row_kernel);
HWY_EXPORT(best_without_row_kernel);

bool add_row(const int64_t* row, int64_t size, size_t count, int64_t* totals) {
  return HWY_DYNAMIC_DISPATCH(add_row_kernel)(row, size, count, totals);
}

int64_t best_without_row(const int64_t* row, int64_t size, size_t count, const int64_t* totals) {
  return HWY_DYNAMIC_DISPATCH(best_without_row_kernel)(row, size, count, totals);
}

}  // namespace candor::table
#endif
