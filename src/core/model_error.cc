#include "core/model_error.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/block_solver.h"

namespace candor {

namespace {

constexpr double kFarthest = 2;  // the L1 distance of two models with nothing in common
constexpr double kRounding = 64 * std::numeric_limits<double>::epsilon();

double largest_magnitude(const std::vector<double>& values) {
  double most = 0;
  for (const double value : values) most = std::max(most, std::abs(value));
  return most;
}

// tv moves all mass of outcomes with total < max - 2L to the one outcome of largest total.
bool rounding_decides_tv(const Game& game, const std::vector<double>& total) {
  const double margin = kRounding * (largest_magnitude(total) + game.divergence.regularization);
  for (size_t block = 0; block < game.block_count(); ++block) {
    const auto begin = total.begin() + static_cast<ptrdiff_t>(game.block_begin[block]);
    const auto end = total.begin() + static_cast<ptrdiff_t>(game.block_begin[block + 1]);
    const auto top = std::max_element(begin, end);
    for (auto at = begin; at != end; ++at) {
      if (at == top) continue;
      if (*top - *at <= margin) return true;
      if (std::abs(*top - *at - 2 * game.divergence.regularization) <= margin) return true;
    }
  }
  return false;
}

}  // namespace

// At the maximum p*, F(p) - D(p) <= F(p*) - D(p*) - B(p, p*), B the Bregman distance of D: F lies
// below its tangent and p* is optimal. So B(p, p*) <= gap, and B bounds the L1 distance d of p and
// p* from below in each block: Pinsker for kl; else B = sum p0 b(r, r*) with
//   b(r, s) >= k (r-s)^2/2         by Taylor, and sum p0 (r-s)^2 >= d^2 by Jensen;
//   b(r, s) >= c |r-s|^a           for f = L r^a/(a(a-1)), c = L/(a(a-1)(2^(a-1) - 1)).
// Powers >= 1 of d, so Jensen carries the bounds over to means over blocks.
double distance_from_gap(const Game& game, double gap) {
  if (gap <= 0) return 0;
  const Divergence& divergence = game.divergence;
  const double strength = divergence.regularization;
  if (divergence.kind == DivergenceKind::kTv) return kFarthest;
  if (divergence.kind == DivergenceKind::kKl) {
    return std::min(kFarthest, std::sqrt(2 * gap / strength));
  }
  if (divergence.kind == DivergenceKind::kAlpha && divergence.alpha > 2) {
    const double a = divergence.alpha;
    const double scale = a * (a - 1) * std::expm1((a - 1) * std::log(2.0)) / strength;
    return std::min(kFarthest, std::pow(gap * scale, 1 / a));
  }
  // f'' falls with r for every other f.
  const double curvature =
      generator_curvature(divergence, 1 / *std::ranges::min_element(game.initial));
  return std::min(kFarthest, std::sqrt(2 * gap / curvature));
}

WeightedOptimum solve_weighted(const Game& game, const std::vector<double>& weights) {
  std::vector<double> total(game.outcome_count(), 0.0);
  double rounding = 0;  // of one total, relative to kRounding
  for (size_t group = 0; group < weights.size(); ++group) {
    const std::vector<double>& reward = game.groups[group].reward;
    for (size_t x = 0; x < total.size(); ++x) total[x] += weights[group] * reward[x];
    rounding += std::abs(weights[group]) * largest_magnitude(reward);
  }
  WeightedOptimum out;
  out.model.reserve(total.size());
  double welfare = 0;
  for (size_t index = 0; index < game.block_count(); ++index) {
    const size_t begin = game.block_begin[index];
    const size_t count = game.block_begin[index + 1] - begin;
    const Block block{.divergence = game.divergence,
                      .initial = std::span(game.initial).subspan(begin, count),
                      .rewards = {std::span<const double>(total).subspan(begin, count)},
                      .sizes = {1.0}};
    const BlockSolution solution = solve_block(block);
    out.model.insert(out.model.end(), solution.allocation.begin(), solution.allocation.end());
    out.gap += solution.gap / static_cast<double>(game.block_count());
    welfare = std::max(welfare, std::abs(solution.welfare) + solution.divergence);
  }
  out.gap += kRounding * (welfare + rounding);
  const double strength = game.divergence.regularization;
  if (game.divergence.kind == DivergenceKind::kKl) {
    out.distance = std::min(kFarthest, kRounding * (1 + rounding / strength));
  } else if (game.divergence.kind == DivergenceKind::kTv) {
    out.distance = rounding_decides_tv(game, total) ? kFarthest : kRounding;
  } else {
    out.distance = distance_from_gap(game, out.gap);
  }
  return out;
}

}  // namespace candor
