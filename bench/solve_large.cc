// One timing round of streamed solving beside what the machine can do, printed as one JSON line:
//
//   solve_large GAME.json [ROUNDS]
//
// seconds of solve_stream (columns mapped and in the page cache), of a plain read of the same
// bytes, and of as many exponentials as the problem has, with the same number of threads;
// interleaved. bench/solve_large.py makes the games and adds the peers.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "base/parallel.h"
#include "bench/probes.h"
#include "study/game_file.h"

namespace candor::bench {

namespace {

volatile double sink = 0;

void read_column(const Column& column) {
  static constexpr size_t kPart = size_t{1} << 18;
  // f32 is read as pairs: only the bytes count here.
  const auto* values =
      column.f64 != nullptr ? column.f64 : reinterpret_cast<const double*>(column.f32);
  const size_t count = column.f64 != nullptr ? column.size : column.size / 2;
  const size_t parts = (count + kPart - 1) / kPart;
  std::vector<double> sums(parts);
  parallel_for(parts, 0, [&](size_t i) {
    sums[i] = read_part(values + i * kPart, std::min(kPart, count - i * kPart));
  });
  for (const double sum : sums) sink = sink + sum;
}

void exponentials(size_t count) {
  static constexpr size_t kHot = 1024;
  std::vector<double> buffer(kHot);
  for (size_t x = 0; x < kHot; ++x) buffer[x] = -static_cast<double>(x) / 100;
  const size_t parts = 64;
  std::vector<double> sums(parts);
  parallel_for(parts, 0, [&](size_t i) { sums[i] = exp_part(buffer.data(), kHot, count / parts); });
  for (const double sum : sums) sink = sink + sum;
}

int run(const char* file, int rounds) {
  const Result<std::optional<MappedGame>> mapped = map_game(file, 0);
  if (!mapped.ok() || !mapped->has_value()) {
    std::fprintf(stderr, "%s: %s\n", file,
                 mapped.ok() ? "is not streamed" : mapped.error().message.c_str());
    return 1;
  }
  const StreamGame& game = (*mapped)->game;
  const size_t n = game.groups.size();
  std::vector<double> solve_s, read_s, exp_s;
  int reads = 0;
  for (int round = 0; round < rounds; ++round) {
    solve_s.push_back(seconds([&] { reads = solve_stream(game).value().reads; }));
    read_s.push_back(seconds([&] {
      read_column(game.initial);
      for (const StreamGroup& group : game.groups) read_column(group.reward);
    }));
    exp_s.push_back(seconds([&] { exponentials((n + 1) * game.outcome_count()); }));
  }
  std::printf(
      "{\"outcomes\": %zu, \"groups\": %zu, \"rounds\": %d, \"reads\": %d, \"solve_s\": %.5f, "
      "\"read_s\": %.5f, \"exp_s\": %.5f}\n",
      game.outcome_count(), n, rounds, reads, median(solve_s), median(read_s), median(exp_s));
  return 0;
}

}  // namespace
}  // namespace candor::bench

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: solve_large GAME.json [ROUNDS]\n");
    return 2;
  }
  return candor::bench::run(argv[1], argc > 2 ? std::atoi(argv[2]) : 7);
}
