#include "core/deviation_experiment.h"

#include <algorithm>
#include <cmath>

#include "base/parallel.h"
#include "base/rng.h"
#include "base/strings.h"
#include "core/game.h"
#include "core/series.h"
#include "core/solution.h"

namespace candor {

namespace {

constexpr uint32_t kExperimentStream = 0x7461626c;  // "tabl"

Game random_game(const DeviationExperiment& experiment, int index) {
  RandomStream random({.seed = experiment.seed,
                       .stream = kExperimentStream,
                       .prompt = static_cast<uint32_t>(index)});
  Game game;
  game.divergence = experiment.divergence;
  game.normalization = Normalization::kSum;
  game.block_begin = {0, experiment.outcomes};
  double mass = 0;
  for (size_t x = 0; x < experiment.outcomes; ++x) {
    game.initial.push_back(-std::log1p(-random.uniform()) + 1e-300);
    mass += game.initial.back();
  }
  for (double& p : game.initial) p /= mass;
  for (size_t i = 0; i < experiment.groups; ++i) {
    Report group{.name = str_cat("g", i), .group_size = 1, .reward = {}};
    group.group_size =
        1 + static_cast<double>(random.below(static_cast<uint64_t>(experiment.largest_size)));
    double total = 0;
    for (size_t x = 0; x < experiment.outcomes; ++x) {
      group.reward.push_back(random.uniform() + 1e-300);
      total += group.reward.back();
    }
    for (double& value : group.reward) value /= total;
    game.groups.push_back(std::move(group));
  }
  return game;
}

struct Change {
  double valuation = 0;
  double utility = 0;
};

Result<std::vector<Change>> changes_in(const Game& game, const std::vector<double>& epsilons) {
  const Report& truth = game.groups[0];
  CANDOR_TRY(const Solution honest, solve(game));
  const double value = group_valuation(game, truth, honest.allocation);
  const auto worst = std::ranges::min_element(truth.reward) - truth.reward.begin();
  const auto best = std::ranges::max_element(truth.reward) - truth.reward.begin();
  std::vector<Change> out;
  for (const double epsilon : epsilons) {
    std::vector<double> lie = truth.reward;
    const auto at = [&](ptrdiff_t place) -> double& { return lie[static_cast<size_t>(place)]; };
    const double moved = std::min({epsilon, at(worst), 1 - at(best)});
    at(best) += moved;
    at(worst) -= moved;
    CANDOR_TRY(const Solution lied, solve(with_report(game, 0, truth.group_size, std::move(lie))));
    const double after = group_valuation(game, truth, lied.allocation);
    const double charged = lied.groups[0].payment - honest.groups[0].payment;
    out.push_back({after - value, after - value - charged});
  }
  return out;
}

}  // namespace

Result<std::vector<DeviationRow>> run_deviations(const DeviationExperiment& experiment,
                                                 const std::vector<double>& epsilons) {
  if (experiment.groups < 1 || experiment.outcomes < 2 || experiment.games < 1 ||
      experiment.largest_size < 1) {
    return invalid_argument(
        "the experiment needs at least 1 group, 2 outcomes, 1 game and sizes from 1");
  }
  for (const double epsilon : epsilons) {
    if (epsilon > 0 && std::isfinite(epsilon)) continue;
    return invalid_argument(str_cat("epsilon: found ", epsilon, "; expected a number above 0"));
  }
  const auto games = static_cast<size_t>(experiment.games);
  std::vector<std::vector<Change>> changes(games);
  parallel_for(games, experiment.threads, [&](size_t index) {
    auto found = changes_in(random_game(experiment, static_cast<int>(index)), epsilons);
    if (found.ok()) changes[index] = std::move(found).value();
  });
  std::vector<DeviationRow> rows;
  for (size_t e = 0; e < epsilons.size(); ++e) {
    Series valuations;
    Series utilities;
    for (const std::vector<Change>& change : changes) {
      if (change.empty()) return invalid_argument("a random game cannot be solved in doubles");
      valuations.add(change[e].valuation);
      utilities.add(change[e].utility);
    }
    rows.push_back({epsilons[e], valuations.mean().value, utilities.mean().value,
                    utilities.mean().half_width});
  }
  return rows;
}

}  // namespace candor
