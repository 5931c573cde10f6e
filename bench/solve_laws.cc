// One timing round of every divergence on one random game, printed as one JSON line:
//
//   solve_laws OUTCOMES GROUPS memory|stream SECONDS [CASE]...
//
// the least seconds of solve(), or of solve_stream() with two threads, in about SECONDS a case,
// beside as many exponentials as the game's n + 1 problems have outcomes. bench/solve_laws.py
// interleaves the rounds of two builds.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "bench/probes.h"
#include "core/solution.h"
#include "core/stream.h"

namespace candor::bench {

namespace {

struct Case {
  const char* name;
  DivergenceKind kind;
  double strength;  // in units of the sum of sizes
  double alpha = 2;
  bool f32 = false;  // streamed columns
};

constexpr Case kCases[] = {
    {"kl", DivergenceKind::kKl, 0.2},
    {"kl f32", DivergenceKind::kKl, 0.2, 2, true},
    {"chi2 inactive", DivergenceKind::kChi2, 2},
    {"chi2 active", DivergenceKind::kChi2, 0.05},
    {"reverse_kl", DivergenceKind::kReverseKl, 0.2},
    {"js", DivergenceKind::kJs, 0.2},
    {"hellinger", DivergenceKind::kHellinger, 0.2},
    {"jeffreys", DivergenceKind::kJeffreys, 0.2},
    {"alpha -1", DivergenceKind::kAlpha, 0.2, -1},
    {"alpha 0.3", DivergenceKind::kAlpha, 0.2, 0.3},
    {"alpha 0.9999", DivergenceKind::kAlpha, 0.2, 0.9999},
    {"alpha 1.5", DivergenceKind::kAlpha, 0.2, 1.5},
    {"alpha 2.5", DivergenceKind::kAlpha, 0.2, 2.5},
    {"tv", DivergenceKind::kTv, 0.2},
};

// The columns of a game: p0, then the rewards.
std::vector<std::vector<double>> random_columns(size_t outcomes, size_t groups) {
  std::mt19937_64 random(1);
  std::uniform_real_distribution<double> uniform(0, 1);
  std::vector<std::vector<double>> columns(groups + 1, std::vector<double>(outcomes));
  for (double& value : columns[0]) value = uniform(random) + 0.1;
  for (size_t i = 1; i <= groups; ++i) {
    for (double& value : columns[i]) value = uniform(random);
  }
  return columns;
}

double size_of(size_t group) { return 1 + static_cast<double>(group % 3); }

Divergence divergence_of(const Case& one, size_t groups) {
  double sizes = 0;
  for (size_t i = 0; i < groups; ++i) sizes += size_of(i);
  return {.kind = one.kind, .regularization = one.strength * sizes, .alpha = one.alpha};
}

Game memory_game(const Case& one, const std::vector<std::vector<double>>& columns) {
  Game game;
  game.divergence = divergence_of(one, columns.size() - 1);
  game.initial = columns[0];
  for (size_t i = 0; i + 1 < columns.size(); ++i) {
    Report report;
    report.name = std::to_string(i);
    report.group_size = size_of(i);
    report.reward = columns[i + 1];
    game.groups.push_back(std::move(report));
  }
  return make_game(std::move(game)).value();
}

StreamGame stream_game(const Case& one, const std::vector<std::vector<double>>& columns,
                       const std::vector<std::vector<float>>& singles) {
  const auto column = [&](size_t k) {
    if (one.f32) return Column{.f64 = nullptr, .f32 = singles[k].data(), .size = singles[k].size()};
    return Column{.f64 = columns[k].data(), .f32 = nullptr, .size = columns[k].size()};
  };
  StreamGame raw;
  raw.divergence = divergence_of(one, columns.size() - 1);
  raw.initial = column(0);
  for (size_t i = 0; i + 1 < columns.size(); ++i) {
    StreamGroup group;
    group.name = std::to_string(i);
    group.group_size = size_of(i);
    group.reward = column(i + 1);
    raw.groups.push_back(std::move(group));
  }
  return make_stream_game(std::move(raw), Normalization::kMax, 2).value();
}

// The least of repeated calls, at least one of them.
template <typename Work>
double least_seconds(double budget, const Work& work) {
  double least = std::numeric_limits<double>::infinity();
  double spent = 0;
  do {
    const double one = seconds(work);
    least = std::min(least, one);
    spent += one;
  } while (spent < budget);
  return least;
}

volatile double sink = 0;

int run(size_t outcomes, size_t groups, bool stream, double budget,
        const std::vector<std::string>& wanted) {
  const std::vector<std::vector<double>> columns = random_columns(outcomes, groups);
  std::vector<std::vector<float>> singles;
  if (stream) {
    for (const auto& column : columns) singles.emplace_back(column.begin(), column.end());
  }
  std::printf("{\"outcomes\": %zu, \"groups\": %zu, \"cases\": {", outcomes, groups);
  bool first = true;
  for (const Case& one : kCases) {
    if (!wanted.empty() && std::ranges::find(wanted, one.name) == wanted.end()) continue;
    if (one.f32 && !stream) continue;
    double least = 0;
    int reads = 0;
    if (stream) {
      const StreamGame game = stream_game(one, columns, singles);
      least = least_seconds(budget, [&] { reads = solve_stream(game, 2).value().reads; });
    } else {
      const Game game = memory_game(one, columns);
      least = least_seconds(budget, [&] { reads = solve(game).value().reads; });
    }
    std::printf("%s\"%s\": {\"s\": %.9f, \"reads\": %d}", first ? "" : ", ", one.name, least,
                reads);
    first = false;
  }
  std::vector<double> hot(1024, -1.0);
  const double exponentials = least_seconds(budget, [&] {
    sink = sink + exp_part(hot.data(), hot.size(), (groups + 1) * std::max(outcomes, hot.size()));
  });
  std::printf("}, \"exp_s\": %.9f}\n", exponentials);
  return 0;
}

}  // namespace
}  // namespace candor::bench

int main(int argc, char** argv) {
  const std::string mode = argc > 4 ? argv[3] : "";
  if (mode != "memory" && mode != "stream") {
    std::fprintf(stderr, "usage: solve_laws OUTCOMES GROUPS memory|stream SECONDS [CASE]...\n");
    return 2;
  }
  return candor::bench::run(std::strtoull(argv[1], nullptr, 10),
                            std::strtoull(argv[2], nullptr, 10), mode == "stream",
                            std::atof(argv[4]), std::vector<std::string>(argv + 5, argv + argc));
}
