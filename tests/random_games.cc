// Random games through every promise of the mechanism: DSIC and individual rationality (Thm 3.3),
// non-negative payments (NeurIPS Prop 4.4), budget identities, invariances, the duality gap. It can
// disprove, not prove.
//
//   random_games [GAMES] [FIRST_SEED]      default 20000 games from seed 1
//
// Every game follows from its seed alone; a failure prints it. Prints one JSON record; exit 1 when
// a promise was broken.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/rng.h"
#include "base/strings.h"
#include "core/divergence.h"
#include "core/solution.h"

namespace candor {
namespace {

constexpr size_t kKinds = 8;
constexpr double kTolerance = 1e-12;  // relative to the game's scale

double log_uniform(RandomStream& random, double low, double high) {
  return low * std::exp(random.uniform() * std::log(high / low));
}

std::vector<double> random_reward(RandomStream& random, size_t outcomes) {
  std::vector<double> reward(outcomes);
  const uint64_t shape = random.below(5);
  for (double& value : reward) {
    value = random.uniform();
    if (shape == 1) value = value < 0.5 ? 0.0 : 1.0;    // many ties
    if (shape == 2) value = std::floor(4 * value) / 4;  // few levels
    if (shape == 3) value = 0.5 + 1e-6 * value;         // nearly constant
  }
  if (shape == 4 && random.below(4) == 0) std::ranges::fill(reward, 1.0);  // constant
  reward[random.below(outcomes)] = 1;
  return reward;
}

Game random_game(uint64_t seed) {
  RandomStream random({.seed = seed, .stream = 0x67616d65});
  static constexpr double kOrders[] = {-2, -0.5, 0.3, 0.7, 0.95, 1.05, 1.3, 1.7, 2.5, 4};
  Game game;
  game.divergence.kind = static_cast<DivergenceKind>(seed % kKinds);
  game.divergence.alpha = kOrders[random.below(std::size(kOrders))];
  static constexpr Normalization kRules[] = {Normalization::kSum, Normalization::kMinMax,
                                             Normalization::kMax, Normalization::kMax};
  game.normalization = kRules[random.below(std::size(kRules))];
  const auto outcomes = static_cast<size_t>(log_uniform(random, 2, 201));
  const auto groups = static_cast<size_t>(log_uniform(random, 1, 9));
  for (size_t x = 0; x < outcomes; ++x) {
    game.initial.push_back(std::pow(1 - random.uniform(), 2) + 1e-9);
  }
  double stakes = 0;
  for (size_t i = 0; i < groups; ++i) {
    const double size = std::floor(log_uniform(random, 1, random.below(20) == 0 ? 1e6 : 30));
    stakes += size;
    game.groups.push_back({.name = str_cat("g", i),
                           .group_size = size,
                           .reward = i > 0 && random.below(8) == 0
                                         ? game.groups[0].reward
                                         : random_reward(random, outcomes)});
    std::vector<double>& reward = game.groups.back().reward;
    // A constant is no report there.
    if (game.normalization == Normalization::kMinMax && std::ranges::min(reward) == 1)
      reward[0] = 0;
  }
  // Contested choices: stakes of a thirtieth to thirty times the strength; more where outcomes can
  // lose all their mass, so that most such games are at that boundary.
  game.divergence.regularization = stakes * log_uniform(random, 1.0 / 30, 30);
  if (std::isfinite(slope_at_zero(game.divergence))) game.divergence.regularization /= 25;
  if (game.normalization == Normalization::kSum) {
    game.divergence.regularization /= static_cast<double>(outcomes);
  }
  return make_game(game).value();
}

struct Tally {
  std::atomic<uint64_t> games = 0;
  std::atomic<uint64_t> at_boundary = 0;   // some outcome has lost all its mass
  std::atomic<uint64_t> has_boundary = 0;  // f'(0+) is finite
  std::atomic<uint64_t> gap_missed = 0;    // duality gap above 1e-12 of the scale
  std::atomic<uint64_t> broken = 0;
  std::mutex lock;
  double largest_gap = 0;    // relative to the scale
  double largest_gain = 0;   // of a lie, relative to the scale
  double largest_error = 0;  // of payment_error, relative to the scale

  void fail(uint64_t seed, const std::string& what) {
    ++broken;
    const std::lock_guard guard(lock);
    std::fprintf(stderr, "seed %llu: %s\n", static_cast<unsigned long long>(seed), what.c_str());
  }
  void widen(double& largest, double value) {
    if (!(value > largest)) return;
    const std::lock_guard guard(lock);
    largest = std::max(largest, value);
  }
};

// The scale of rounding in a game: what is added up and subtracted to make welfare.
double scale_of(const Game& game, const Solution& solution) {
  double scale = solution.divergence;
  for (const Report& report : game.groups) {
    scale += report.group_size * std::ranges::max(report.reward);
  }
  return scale;
}

void check_promises(uint64_t seed, const Game& game, const Solution& solution, Tally& tally) {
  const double scale = scale_of(game, solution);
  double valuations = 0;
  for (const GroupOutcome& group : solution.groups) {
    valuations += group.valuation;
    tally.widen(tally.largest_error, group.payment_error() / scale);
    if (!(group.payment >= 0)) tally.fail(seed, str_cat("payment ", group.payment));
    if (!(group.utility >= -group.payment_error())) {
      tally.fail(seed, str_cat("utility ", group.utility, " error ", group.payment_error()));
    }
  }
  if (!(std::abs(valuations - solution.divergence - solution.welfare) <= 8 * kTolerance * scale)) {
    tally.fail(seed, "welfare is not the valuations less the divergence");
  }
  double mass = 0;
  for (const double value : solution.allocation) mass += value;
  if (!(std::abs(mass - 1) <= 1e-12)) tally.fail(seed, str_cat("mass ", mass));
  tally.widen(tally.largest_gap, solution.gap() / scale);
  if (!(solution.gap() <= kTolerance * scale)) ++tally.gap_missed;
}

// The payment by its definition: the game of the others solved by itself.
void check_payment(uint64_t seed, const Game& game, const Solution& solution, Tally& tally) {
  if (game.groups.size() == 1) return;
  RandomStream random({.seed = seed, .stream = 0x706179});
  const size_t group = random.below(game.groups.size());
  Game others = game;
  others.groups.erase(others.groups.begin() + static_cast<ptrdiff_t>(group));
  const Result<Solution> without = solve(others);
  if (!without.ok()) return tally.fail(seed, without.error().message);
  const GroupOutcome& outcome = solution.groups[group];
  const double expected = without->welfare - (solution.welfare - outcome.valuation);
  const double slack = 8 * kTolerance * scale_of(game, solution) + solution.gap() + without->gap();
  if (!(std::abs(outcome.payment - expected) <= slack)) {
    tally.fail(seed, str_cat("payment ", outcome.payment, " is not ", expected));
  }
}

// DSIC: one random lie of one group, reward and size.
void check_lie(uint64_t seed, const Game& game, const Solution& truth, Tally& tally) {
  RandomStream random({.seed = seed, .stream = 0x6c6965});
  const size_t group = random.below(game.groups.size());
  const Report& type = game.groups[group];
  std::vector<double> reward =
      random.below(3) == 0 ? type.reward : random_reward(random, game.outcome_count());
  if (!make_admissible(game, group, reward)) reward = type.reward;
  const double size = std::max(1.0, std::round(type.group_size * log_uniform(random, 0.1, 10)));
  const Game lied = with_report(game, group, size, reward);
  const Result<Solution> solution = solve(lied);
  if (!solution.ok()) return tally.fail(seed, solution.error().message);
  const double gain = group_valuation(game, type, solution->allocation) -
                      solution->groups[group].payment - truth.groups[group].utility;
  const double scale = scale_of(game, truth) + scale_of(lied, *solution);
  tally.widen(tally.largest_gain, gain / scale);
  if (!(gain <= truth.gap() + solution->gap() + 4 * kTolerance * scale)) {
    tally.fail(seed, str_cat("a lie gains ", gain, " at scale ", scale));
  }
}

// The same game written differently: groups and outcomes permuted, an outcome split in two of the
// same rewards, or sizes and lambda multiplied.
Game rewritten(const Game& game, RandomStream& random, double& factor) {
  Game other = game;
  for (Report& report : other.groups) report.reward_rest.clear();
  factor = 1;
  const uint64_t how = random.below(3);
  if (how == 0) {
    std::ranges::reverse(other.groups);
    std::ranges::reverse(other.initial);
    for (Report& report : other.groups) std::ranges::reverse(report.reward);
  } else if (how == 1 && game.normalization != Normalization::kSum) {
    const size_t x = random.below(game.outcome_count());
    const double share = 0.1 + 0.8 * random.uniform();
    other.initial.push_back(other.initial[x] * share);
    other.initial[x] *= 1 - share;
    for (Report& report : other.groups) report.reward.push_back(report.reward[x]);
    other.block_begin.back() = other.initial.size();
  } else {
    factor = 3;
    other.divergence.regularization *= factor;
    for (Report& report : other.groups) report.group_size *= factor;
  }
  return other;
}

void check_invariance(uint64_t seed, const Game& game, const Solution& solution, Tally& tally) {
  RandomStream random({.seed = seed, .stream = 0x696e76});
  double factor = 1;
  const Game other = rewritten(game, random, factor);
  const Result<Solution> again = solve(other);
  if (!again.ok()) return tally.fail(seed, again.error().message);
  const double scale = factor * scale_of(game, solution);
  const double slack = 16 * kTolerance * scale + factor * solution.gap() + again->gap();
  if (!(std::abs(again->welfare - factor * solution.welfare) <= slack)) {
    tally.fail(seed, "welfare depends on how the game is written");
  }
  // Ties of tv may be broken otherwise after a permutation: payments then differ, by the rule.
  if (game.divergence.kind == DivergenceKind::kTv) return;
  for (const GroupOutcome& group : again->groups) {
    const auto twin = std::ranges::find(solution.groups, group.name, &GroupOutcome::name);
    if (!(std::abs(group.payment - factor * twin->payment) <= slack)) {
      tally.fail(seed, str_cat("payment ", group.payment, " is not ", factor * twin->payment,
                               " when the game is written otherwise"));
    }
  }
}

void check_game(uint64_t seed, Tally& tally) {
  const Game game = random_game(seed);
  const Result<Solution> solution = solve(game);
  if (!solution.ok()) return tally.fail(seed, solution.error().message);
  ++tally.games;
  if (std::isfinite(slope_at_zero(game.divergence))) {
    ++tally.has_boundary;
    if (std::ranges::min(solution->allocation) == 0) ++tally.at_boundary;
  }
  check_promises(seed, game, *solution, tally);
  check_payment(seed, game, *solution, tally);
  check_lie(seed, game, *solution, tally);
  check_invariance(seed, game, *solution, tally);
}

int run(uint64_t games, uint64_t first) {
  Tally tally;
  std::atomic<uint64_t> next = first;
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < std::max(1U, std::thread::hardware_concurrency()); ++i) {
    threads.emplace_back([&] {
      for (uint64_t seed = next++; seed < first + games; seed = next++) check_game(seed, tally);
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::printf(
      "{\"games\": %llu, \"first_seed\": %llu, \"broken\": %llu, \"boundary_games\": %llu, "
      "\"at_boundary\": %llu, \"gap_above_1e-12\": %llu, \"largest_gap\": %.3g, "
      "\"largest_gain\": %.3g, \"largest_payment_error\": %.3g}\n",
      static_cast<unsigned long long>(tally.games), static_cast<unsigned long long>(first),
      static_cast<unsigned long long>(tally.broken),
      static_cast<unsigned long long>(tally.has_boundary),
      static_cast<unsigned long long>(tally.at_boundary),
      static_cast<unsigned long long>(tally.gap_missed), tally.largest_gap, tally.largest_gain,
      tally.largest_error);
  const bool boundaries = 2 * tally.at_boundary >= tally.has_boundary;
  if (!boundaries) std::fprintf(stderr, "fewer than half of the boundary games are at it\n");
  return tally.broken == 0 && tally.games == games && boundaries ? 0 : 1;
}

}  // namespace
}  // namespace candor

int main(int argc, char** argv) {
  const uint64_t games = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 20000;
  const uint64_t first = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1;
  return candor::run(games, first);
}
