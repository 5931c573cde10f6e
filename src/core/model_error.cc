#include "core/model_error.h"

#include <algorithm>
#include <cmath>

#include "core/block_solver.h"

namespace candor {

namespace {

constexpr double kFarthest = 2;  // the L1 distance of two models with nothing in common
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
  WeightedOptimum out;
  out.model.reserve(game.outcome_count());
  double error = 0;
  const auto blocks = static_cast<double>(game.block_count());
  for (size_t index = 0; index < game.block_count(); ++index) {
    Block block = block_of(game, index);
    block.sizes = weights;
    const BlockSolution solution = solve_block(block, Scope::kModel);
    out.model.insert(out.model.end(), solution.allocation.begin(), solution.allocation.end());
    out.gap += solution.welfare.enclosure.width() / blocks;
    error += solution.model_error / blocks;
  }
  // The largest |E_p g - E_p* g| over all g from 0 to 1 is half the L1 distance.
  out.distance = std::min(kFarthest, 2 * error);
  return out;
}

}  // namespace candor
