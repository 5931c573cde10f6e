#include <algorithm>
#include <cmath>

#include "core/block_parts.h"
#include "core/divergence_law.h"
#include "core/dual_problem.h"
#include "core/sum.h"

namespace candor {

namespace {

// sum_x p0 max(0, 1 - (drop + mu)/(2L)) = 1, mu measured from max s. The left side is convex,
// decreasing and piecewise linear in mu, so Newton from the inactive solution mu = -mean drop
// (where it is >= 1) goes up monotonically and ends after finitely many steps, exactly on a piece.
double solve_chi2_dual(const Block& block, std::span<const double> below) {
  const double reach = 2 * block.divergence.regularization;
  const double mean = weighted_mean(block.initial, below);
  double mu = -mean;
  if (*std::ranges::max_element(below) - mean <= reach) return mu;
  for (size_t step = 0; step <= block.outcome_count() + 2; ++step) {
    // On the piece where the set {drop < 2L - mu} carries mass:
    //   mu = 2L (1 - 1/mass) - E[drop | set].
    Sum mass;
    Sum drop;
    for (size_t x = 0; x < block.outcome_count(); ++x) {
      if (!(below[x] + mu < reach)) continue;
      mass.add(block.initial[x]);
      drop.add(block.initial[x] * below[x]);
    }
    const double next = -(drop.value() + reach * (1 - mass.value())) / mass.value();
    if (!(next > mu)) break;  // monotone: no progress is the end
    mu = next;
  }
  return mu;
}

// A leave-one-out problem of chi2, and its dual variable.
struct Chi2Others {
  std::span<const double> below;
  double mu;
  double strength;

  // t = 1 + (s_{-i} - mu)/(2L), so that r_q = max(0, t).
  [[nodiscard]] double slack(size_t x) const { return 1 - (below[x] + mu) / (2 * strength); }
};

// ASW_{-i}(q) - ASW_{-i}(p) with q = argmax ASW_{-i} [ours]. Expanding the concave quadratic around
// q:
//   p_i = L sum p0 (r_p - r_q)^2 - 2L sum_{t <= 0} p0 r_p t,   every term >= 0.
// r_p - r_q is not formed as a difference of two ratios that agree in nearly every digit where w_i
// is small. With P, Q the outcomes that p, q keep and d = mu_p - mu_q:
//   r_p - r_q = (w_i rm_i - d)/(2L) on both,   sum_P p0 (t + (w_i rm_i - d)/(2L)) = 1 = sum_Q p0 t,
// so d comes from P and the outcomes in which P and Q differ. Where P = Q the payment is
// w_i^2 p0(P) Var_P(rm_i)/(4L); where both are everything, MATH 3's, independent of the others.
// Where group i outweighs everything else (`dominant`) the plain difference is the accurate one.
double chi2_payment(const Block& block, size_t group, const Chi2Others& others,
                    std::span<const LawPoint> chosen, bool dominant) {
  const double strength = block.divergence.regularization;
  Sum mass;    // p0(P)
  Sum reward;  // sum_P p0 rm_i
  Sum moved;   // sum_{P without Q} p0 t - sum_{Q without P} p0 t
  for (size_t x = 0; x < block.outcome_count(); ++x) {
    const bool kept = chosen[x].ratio > 0;
    const double slack = others.slack(x);
    if (kept) mass.add(block.initial[x]);
    if (kept) reward.add(block.initial[x] * block.rewards[group][x]);
    if (kept != (slack > 0)) moved.add((kept ? 1 : -1) * block.initial[x] * slack);
  }
  const double mean = reward.value() / mass.value();
  const double lift = moved.value() / mass.value();
  Sum sum;
  for (size_t x = 0; x < block.outcome_count(); ++x) {
    const double slack = others.slack(x);
    double change = chosen[x].ratio - std::max(0.0, slack);
    if (!dominant && chosen[x].ratio > 0 && slack > 0) {
      change = block.sizes[group] * (block.rewards[group][x] - mean) / (2 * strength) - lift;
    }
    sum.add(block.initial[x] * strength * change * change);
    if (slack <= 0) sum.add(-2 * strength * block.initial[x] * chosen[x].ratio * slack);
  }
  return sum.value();
}

}  // namespace

BlockSolution solve_chi2(const Block& block, Scope scope) {
  static constexpr double kDominance = 1e3;
  const double strength = block.divergence.regularization;
  const PowerLaw law(2, 2 * strength, Anchor::kOne);
  const TotalReward reward(block);
  const auto solve_problem = [&](const Drops& drops) {
    return DualProblem<PowerLaw>(law, block.initial, drops, strength, reward.drop_error())
        .solve_from(solve_chi2_dual(block, drops.below));
  };
  Drops drops;
  reward.everyone(drops);
  const DualSolution full = solve_problem(drops);
  BlockSolution out;
  out.reads = 6;
  out.allocation = model_of(block.initial, full.points);
  const auto solve_without = [&](size_t group, const Drops& others) {
    const DualSolution without = solve_problem(others);
    const double stake = reward.stake_range(group);
    const bool dominant = stake > kDominance * (*std::ranges::max_element(others.below) + strength);
    return LeftOut{
        without.optimum,
        chi2_payment(block, group, {others.below, without.depth, strength}, full.points, dominant)};
  };
  conclude({block, reward, drops, full.optimum, full.model_error}, scope, solve_without, out);
  return out;
}

}  // namespace candor
