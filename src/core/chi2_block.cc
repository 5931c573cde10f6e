#include <algorithm>
#include <cmath>
#include <limits>

#include "core/block_parts.h"
#include "core/divergence.h"
#include "core/sum.h"

namespace candor {

namespace {

// One chi2 problem: the dual variable mu and whether some outcome loses all its mass.
struct Chi2Point {
  double mu = 0;
  bool active = false;
  double mean = 0;  // of the totals under p0
};

double chi2_ratio(double total, double mu, double strength) {
  return std::max(0.0, 1 + (total - mu) / (2 * strength));
}

// sum_x p0 max(0, 1 + (s - mu)/(2L)) = 1. The left side is convex, decreasing and piecewise linear
// in mu, so Newton from the inactive solution mu = mean (where it is >= 1) goes up monotonically
// and ends after finitely many steps, exactly on a piece. Differences to the top outcome keep
// accuracy.
Chi2Point solve_chi2_dual(const Block& block, std::span<const double> totals) {
  const double strength = block.divergence.regularization;
  Chi2Point point;
  Sum mean;
  double smallest = std::numeric_limits<double>::infinity();
  for (size_t x = 0; x < block.outcome_count(); ++x) {
    mean.add(block.initial[x] * totals[x]);
    smallest = std::min(smallest, totals[x]);
  }
  point.mean = mean.value();
  point.mu = point.mean;
  if (point.mean - smallest <= 2 * strength) return point;
  point.active = true;
  for (size_t step = 0; step <= block.outcome_count() + 2; ++step) {
    // On the piece where the set {s > mu - 2L} carries mass: mu = E[s | set] + 2L (1 - 1/mass).
    Sum mass;
    Sum reward;
    for (size_t x = 0; x < block.outcome_count(); ++x) {
      if (totals[x] - point.mu > -2 * strength) {
        mass.add(block.initial[x]);
        reward.add(block.initial[x] * totals[x]);
      }
    }
    const double next = (reward.value() - 2 * strength * (1 - mass.value())) / mass.value();
    if (!(next > point.mu)) break;  // monotone: no progress is the end
    point.mu = next;
  }
  return point;
}

// A leave-one-out problem of chi2: s_{-i} up to a constant, and its dual variable.
struct Chi2Others {
  std::span<const double> totals;
  double mu;
  double strength;

  // t = 1 + (s_{-i} - mu)/(2L), so that r_q = max(0, t).
  [[nodiscard]] double slack(size_t x) const { return 1 + (totals[x] - mu) / (2 * strength); }
};

// ASW_{-i}(q) - ASW_{-i}(p) with q = argmax ASW_{-i} [ours]. Expanding the concave quadratic around
// q:
//   p_i = L sum p0 (r_p - r_q)^2 - 2L sum_{t <= 0} p0 r_p t,   every term >= 0.
// r_p - r_q is not formed as a difference of two ratios that agree in nearly every digit where w_i
// is small. With P, Q the outcomes that p, q keep and d = mu_p - mu_q:
//   r_p - r_q = (w_i rm_i - d)/(2L) on both,   sum_P p0 (t + (w_i rm_i - d)/(2L)) = 1 = sum_Q p0 t,
// so d comes from P and the outcomes in which P and Q differ. Where P = Q the payment is
// w_i^2 p0(P) Var_P(rm_i)/(4L); where both are everything, MATH 3's, independent of the others.
// Where group i outweighs everything else (`dominant`) the difference is accurate, and it prices
// the p that was computed, whatever its rounding.
double chi2_payment(const Block& block, size_t group, const Chi2Others& others,
                    const std::vector<double>& ratios, bool dominant) {
  const double strength = block.divergence.regularization;
  Sum mass;    // p0(P)
  Sum reward;  // sum_P p0 rm_i
  Sum moved;   // sum_{P without Q} p0 t - sum_{Q without P} p0 t
  for (size_t x = 0; x < block.outcome_count(); ++x) {
    const bool kept = ratios[x] > 0;
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
    double change = ratios[x] - std::max(0.0, slack);
    if (!dominant && ratios[x] > 0 && slack > 0) {
      change = block.sizes[group] * (block.rewards[group][x] - mean) / (2 * strength) - lift;
    }
    sum.add(block.initial[x] * strength * change * change);
    if (slack <= 0) sum.add(-2 * strength * block.initial[x] * ratios[x] * slack);
  }
  return sum.value();
}

// mu + sum p0 f*(s - mu): the dual value, an upper bound for every mu.
double chi2_dual_value(const Block& block, std::span<const double> totals, double mu) {
  Sum sum;
  for (size_t x = 0; x < block.outcome_count(); ++x) {
    sum.add(block.initial[x] * conjugate(block.divergence, totals[x] - mu));
  }
  return mu + sum.value();
}

}  // namespace

BlockSolution solve_chi2(const Block& block) {
  const double strength = block.divergence.regularization;
  const size_t m = block.outcome_count();
  // Measured from the top outcome, so that a huge size (a deviation to w_max) costs no accuracy in
  // mu.
  const TotalReward reward(block);
  std::vector<double> totals = reward.everywhere();
  const double steepness = range_of(totals) / strength;
  const double top = *std::max_element(totals.begin(), totals.end());
  for (double& value : totals) value -= top;
  const Chi2Point full = solve_chi2_dual(block, totals);

  BlockSolution out;
  out.allocation.resize(m);
  std::vector<double> ratios(m);
  for (size_t x = 0; x < m; ++x) ratios[x] = chi2_ratio(totals[x], full.mu, strength);
  // The mass is 1 up to rounding; made exact, because payments compare distributions.
  const double mass = weighted_mean(block.initial, ratios);
  for (size_t x = 0; x < m; ++x) {
    ratios[x] /= mass;
    out.allocation[x] = block.initial[x] * ratios[x];
  }
  Sum primal;  // mu + sum p0 (r (s - mu) - L (r-1)^2): centred, so mu's size does no harm
  Sum divergence;
  for (size_t x = 0; x < m; ++x) {
    const double excess = ratios[x] - 1;
    divergence.add(block.initial[x] * strength * excess * excess);
    primal.add(block.initial[x] * (ratios[x] * (totals[x] - full.mu) - strength * excess * excess));
  }
  out.divergence = divergence.value();
  out.welfare = reward.constant() + (top + (full.mu + primal.value()));
  out.gap = std::abs(chi2_dual_value(block, totals, full.mu) - (full.mu + primal.value()));
  for (size_t group = 0; group < block.group_count(); ++group) {
    const double valuation =
        block.sizes[group] * weighted_mean(out.allocation, block.rewards[group]);
    TotalReward::Others others = reward.without(group);
    const double others_top = std::ranges::max(others.totals);
    for (double& value : others.totals) value -= others_top;
    const Chi2Point without = solve_chi2_dual(block, others.totals);
    double payment = 0;  // of a constant reward
    if (range_of(block.rewards[group]) > 0) {
      payment = chi2_payment(block, group, {others.totals, without.mu, strength}, ratios,
                             others.dominant);
    }
    out.valuations.push_back(valuation);
    add_payment(out, {payment, chi2_dual_value(block, others.totals, without.mu),
                      weighted_mean(out.allocation, others.totals), steepness});
  }
  out.reads = 6;
  return out;
}

}  // namespace candor
