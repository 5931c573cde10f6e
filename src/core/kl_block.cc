#include <algorithm>
#include <cmath>
#include <limits>

#include "core/block_parts.h"
#include "core/divergence.h"
#include "core/law_point.h"
#include "core/sum.h"

namespace candor {

namespace {

// ASW* = max s + L log Z, Z = sum p0 e^{-drop/L}, and the model p0 e^{-drop/L} / Z (MATH 3).
struct LogPartition {
  double partition = 0;  // Z
  double log = 0;        // log Z
  double mean_drop = 0;  // E_p drop / L
  Bounded value;         // L log Z
};

// Errors, in units u = 2^-53, to first order: a drop is off by two of itself and by `drop_error`,
// so a weight by u (4 drop/L + 2) + drop_error/L of itself and p0 by four; a weight's distance to 1
// by the same share of drop/L weight and by u (1 - weight).
LogPartition log_partition(const Block& block, const Drops& drops, double drop_error) {
  const double strength = block.divergence.regularization;
  const size_t m = block.outcome_count();
  LogPartition out;
  // sum p0 (e^-y - 1): exact near 0, where a plain sum of p0 e^-y would lose everything
  Sum excess;
  double drop = 0;  // of error terms: no need for compensation
  for (size_t x = 0; x < m; ++x) {
    const double y = drops.below[x] / strength;
    const double less = std::expm1(-y);
    excess.add(block.initial[x] * less);
    if (less > -1) drop += block.initial[x] * (1 + less) * y;
  }
  const bool near = excess.value() > -0.5;
  out.partition = 1 + excess.value();
  if (!near) {
    // The outcome on top is rare: 1 + excess cancels, and the positive terms are summed.
    Sum partition;
    drop = 0;
    for (size_t x = 0; x < m; ++x) {
      const double y = drops.below[x] / strength;
      const double weight = std::exp(-y);
      partition.add(block.initial[x] * weight);
      if (weight > 0) drop += block.initial[x] * weight * y;
    }
    out.partition = partition.value();
  }
  out.log = near ? std::log1p(excess.value()) : std::log(out.partition);
  out.mean_drop = drop / out.partition;
  const double lost = near ? -excess.value() / out.partition : 1;
  const double error = kUnitRoundoff * (8 * out.mean_drop + 16 * lost + 4 * std::abs(out.log));
  out.value.value = strength * out.log;
  out.value.enclosure = around(out.value.value, strength * error + 2 * drop_error);
  return out;
}

// (1 - b) e^b - 1 = -(b^2/2 + b^3/3 + b^4/8 + ...) for the small b that a pilot centre leaves.
double centring_residual(double b) {
  if (std::abs(b) > 1e-3) return (1 - b) * std::exp(b) - 1;
  return -b * b * (0.5 + b * (1.0 / 3 + b * (0.125 + b / 30)));
}

// p_i = L log E_{p*}[exp(-w_i (rm_i - v_i)/L)]  (MATH 3), with the centre c the computed v_i, so
// that b = E y is only that computation's rounding. REQUIRES: stakes of few hundred L.
double kl_payment(const Block& block, size_t group, const std::vector<double>& model) {
  const double strength = block.divergence.regularization;
  const double scale = block.sizes[group] / strength;
  const double centre = weighted_mean(model, block.rewards[group]);
  Sum mean;
  Sum second;
  for (size_t x = 0; x < block.outcome_count(); ++x) {
    const double y = scale * (block.rewards[group][x] - centre);
    mean.add(model[x] * y);
    second.add(model[x] * law_detail::phi(y));
  }
  const double b = mean.value();
  return std::max(0.0, strength * std::log1p(second.value() * std::exp(b) + centring_residual(b)));
}

}  // namespace

BlockSolution solve_kl(const Block& block, Scope scope) {
  // Beyond it e^{-y} may overflow against p*, and a payment is no small difference of the optima.
  static constexpr double kWideStake = 300;
  const double strength = block.divergence.regularization;
  const size_t m = block.outcome_count();
  const TotalReward reward(block);
  Drops drops;
  reward.everyone(drops);
  const LogPartition full = log_partition(block, drops, reward.drop_error());
  BlockSolution out;
  out.reads = 4;
  out.allocation.reserve(m);
  for (size_t x = 0; x < m; ++x) {
    const double weight = std::exp(-drops.below[x] / strength);
    out.allocation.push_back(block.initial[x] * (weight / full.partition));
  }
  const double model_error =
      2 * (kUnitRoundoff * (8 * full.mean_drop + 16) + 2 * reward.drop_error() / strength);
  const auto solve_without = [&](size_t group, const Drops& others) {
    const LogPartition without = log_partition(block, others, reward.drop_error());
    const double stake = reward.stake_range(group);
    // Otherwise conclude() takes the difference of the optima.
    return LeftOut{{others.highest, without.value},
                   stake <= kWideStake * strength ? kl_payment(block, group, out.allocation)
                                                  : std::numeric_limits<double>::quiet_NaN()};
  };
  conclude({block, reward, drops, {drops.highest, full.value}, model_error}, scope, solve_without,
           out);
  return out;
}

}  // namespace candor
