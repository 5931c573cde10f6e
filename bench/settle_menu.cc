// settle() of a large menu beside a plain read of the same bytes, interleaved; one JSON line:
//
//   settle_menu [GROUPS] [CANDIDATES] [ROUNDS]       default 100000 1000 9
//
// settle() reads the valuations twice (totals, then every group's best without it); `bandwidth` is
// what it read over its time, relative to the plain read's.
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "base/parallel.h"
#include "base/rng.h"
#include "bench/probes.h"
#include "core/table.h"

namespace {

using candor::Table;

Table random_table(size_t groups, size_t candidates) {
  Table table;
  candor::RandomStream random({.seed = 1, .stream = 1});
  for (size_t k = 0; k < candidates; ++k) {
    table.candidates.push_back({"c" + std::to_string(k), static_cast<int64_t>(random() >> 8)});
  }
  for (size_t i = 0; i < groups; ++i) {
    Table::Group& group = table.groups.emplace_back();
    group.name = "g" + std::to_string(i);
    group.group_size = 1 + static_cast<int64_t>(random.below(100));
    for (size_t k = 0; k < candidates; ++k) {
      group.valuations.push_back(
          static_cast<int64_t>((i * 2654435761U + k * 40503U * 97U) >> 3 & 0xffffffffU));
    }
  }
  return table;
}

// Reads every valuation once; as doubles, for the bytes are what counts.
double read_all(const Table& table) {
  static constexpr size_t kShares = 64;
  std::vector<double> sums(kShares, 0);
  candor::parallel_for(kShares, 0, [&](size_t share) {
    const size_t begin = share * table.groups.size() / kShares;
    const size_t end = (share + 1) * table.groups.size() / kShares;
    for (size_t i = begin; i < end; ++i) {
      const std::vector<int64_t>& row = table.groups[i].valuations;
      sums[share] +=
          candor::bench::read_part(reinterpret_cast<const double*>(row.data()), row.size());
    }
  });
  double total = 0;
  for (const double sum : sums) total += sum;
  return total;
}

}  // namespace

int main(int argc, char** argv) {
  const size_t groups = argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 100000;
  const size_t candidates = argc > 2 ? std::strtoul(argv[2], nullptr, 10) : 1000;
  const int rounds = argc > 3 ? std::atoi(argv[3]) : 9;
  const Table table = random_table(groups, candidates);
  std::vector<double> settling;
  std::vector<double> reading;
  volatile double kept = 0;
  for (int round = 0; round < rounds; ++round) {
    reading.push_back(candor::bench::seconds([&] { kept = kept + read_all(table); }));
    settling.push_back(candor::bench::seconds([&] {
      kept = kept + static_cast<double>(candor::settle(table, {.prices = false}).winner);
    }));
  }
  const double read = candor::bench::median(reading);
  const double settle = candor::bench::median(settling);
  const double bytes = 8.0 * static_cast<double>(groups) * static_cast<double>(candidates);
  std::printf(
      "{\"bench\": \"settle_menu\", \"groups\": %zu, \"candidates\": %zu, \"rounds\": %d, "
      "\"settle_s\": %.5f, \"read_s\": %.5f, \"reads\": 2, \"read_gb_s\": %.2f, \"bandwidth\": "
      "%.3f}\n",
      groups, candidates, rounds, settle, read, bytes / read / 1e9, 2 * read / settle);
  return 0;
}
