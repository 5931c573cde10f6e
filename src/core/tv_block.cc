#include <algorithm>
#include <cmath>

#include "core/block_parts.h"
#include "core/divergence.h"
#include "core/sum.h"

namespace candor {

namespace {

// Whether the groups, asked in order, would rather have outcome a than b: the tie order of MATH 1.
bool precedes(const Block& block, size_t a, size_t b) {
  for (size_t group = 0; group < block.group_count(); ++group) {
    const std::span<const double> reward = block.rewards[group];
    if (reward[a] != reward[b]) return reward[a] > reward[b];
  }
  return a < b;
}

// A tv optimum: every outcome that lies more than 2L below the best gives it all its mass, since
// moving a unit of mass from x gains the drop and costs 2L.
struct TvOptimum {
  size_t best = 0;
  double moved = 0;  // mass
  double value = 0;  // less max s: -sum p drop - D
  // What rounding leaves open: mass whose place is not decided, and whether the best outcome is.
  double undecided = 0;
  bool best_decided = true;
};

bool same_rewards(const Block& block, size_t a, size_t b) {
  for (size_t group = 0; group < block.group_count(); ++group) {
    if (block.rewards[group][a] != block.rewards[group][b]) return false;
    if (block.rest(group, a) != block.rest(group, b)) return false;
  }
  return true;
}

// `model` [m] or empty: p0, which becomes the optimum.
TvOptimum optimum(const Block& block, const Drops& drops, double drop_error,
                  std::span<double> model) {
  const std::vector<double>& below = drops.below;
  const double error = drops.exact ? 0 : drop_error;
  const double reach = 2 * block.divergence.regularization;
  TvOptimum out;
  out.best = static_cast<size_t>(std::ranges::find(below, 0.0) - below.begin());
  for (size_t x = out.best + 1; x < below.size(); ++x) {
    if (below[x] == 0 && precedes(block, x, out.best)) out.best = x;
  }
  Sum moved;
  Sum lost;
  for (size_t x = 0; x < below.size(); ++x) {
    if (x == out.best) continue;
    if (below[x] <= error && !same_rewards(block, x, out.best)) out.best_decided = false;
    const double surplus = below[x] - reach;
    if (!drops.exact && std::abs(surplus) <= error + 4 * kUnitRoundoff * reach) {
      out.undecided += block.initial[x];
    }
    if (surplus > 0 || (surplus == 0 && precedes(block, out.best, x))) {
      moved.add(block.initial[x]);
      if (!model.empty()) model[x] = 0;
    } else {
      lost.add(block.initial[x] * below[x]);
    }
  }
  out.moved = moved.value();
  if (!model.empty()) model[out.best] += out.moved;
  out.value = -lost.value() - reach * out.moved;
  return out;
}

// ASW* - max s with its enclosure: sums of terms of one sign.
ProblemOptimum bounded_optimum(const Drops& drops, const TvOptimum& found, double drop_error) {
  const double error = 16 * kUnitRoundoff * std::abs(found.value) + 4 * drop_error;
  return {drops.highest, {found.value, around(found.value, error)}};
}

}  // namespace

double tv_lack(double slope, double ratio, double excess, double strength) {
  if (ratio == 0) return std::max(0.0, slope + strength);
  const double below = std::max(0.0, -strength - slope);
  return excess > 0 ? (strength - slope) * excess + below : below;
}

// mu = max s - L is the dual variable of every tv problem, so a payment is the sum over outcomes of
// what p* lacks to ASW*_{-i} there.
BlockSolution solve_tv(const Block& block, Scope scope) {
  const double strength = block.divergence.regularization;
  const TotalReward reward(block);
  const double drop_error = reward.drop_error();
  Drops drops;
  reward.everyone(drops);
  BlockSolution out;
  out.allocation.assign(block.initial.begin(), block.initial.end());
  const TvOptimum full = optimum(block, drops, drop_error, out.allocation);
  const double open = full.best_decided ? full.undecided : full.undecided + full.moved;
  out.reads = 2;
  const auto solve_without = [&](size_t, const Drops& others) {
    const TvOptimum without = optimum(block, others, drop_error, {});
    Sum lack;
    for (size_t x = 0; x < block.outcome_count(); ++x) {
      const double change = out.allocation[x] - block.initial[x];
      const double excess =
          change == 0 ? 0 : change / block.initial[x];  // -1 where mass moved away
      lack.add(block.initial[x] *
               tv_lack(strength - others.below[x], 1 + excess, excess, strength));
    }
    return LeftOut{bounded_optimum(others, without, drop_error), lack.value()};
  };
  conclude(
      {block, reward, drops, bounded_optimum(drops, full, drop_error), open + 16 * kUnitRoundoff},
      scope, solve_without, out);
  return out;
}

}  // namespace candor
