#include "core/continuity.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"
#include "base/rng.h"
#include "core/rule.h"

namespace candor {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr uint32_t kShiftSearch = 0x73686674;  // "shft"

}  // namespace

Modulus continuity_modulus(const Divergence& divergence, double epsilon) {
  CANDOR_CHECK(epsilon > 0);
  const double strength = divergence.regularization;
  if (epsilon >= 1) return {kInfinity, kInfinity};
  if (divergence.kind == DivergenceKind::kKl) {
    const double paper = strength / 2 * std::min(-std::log1p(-epsilon), std::log1p(epsilon));
    return {paper, 2 * strength * std::atanh(epsilon)};
  }
  CANDOR_CHECK(divergence.kind == DivergenceKind::kChi2);
  return {strength * epsilon, 4 * strength * epsilon};
}

double curvature_bound(const Game& game, const std::vector<double>& left,
                       const std::vector<double>& right, double delta) {
  double low = kInfinity;
  double high = 0;
  double top = 0;
  for (size_t x = 0; x < left.size(); ++x) {
    const double a = left[x] / game.initial[x];
    const double b = right[x] / game.initial[x];
    low = std::min({low, a, b});
    high = std::max({high, a, b});
    top = std::max(top, game.initial[x]);
  }
  if (game.divergence.kind == DivergenceKind::kTv) return kInfinity;
  // f'' of every generator here is monotone, so its least value is at an end.
  const double at_high = generator_curvature(game.divergence, high);
  const double at_low = low > 0 ? generator_curvature(game.divergence, low)
                                : generator_curvature(game.divergence, high * 1e-300);
  return 2 * top * delta / std::min(at_low, at_high);
}

double largest_shift(const std::vector<double>& left, const std::vector<double>& right) {
  double most = 0;
  for (size_t x = 0; x < left.size(); ++x) most = std::max(most, std::abs(left[x] - right[x]));
  return most;
}

double search_largest_shift(const Divergence& divergence, double delta, int trials, uint64_t seed) {
  double most = 0;
  for (int trial = 0; trial < trials; ++trial) {
    RandomStream random(
        {.seed = seed, .stream = kShiftSearch, .prompt = static_cast<uint32_t>(trial)});
    // Two outcomes, where the worst case lies, every other time.
    const size_t m = trial % 2 == 0 ? 2 : 2 + random.below(8);
    Game game;
    game.divergence = divergence;
    game.block_begin = {0, m};
    Report total{.name = "total", .group_size = 1, .reward = {}};
    double mass = 0;
    for (size_t x = 0; x < m; ++x) {
      game.initial.push_back(0.02 - std::log1p(-random.uniform()));
      mass += game.initial.back();
      total.reward.push_back(2 * divergence.regularization * random.uniform());
    }
    for (double& p : game.initial) p /= mass;
    game.groups = {total};
    const std::vector<double> before = weighted_optimum(game, {1.0});
    for (double& s : game.groups[0].reward) s += random.below(2) == 0 ? -delta : delta;
    most = std::max(most, largest_shift(before, weighted_optimum(game, {1.0})));
  }
  return most;
}

}  // namespace candor
