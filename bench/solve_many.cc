// Small games solved one after the other, for bench/solve_many.py: the first line of standard input
// is "GAMES OUTCOMES GROUPS LAMBDA", then for each game p0, sizes and rewards as text; printed are
// per game the welfare, the seconds of solve() with all payments and the model, and the seconds of
// make_stream_game() and solve_stream() on the same arrays, which leave the model out (medians).
#include <cstdio>
#include <string>
#include <vector>

#include "bench/probes.h"
#include "core/solution.h"
#include "core/stream.h"

namespace candor {

double stream_welfare(const Game& game) {
  StreamGame raw;
  raw.divergence = game.divergence;
  raw.initial = {.f64 = game.initial.data(), .size = game.initial.size()};
  for (const Report& report : game.groups) {
    StreamGroup group;
    group.name = report.name;
    group.group_size = report.group_size;
    group.reward = {.f64 = report.reward.data(), .size = report.reward.size()};
    raw.groups.push_back(std::move(group));
  }
  const StreamGame made = make_stream_game(std::move(raw), Normalization::kMax, 1).value();
  return solve_stream(made, 1).value().welfare;
}

int run() {
  int games = 0;
  size_t outcomes = 0;
  size_t groups = 0;
  double lambda = 0;
  if (std::scanf("%d %zu %zu %lf", &games, &outcomes, &groups, &lambda) != 4) return 2;
  for (int index = 0; index < games; ++index) {
    Game game;
    game.divergence.regularization = lambda;
    const auto number = [] {
      double value = 0;
      return std::scanf("%lf", &value) == 1 ? value : 0.0;
    };
    for (size_t x = 0; x < outcomes; ++x) game.initial.push_back(number());
    for (size_t i = 0; i < groups; ++i) {
      Report report{.name = std::to_string(i), .group_size = number(), .reward = {}};
      for (size_t x = 0; x < outcomes; ++x) report.reward.push_back(number());
      game.groups.push_back(std::move(report));
    }
    const Game made = make_game(std::move(game)).value();
    double welfare = 0;
    volatile double kept = 0;
    std::vector<double> times;
    std::vector<double> streamed;
    for (int round = 0; round < 21; ++round) {
      times.push_back(bench::seconds([&] { welfare = solve(made).value().welfare; }));
      streamed.push_back(bench::seconds([&] { kept = kept + stream_welfare(made); }));
    }
    std::printf("%.17g %.9f %.9f\n", welfare, bench::median(times), bench::median(streamed));
  }
  return 0;
}

}  // namespace candor

int main() { return candor::run(); }
