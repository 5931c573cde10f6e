#include "core/continuity.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "base/check.h"
#include "base/rng.h"
#include "core/rule.h"

namespace candor {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr uint32_t kShiftSearch = 0x73686674;  // "shft"

// Which outcomes the worst case is about (continuity.h).
enum class WorstCase { kOneAgainstAllOthers, kTwoOfLeastMass, kThree, kNone };

WorstCase worst_case(const Divergence& divergence) {
  switch (divergence.kind) {
    case DivergenceKind::kKl:
    case DivergenceKind::kChi2:
      return WorstCase::kOneAgainstAllOthers;
    case DivergenceKind::kReverseKl:
    case DivergenceKind::kJs:
    case DivergenceKind::kHellinger:
    case DivergenceKind::kJeffreys:
      return WorstCase::kTwoOfLeastMass;
    case DivergenceKind::kAlpha:
      if (divergence.alpha < 1) return WorstCase::kTwoOfLeastMass;
      return divergence.alpha <= 2 ? WorstCase::kOneAgainstAllOthers : WorstCase::kThree;
    case DivergenceKind::kTv:
      break;
  }
  return WorstCase::kNone;
}

double slope(const Divergence& divergence, double ratio) {
  return ratio > 0 ? generator_slope(divergence, ratio) : slope_at_zero(divergence);
}

// min over a in [0, 1 - epsilon] of half of what f' gains at the one outcome and loses at the
// other.
double two_outcome_modulus(const Divergence& divergence, double left, double right,
                           double epsilon) {
  const auto cost = [&](double a) {
    const double rest = std::max(0.0, 1 - a - epsilon);
    return (slope(divergence, (a + epsilon) / left) - slope(divergence, a / left) +
            slope(divergence, (1 - a) / right) - slope(divergence, rest / right)) /
           2;
  };
  const double section = (std::sqrt(5.0) - 1) / 2;
  double low = 0;
  double high = 1 - epsilon;
  double first = high - section * (high - low);
  double second = low + section * (high - low);
  double at_first = cost(first);
  double at_second = cost(second);
  double best = std::min({cost(low), cost(high), at_first, at_second});
  for (int i = 0; i < 80; ++i) {
    if (at_first <= at_second) {
      high = second;
      second = std::exchange(first, second - section * (second - low));
      at_second = std::exchange(at_first, cost(first));
    } else {
      low = first;
      first = std::exchange(second, first + section * (high - first));
      at_first = std::exchange(at_second, cost(second));
    }
    best = std::min({best, at_first, at_second});
  }
  return best;
}

// (L/2c) eps^c (q^-c + (1-q)^-c), c = alpha - 1.
double bound_above_two(const Divergence& divergence, double mass, double epsilon) {
  const double c = divergence.alpha - 1;
  return divergence.regularization / (2 * c) *
         (std::pow(epsilon / mass, c) + std::pow(epsilon / (1 - mass), c));
}

}  // namespace

Modulus continuity_modulus(const Divergence& divergence, double epsilon) {
  CANDOR_CHECK(epsilon > 0);
  const double strength = divergence.regularization;
  const bool paper =
      divergence.kind == DivergenceKind::kKl || divergence.kind == DivergenceKind::kChi2;
  if (epsilon >= 1) {
    return {.paper = paper ? std::optional(kInfinity) : std::nullopt, .sharp = kInfinity};
  }
  const double logarithm = 2 * strength * std::atanh(epsilon);
  switch (divergence.kind) {
    case DivergenceKind::kKl:
      return {strength / 2 * std::min(-std::log1p(-epsilon), std::log1p(epsilon)), logarithm};
    case DivergenceKind::kChi2:
      return {strength * epsilon, 4 * strength * epsilon};
    case DivergenceKind::kJeffreys:
      return {std::nullopt, logarithm};
    case DivergenceKind::kAlpha: {
      const double c = divergence.alpha - 1;
      if (c < 0) return {std::nullopt, 0};
      if (c > 1) return {std::nullopt, strength / c * std::pow(2 * epsilon, c)};
      return {std::nullopt,
              strength / c *
                  (std::expm1(c * std::log1p(epsilon)) - std::expm1(c * std::log1p(-epsilon)))};
    }
    default:
      return {std::nullopt, 0};
  }
}

InitialModulus initial_modulus(const Game& game, double epsilon) {
  CANDOR_CHECK(epsilon > 0);
  const WorstCase worst = worst_case(game.divergence);
  InitialModulus out{.delta = kInfinity, .sharp = worst != WorstCase::kThree};
  if (epsilon >= 1) return out;
  for (size_t block = 0; block < game.block_count(); ++block) {
    std::vector<double> masses(
        game.initial.begin() + static_cast<ptrdiff_t>(game.block_begin[block]),
        game.initial.begin() + static_cast<ptrdiff_t>(game.block_begin[block + 1]));
    if (masses.size() < 2) continue;
    if (worst == WorstCase::kNone) return {.delta = 0, .sharp = true};
    std::ranges::sort(masses);
    if (worst == WorstCase::kTwoOfLeastMass) {
      out.delta =
          std::min(out.delta, two_outcome_modulus(game.divergence, masses[0], masses[1], epsilon));
      continue;
    }
    masses.erase(std::unique(masses.begin(), masses.end()), masses.end());
    for (const double mass : masses) {
      out.delta =
          std::min(out.delta, worst == WorstCase::kThree
                                  ? bound_above_two(game.divergence, mass, epsilon)
                                  : two_outcome_modulus(game.divergence, mass, 1 - mass, epsilon));
    }
  }
  return out;
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

double search_largest_shift(const Game& game, double delta, int trials, uint64_t seed) {
  double most = 0;
  for (int trial = 0; trial < trials; ++trial) {
    RandomStream random(
        {.seed = seed, .stream = kShiftSearch, .prompt = static_cast<uint32_t>(trial)});
    const size_t block = random.below(game.block_count());
    const auto begin = game.initial.begin();
    Game one;
    one.divergence = game.divergence;
    one.initial.assign(begin + static_cast<ptrdiff_t>(game.block_begin[block]),
                       begin + static_cast<ptrdiff_t>(game.block_begin[block + 1]));
    const size_t m = one.initial.size();
    one.block_begin = {0, m};
    // A random model, its mass on few outcomes more often than not, and the reward it is best for.
    const double spread = 12 * random.uniform();
    std::vector<double> model(m);
    double mass = 0;
    for (double& p : model) mass += p = std::exp(-spread * random.uniform());
    Report total{.name = "total", .group_size = 1, .reward = {}};
    for (size_t x = 0; x < m; ++x) {
      model[x] /= mass;
      total.reward.push_back(generator_slope(one.divergence, model[x] / one.initial[x]));
    }
    // One outcome against all others, which is the worst there is, every other time.
    const size_t riser = random.below(m);
    for (size_t x = 0; x < m; ++x) {
      const bool up = trial % 2 == 0 ? x == riser : random.below(2) == 0;
      total.reward[x] += up ? delta : -delta;
    }
    one.groups = {std::move(total)};
    most = std::max(most, largest_shift(model, weighted_optimum(one, {1.0})));
  }
  return most;
}

}  // namespace candor
