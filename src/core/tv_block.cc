#include <algorithm>
#include <cmath>

#include "core/block_parts.h"
#include "core/divergence.h"
#include "core/sum.h"

namespace candor {

namespace {

// Whether the groups, asked in order, would rather have outcome a than b: the tie order of MATH 1.
bool precedes(const Block& block, size_t a, size_t b) {
  for (const auto& reward : block.rewards) {
    if (reward[a] != reward[b]) return reward[a] > reward[b];
  }
  return a < b;
}

size_t best_outcome(const Block& block, std::span<const double> totals) {
  size_t best = 0;
  for (size_t x = 1; x < totals.size(); ++x) {
    if (totals[x] > totals[best] || (totals[x] == totals[best] && precedes(block, x, best))) {
      best = x;
    }
  }
  return best;
}

// Every outcome that lies more than 2L below the best gives it all its mass: moving a unit of mass
// from x gains s(best) - s(x) and costs 2L.
std::vector<double> optimum(const Block& block, std::span<const double> totals) {
  const size_t best = best_outcome(block, totals);
  std::vector<double> model(block.initial.begin(), block.initial.end());
  Sum moved;
  for (size_t x = 0; x < model.size(); ++x) {
    const double surplus = totals[best] - totals[x] - 2 * block.divergence.regularization;
    if (x == best || surplus < 0 || (surplus == 0 && precedes(block, x, best))) continue;
    moved.add(model[x]);
    model[x] = 0;
  }
  model[best] += moved.value();
  return model;
}

}  // namespace

double tv_lack(double slope, double ratio, double excess, double strength) {
  if (ratio == 0) return std::max(0.0, slope + strength);
  const double below = std::max(0.0, -strength - slope);
  return excess > 0 ? (strength - slope) * excess + below : below;
}

// mu = max s - L is the dual variable of every tv problem, so a payment is the sum over outcomes of
// what p* lacks to ASW*_{-i} there.
BlockSolution solve_tv(const Block& block) {
  const double strength = block.divergence.regularization;
  const TotalReward reward(block);
  const std::vector<double>& totals = reward.everywhere();
  const double highest = std::ranges::max(totals);
  const auto lack = [&](std::span<const double> of, const std::vector<double>& model) {
    const double top = std::ranges::max(of);
    Sum sum;
    for (size_t x = 0; x < model.size(); ++x) {
      const double excess = (model[x] - block.initial[x]) / block.initial[x];
      sum.add(block.initial[x] *
              tv_lack(of[x] - top + strength, model[x] / block.initial[x], excess, strength));
    }
    return sum.value();
  };
  BlockSolution out;
  out.allocation = optimum(block, totals);
  out.divergence = block_divergence(block.divergence, out.allocation, block.initial);
  Sum value;  // less max s
  for (size_t x = 0; x < totals.size(); ++x) value.add(out.allocation[x] * (totals[x] - highest));
  out.welfare = reward.constant() + (highest + (value.value() - out.divergence));
  out.gap = lack(totals, out.allocation);
  out.reads = 2;
  const double steepness = range_of(totals) / strength;
  for (size_t group = 0; group < block.group_count(); ++group) {
    const TotalReward::Others others = reward.without(group);
    const std::vector<double> chosen = optimum(block, others.totals);
    const double welfare_without = weighted_mean(chosen, others.totals) -
                                   block_divergence(block.divergence, chosen, block.initial);
    out.valuations.push_back(block.sizes[group] *
                             weighted_mean(out.allocation, block.rewards[group]));
    add_payment(out, {lack(others.totals, out.allocation), welfare_without,
                      weighted_mean(out.allocation, others.totals), steepness});
  }
  return out;
}

}  // namespace candor
