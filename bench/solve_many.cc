// Small games solved one after the other, for bench/solve_many.py: the first line of standard input
// is "GAMES OUTCOMES GROUPS LAMBDA", then for each game p0, sizes and rewards as text; printed are
// the welfare of every game and the seconds of one solve with all payments (median of five).
#include <cstdio>
#include <string>
#include <vector>

#include "bench/probes.h"
#include "core/solution.h"

namespace candor {

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
    std::vector<double> times;
    for (int round = 0; round < 5; ++round) {
      times.push_back(bench::seconds([&] { welfare = solve(made).value().welfare; }));
    }
    std::printf("%.17g %.9f\n", welfare, bench::median(times));
  }
  return 0;
}

}  // namespace candor

int main() { return candor::run(); }
