#include "lm/packing.h"

#include <algorithm>
#include <deque>
#include <map>
#include <numeric>

#include "base/check.h"

namespace candor {

std::vector<std::vector<size_t>> pack_best_fit(std::span<const int64_t> lengths, int64_t capacity) {
  std::vector<size_t> order(lengths.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, [&](size_t a, size_t b) { return lengths[a] > lengths[b]; });
  std::vector<std::vector<size_t>> bins;
  std::map<int64_t, std::deque<size_t>> by_space;  // free tokens -> bins, first come first served
  for (const size_t index : order) {
    const int64_t length = lengths[index];
    CANDOR_CHECK(length >= 1 && length <= capacity, "length of a sequence to pack");
    int64_t space = capacity;
    size_t bin = bins.size();
    const auto found = by_space.lower_bound(length);
    if (found == by_space.end()) {
      bins.emplace_back();
    } else {
      space = found->first;
      bin = found->second.front();
      found->second.pop_front();
      if (found->second.empty()) by_space.erase(found);
    }
    bins[bin].push_back(index);
    if (space > length) by_space[space - length].push_back(bin);
  }
  return bins;
}

}  // namespace candor
