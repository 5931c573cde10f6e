#include <algorithm>
#include <cmath>
#include <variant>

#include "core/block_parts.h"
#include "core/divergence_law.h"
#include "core/dual_search.h"
#include "core/sum.h"

namespace candor {

namespace {

// One problem of the block: s(x) - f'(r(x)) = mu where r > 0, sum p0 r = 1 (MATH 3). With
// `drop(x) = max s - s(x) >= 0` the depth of outcome x is v + drop(x), v the depth of the top
// outcome: the one unknown.
struct Problem {
  std::span<const double> initial;
  std::vector<double> drops;  // [m], 0 at the top
  double top_mass = 0;        // p0 of all outcomes with drop 0
};

Problem problem_of(std::span<const double> initial, std::span<const double> totals) {
  Problem problem{.initial = initial, .drops = {}};
  const double highest = std::ranges::max(totals);
  Sum top;
  for (size_t x = 0; x < totals.size(); ++x) {
    problem.drops.push_back(highest - totals[x]);
    if (problem.drops.back() == 0) top.add(initial[x]);
  }
  problem.top_mass = std::min(1.0, top.value());
  return problem;
}

// Total mass at v and minus its derivative, sum p0 / f''.
struct Mass {
  double value = 0;
  double steepness = 0;
};

template <typename Law>
Mass mass_at(const Law& law, const Problem& problem, double v) {
  Sum value;
  Sum steepness;
  for (size_t x = 0; x < problem.drops.size(); ++x) {
    const double ratio = law.ratio(v + problem.drops[x]);
    value.add(problem.initial[x] * ratio);
    if (ratio > 0) steepness.add(problem.initial[x] / law.curvature(ratio));
  }
  return {value.value(), steepness.value()};
}

struct Root {
  double depth = 0;            // v
  std::vector<double> ratios;  // [m], r, of mass 1 up to the rounding of one sum
  int reads = 0;
};

// r at v = root.depth. For alpha > 2 an outcome at the edge of losing its mass can have ratios far
// apart at neighbouring doubles v: then the r in between, of mass 1, solve the problem.
template <typename Law>
std::vector<double> ratios_at(const Law& law, const Problem& problem, double low, double high) {
  const size_t m = problem.drops.size();
  std::vector<double> at_low(m);
  std::vector<double> at_high(m);
  for (size_t x = 0; x < m; ++x) {
    at_low[x] = law.ratio(low + problem.drops[x]);
    at_high[x] = low == high ? at_low[x] : law.ratio(high + problem.drops[x]);
  }
  const double more = weighted_mean(problem.initial, at_low);
  const double less = weighted_mean(problem.initial, at_high);
  const double share = more > less ? (1 - less) / (more - less) : 1;
  for (size_t x = 0; x < m; ++x) at_low[x] = share * at_low[x] + (1 - share) * at_high[x];
  return at_low;
}

// The v with mass 1.
template <typename Law>
Root solve_dual(const Law& law, const Problem& problem, double strength) {
  DualSearch search(dual_bracket(law, std::ranges::max(problem.drops), problem.top_mass, strength));
  Root root;
  while (!search.done()) {
    const Mass mass = mass_at(law, problem, search.depth());
    search.tell(mass.value, mass.steepness);
    ++root.reads;
  }
  root.depth = search.best_depth();
  root.ratios = ratios_at(law, problem, search.low(), search.high());
  return root;
}

// mu + sum p0 f*(s - mu), less max s: the dual value at v.
template <typename Law>
double dual_value(const Law& law, const Problem& problem, double v) {
  Sum sum;
  for (size_t x = 0; x < problem.drops.size(); ++x) {
    sum.add(problem.initial[x] * law.conjugate_at(law.ratio(v + problem.drops[x])));
  }
  return (v - law.top()) + sum.value();
}

// The leave-one-out problem of one group beside the full one.
template <typename Law>
struct Pair {
  const Law& law;
  const std::vector<double>& ratios;  // r of p*, [m]
  const std::vector<double>& stakes;  // w_i (rm_i - v_i), [m]: accurate however small w_i is
  const Problem& without;
  const Root& other;  // the solution q of `without`
};

// r_q(x) - r_p(x) for every outcome. Where p and q are close they are not subtracted: the slopes
// differ by d - stake(x), d = mu_p - mu_q up to the centre of the stakes, and d is refined until
// the differences carry no mass.
struct Others {
  std::vector<double> ratios;       // [m], r_q
  std::vector<double> differences;  // [m], r_q - r_p: more than the ratios tell where p ~ q
};

template <typename Law>
Others others_of(const Pair<Law>& pair, bool dominant) {
  const size_t m = pair.ratios.size();
  Others others{.ratios = pair.other.ratios, .differences = std::vector<double>(m)};
  std::vector<double>& direct = others.ratios;
  std::vector<double>& out = others.differences;
  std::vector<bool> close(m);
  Sum far_mass;
  for (size_t x = 0; x < m; ++x) {
    out[x] = direct[x] - pair.ratios[x];
    close[x] = direct[x] < 2 * pair.ratios[x] && pair.ratios[x] < 2 * direct[x];
    // So near the pole that the rounding of a stake outweighs it, subtracting ratios is better.
    static constexpr double kNearPole = 1e-3;
    if (close[x] && pair.law.has_pole()) {
      close[x] = pair.law.depth(pair.ratios[x]) > kNearPole * std::abs(pair.stakes[x]);
    }
    if (!close[x]) far_mass.add(pair.without.initial[x] * (direct[x] + pair.ratios[x]));
  }
  // With much mass far apart the payment is no small difference; and the rounding of that mass
  // would be poured into d.
  static constexpr double kMuch = 0.01;
  if (dominant || far_mass.value() > kMuch) return others;
  // First d = f'(r_q) - f'(r_p) + stake, averaged over the close ones by p0/f'', then Newton.
  Sum guess;
  Sum weight;
  for (size_t x = 0; x < m; ++x) {
    if (!close[x]) continue;
    const double w = pair.without.initial[x] / pair.law.curvature(pair.ratios[x]);
    weight.add(w);
    guess.add(w * (pair.stakes[x] + pair.law.depth(pair.ratios[x]) - pair.law.depth(direct[x])));
  }
  if (!(weight.value() > 0)) return others;
  double shift = guess.value() / weight.value();
  for (int step = 0; step < 3; ++step) {
    Sum excess;
    Sum slope;
    for (size_t x = 0; x < m; ++x) {
      if (close[x]) out[x] = pair.law.difference(pair.ratios[x], shift - pair.stakes[x]);
      excess.add(pair.without.initial[x] * out[x]);
      const double ratio = pair.ratios[x] + out[x];
      if (close[x] && ratio > 0) slope.add(pair.without.initial[x] / pair.law.curvature(ratio));
    }
    const double move = excess.value() / slope.value();
    if (!std::isfinite(move)) break;
    shift -= move;
  }
  for (size_t x = 0; x < m; ++x) {
    if (!close[x]) continue;
    out[x] = pair.law.difference(pair.ratios[x], shift - pair.stakes[x]);
    direct[x] = pair.ratios[x] + out[x];
  }
  return others;
}

// p_i = ASW_{-i}(q) - ASW_{-i}(p) [ours]: with s_{-i} = f'(r_q) + mu_q where r_q > 0,
//   p_i = sum p0 [ f(r_p) - f(r_q) - f'(r_q)(r_p - r_q) ] + sum_{r_q = 0} p0 r_p (f'(0) - s_{-i} +
//   mu_q),
// every term >= 0.
template <typename Law>
double payment_of(const Pair<Law>& pair, bool dominant) {
  const Others others = others_of(pair, dominant);
  Sum sum;
  for (size_t x = 0; x < others.ratios.size(); ++x) {
    const double depth = pair.other.depth + pair.without.drops[x];
    sum.add(pair.without.initial[x] * bregman_at_depth(pair.law, pair.ratios[x], others.ratios[x],
                                                       -others.differences[x], depth));
  }
  return sum.value();
}

template <typename Law>
BlockSolution solve_with(const Law& law, const Block& block) {
  const size_t m = block.outcome_count();
  const TotalReward reward(block);
  const std::vector<double>& totals = reward.everywhere();
  const double highest = std::ranges::max(totals);
  const double strength = block.divergence.regularization;
  const double steepness = range_of(totals) / strength;
  const Problem full = problem_of(block.initial, totals);
  const Root root = solve_dual(law, full, strength);

  BlockSolution out;
  out.allocation.resize(m);
  std::vector<double> ratios = root.ratios;
  // The mass is 1 up to rounding; made exact, because payments compare distributions.
  const double mass = weighted_mean(block.initial, ratios);
  for (size_t x = 0; x < m; ++x) {
    ratios[x] /= mass;
    out.allocation[x] = block.initial[x] * ratios[x];
  }
  out.divergence = block_divergence(block.divergence, out.allocation, block.initial);
  Sum primal;  // less the constant and max s
  for (size_t x = 0; x < m; ++x) primal.add(-out.allocation[x] * full.drops[x]);
  const double value = primal.value() - out.divergence;
  out.welfare = reward.constant() + (highest + value);
  out.gap = std::abs(dual_value(law, full, root.depth) - value);
  out.reads = root.reads;
  std::vector<double> stakes(m);
  for (size_t group = 0; group < block.group_count(); ++group) {
    const std::span<const double> own = block.rewards[group];
    const double mean = weighted_mean(out.allocation, own);
    const TotalReward::Others others = reward.without(group);
    const Problem without = problem_of(block.initial, others.totals);
    const Root other_root = solve_dual(law, without, strength);
    for (size_t x = 0; x < m; ++x) stakes[x] = block.sizes[group] * (own[x] - mean);
    double payment = 0;  // of a constant reward
    if (range_of(own) > 0) {
      payment = payment_of<Law>({law, ratios, stakes, without, other_root}, others.dominant);
    }
    out.valuations.push_back(block.sizes[group] * mean);
    const double welfare_without =
        std::ranges::max(others.totals) + dual_value(law, without, other_root.depth);
    add_payment(
        out, {payment, welfare_without, weighted_mean(out.allocation, others.totals), steepness});
    out.reads = std::max(out.reads, other_root.reads);
  }
  return out;
}

}  // namespace

BlockSolution solve_smooth(const Block& block) {
  return std::visit([&](const auto& law) { return solve_with(law, block); },
                    law_of(block.divergence));
}

}  // namespace candor
