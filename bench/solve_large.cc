// One timing round of streamed solving beside what the machine can do, printed as one JSON line:
//
//   solve_large GAME.json [ROUNDS]
//
// seconds of solve_stream (columns mapped and in the page cache), of a plain read of the same
// bytes, and of as many exponentials as the problem has, with the same number of threads;
// interleaved. bench/solve_large.py makes the games and adds the peers.
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "bench/solve_large.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
// After highway.h.
#include <hwy/contrib/math/math-inl.h>

#include "base/parallel.h"
#include "study/game_file.h"

HWY_BEFORE_NAMESPACE();
namespace candor::bench::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// The sum of `count` doubles.
double read_part(const double* values, size_t count) {
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
double exp_part(const double* buffer, size_t size, size_t count) {
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
HWY_EXPORT(read_part);
HWY_EXPORT(exp_part);

namespace {

template <typename Work>
double seconds(const Work& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

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
    sums[i] =
        HWY_DYNAMIC_DISPATCH(read_part)(values + i * kPart, std::min(kPart, count - i * kPart));
  });
  for (const double sum : sums) sink = sink + sum;
}

void exponentials(size_t count) {
  static constexpr size_t kHot = 1024;
  std::vector<double> buffer(kHot);
  for (size_t x = 0; x < kHot; ++x) buffer[x] = -static_cast<double>(x) / 100;
  const size_t parts = 64;
  std::vector<double> sums(parts);
  parallel_for(parts, 0, [&](size_t i) {
    sums[i] = HWY_DYNAMIC_DISPATCH(exp_part)(buffer.data(), kHot, count / parts);
  });
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
  const auto middle = [](std::vector<double> times) {
    std::ranges::nth_element(times, times.begin() + static_cast<ptrdiff_t>(times.size() / 2));
    return times[times.size() / 2];
  };
  std::printf(
      "{\"outcomes\": %zu, \"groups\": %zu, \"rounds\": %d, \"reads\": %d, \"solve_s\": %.5f, "
      "\"read_s\": %.5f, \"exp_s\": %.5f}\n",
      game.outcome_count(), n, rounds, reads, middle(solve_s), middle(read_s), middle(exp_s));
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
#endif
