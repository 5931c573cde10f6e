#include "core/block_solver.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"
#include "core/divergence.h"
#include "core/sum.h"

namespace candor {

namespace {

constexpr size_t kNone = static_cast<size_t>(-1);

// s(x) = sum_i w_i rm_i(x) over all groups but `skip`.
double total_reward(const Block& block, size_t x, size_t skip = kNone) {
  double total = 0;
  for (size_t group = 0; group < block.group_count(); ++group) {
    if (group != skip) total += block.sizes[group] * block.rewards[group][x];
  }
  return total;
}

std::vector<double> total_rewards(const Block& block) {
  std::vector<double> totals(block.outcome_count());
  for (size_t x = 0; x < totals.size(); ++x) totals[x] = total_reward(block, x);
  return totals;
}

double weighted_mean(std::span<const double> weights, std::span<const double> values) {
  Sum sum;
  for (size_t x = 0; x < values.size(); ++x) sum.add(weights[x] * values[x]);
  return sum.value();
}

// ---------------------------------------------------------------- KL

// L log sum_x p0(x) exp(s(x)/L), by the largest term; also the shift and the sum that make it up.
struct LogPartition {
  double largest = 0;    // max s
  double partition = 0;  // sum p0 exp((s - largest)/L)
  double value = 0;      // largest + L log partition
};

template <typename Total>
LogPartition log_partition(const Block& block, const Total& total) {
  const double strength = block.divergence.regularization;
  LogPartition out;
  out.largest = -std::numeric_limits<double>::infinity();
  for (size_t x = 0; x < block.outcome_count(); ++x) out.largest = std::max(out.largest, total(x));
  Sum excess;  // sum p0 (e^y - 1): exact near 0, where a plain sum of p0 e^y would lose everything
  for (size_t x = 0; x < block.outcome_count(); ++x) {
    excess.add(block.initial[x] * std::expm1((total(x) - out.largest) / strength));
  }
  out.partition = 1 + excess.value();
  // Where the outcome on top is rare, 1 + excess cancels: sum the positive terms instead.
  if (out.partition < 0.5) {
    Sum sum;
    for (size_t x = 0; x < block.outcome_count(); ++x) {
      sum.add(block.initial[x] * std::exp((total(x) - out.largest) / strength));
    }
    out.partition = sum.value();
    out.value = out.largest + strength * std::log(out.partition);
  } else {
    out.value = out.largest + strength * std::log1p(excess.value());
  }
  return out;
}

// expm1(-y) + y >= 0 without cancellation.
double phi(double y) {
  if (std::abs(y) > 1e-2) return std::expm1(-y) + y;
  // y^2/2 - y^3/6 + ...: seven terms leave 1e-18 of the first at |y| = 1e-2.
  double term = y * y / 2;
  double sum = 0;
  for (int k = 3; k <= 9; ++k) {
    sum += term;
    term *= -y / k;
  }
  return sum;
}

// (1 - b) e^b - 1 = -(b^2/2 + b^3/3 + b^4/8 + ...) for the small b that a pilot centre leaves.
double centring_residual(double b) {
  if (std::abs(b) > 1e-3) return (1 - b) * std::exp(b) - 1;
  return -b * b * (0.5 + b * (1.0 / 3 + b * (0.125 + b / 30)));
}

// Whether group i's own stake is so large beside everything else that its rounding would drown the
// payment: then p_i is better formed as ASW*_{-i} - ASW_{-i}(p*), where w_i does not occur.
bool dominates(const Block& block, size_t group) {
  static constexpr double kDominance = 1e3;
  const auto [low, high] = std::ranges::minmax(block.rewards[group]);
  double other_low = std::numeric_limits<double>::infinity();
  double other_high = -other_low;
  for (size_t x = 0; x < block.outcome_count(); ++x) {
    const double others = total_reward(block, x, group);
    other_low = std::min(other_low, others);
    other_high = std::max(other_high, others);
  }
  return block.sizes[group] * (high - low) >
         kDominance * (other_high - other_low + block.divergence.regularization);
}

// p_i = L log E_{p*}[exp(-w_i (rm_i - v_i)/L)]  (MATH 3), with the centre c the computed v_i, so
// that b = E y is only that computation's rounding. Exponents over 600 go through log-sum-exp.
double kl_payment(const Block& block, size_t group, const std::vector<double>& log_model,
                  const std::vector<double>& model, double centre) {
  const double strength = block.divergence.regularization;
  const double scale = block.sizes[group] / strength;
  Sum mean;
  Sum second;
  double largest = -std::numeric_limits<double>::infinity();
  for (size_t x = 0; x < block.outcome_count(); ++x) {
    const double y = scale * (block.rewards[group][x] - centre);
    largest = std::max(largest, log_model[x] - y);
    mean.add(model[x] * y);
    // p* may underflow where e^{-y} overflows; their product is what counts.
    second.add(std::abs(y) < 100 ? model[x] * phi(y)
                                 : std::exp(log_model[x] - y) - model[x] * (1 - y));
  }
  static constexpr double kLargestExponent = 600;
  if (largest > kLargestExponent) {
    Sum sum;
    for (size_t x = 0; x < block.outcome_count(); ++x) {
      const double y = scale * (block.rewards[group][x] - centre);
      sum.add(std::exp(log_model[x] - y - largest));
    }
    return strength * (largest + std::log(sum.value()) + mean.value());
  }
  const double b = mean.value();
  return std::max(0.0, strength * std::log1p(second.value() * std::exp(b) + centring_residual(b)));
}

BlockSolution solve_kl(const Block& block) {
  const double strength = block.divergence.regularization;
  const size_t m = block.outcome_count();
  const std::vector<double> totals = total_rewards(block);
  const LogPartition full = log_partition(block, [&](size_t x) { return totals[x]; });

  BlockSolution out;
  out.welfare = full.value;
  out.allocation.resize(m);
  std::vector<double> log_model(m);
  const double log_partition_value = std::log(full.partition);
  for (size_t x = 0; x < m; ++x) {
    const double exponent = (totals[x] - full.largest) / strength;
    log_model[x] = std::log(block.initial[x]) + exponent - log_partition_value;
    out.allocation[x] = block.initial[x] * std::exp(exponent) / full.partition;
  }
  out.divergence = block_divergence(block.divergence, out.allocation, block.initial);
  out.gap = std::abs(full.value - (weighted_mean(out.allocation, totals) - out.divergence));
  for (size_t group = 0; group < block.group_count(); ++group) {
    const double centre = weighted_mean(out.allocation, block.rewards[group]);
    const double valuation = block.sizes[group] * centre;
    const auto others = [&](size_t x) { return total_reward(block, x, group); };
    const LogPartition without = log_partition(block, others);
    Sum others_valuation;
    for (size_t x = 0; x < m; ++x) others_valuation.add(out.allocation[x] * others(x));
    // Two derivations of one number; their difference bounds what rounding can have done.
    const double direct = without.value - (others_valuation.value() - out.divergence);
    const double payment = dominates(block, group)
                               ? direct
                               : kl_payment(block, group, log_model, out.allocation, centre);
    out.valuations.push_back(valuation);
    out.payments.push_back(payment);
    out.payment_errors.push_back(std::abs(payment - direct));
  }
  out.reads = 4;
  return out;
}

// ---------------------------------------------------------------- chi2

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
template <typename Total>
Chi2Point solve_chi2_dual(const Block& block, const Total& total) {
  const double strength = block.divergence.regularization;
  Chi2Point point;
  Sum mean;
  double smallest = std::numeric_limits<double>::infinity();
  for (size_t x = 0; x < block.outcome_count(); ++x) {
    mean.add(block.initial[x] * total(x));
    smallest = std::min(smallest, total(x));
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
      if (total(x) - point.mu > -2 * strength) {
        mass.add(block.initial[x]);
        reward.add(block.initial[x] * total(x));
      }
    }
    const double next = (reward.value() - 2 * strength * (1 - mass.value())) / mass.value();
    if (!(next > point.mu)) break;  // monotone: no progress is the end
    point.mu = next;
  }
  return point;
}

// ASW_{-i}(q) - ASW_{-i}(p) with q = argmax ASW_{-i} [ours]: expanding the concave quadratic around
// q,
//   = L sum p0 (r_p - r_q)^2 + sum_{r_q = 0} p0 r_p (mu_q - 2L - s_{-i}),
// every term >= 0, so nothing cancels.
double chi2_payment(const Block& block, size_t group, const std::vector<double>& ratios,
                    const Chi2Point& full, const Chi2Point& without) {
  const double strength = block.divergence.regularization;
  Sum sum;
  if (!full.active && !without.active) {
    // w_i^2 Var_{p0}(rm_i) / (4L), independent of the other groups.
    const double mean = weighted_mean(block.initial, block.rewards[group]);
    for (size_t x = 0; x < block.outcome_count(); ++x) {
      const double centred = block.sizes[group] * (block.rewards[group][x] - mean);
      sum.add(block.initial[x] * centred * centred);
    }
    return sum.value() / (4 * strength);
  }
  for (size_t x = 0; x < block.outcome_count(); ++x) {
    const double total = total_reward(block, x, group);
    const double ratio = chi2_ratio(total, without.mu, strength);
    const double difference = ratios[x] - ratio;
    sum.add(block.initial[x] * strength * difference * difference);
    if (ratio == 0) sum.add(block.initial[x] * ratios[x] * (without.mu - 2 * strength - total));
  }
  return sum.value();
}

// mu + sum p0 f*(s - mu): the dual value, an upper bound for every mu.
template <typename Total>
double chi2_dual_value(const Block& block, const Total& total, double mu) {
  Sum sum;
  for (size_t x = 0; x < block.outcome_count(); ++x) {
    sum.add(block.initial[x] * conjugate(block.divergence, total(x) - mu));
  }
  return mu + sum.value();
}

BlockSolution solve_chi2(const Block& block) {
  const double strength = block.divergence.regularization;
  const size_t m = block.outcome_count();
  // Measured from the top outcome, so that a huge size (a deviation to w_max) costs no accuracy in
  // mu.
  std::vector<double> totals = total_rewards(block);
  const double top = *std::max_element(totals.begin(), totals.end());
  for (double& value : totals) value -= top;
  const auto total = [&](size_t x) { return totals[x]; };
  const Chi2Point full = solve_chi2_dual(block, total);

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
  out.welfare = top + (full.mu + primal.value());
  out.gap = std::abs(chi2_dual_value(block, total, full.mu) - (full.mu + primal.value()));
  for (size_t group = 0; group < block.group_count(); ++group) {
    const double valuation =
        block.sizes[group] * weighted_mean(out.allocation, block.rewards[group]);
    const auto others = [&](size_t x) { return total_reward(block, x, group); };
    const Chi2Point without = solve_chi2_dual(block, others);
    const double payment = chi2_payment(block, group, ratios, full, without);
    out.valuations.push_back(valuation);
    out.payments.push_back(payment);
    out.payment_errors.push_back(std::abs(
        payment - (chi2_dual_value(block, others, without.mu) - (out.welfare - valuation))));
  }
  out.reads = 6;
  return out;
}

}  // namespace

Block block_of(const Game& game, size_t index) {
  CANDOR_CHECK(index < game.block_count());
  const size_t begin = game.block_begin[index];
  const size_t count = game.block_begin[index + 1] - begin;
  Block block;
  block.divergence = game.divergence;
  block.initial = std::span(game.initial).subspan(begin, count);
  for (const Report& report : game.groups) {
    block.rewards.push_back(std::span(report.reward).subspan(begin, count));
    block.sizes.push_back(report.group_size);
  }
  return block;
}

BlockSolution solve_block(const Block& block) {
  switch (block.divergence.kind) {
    case DivergenceKind::kKl:
      return solve_kl(block);
    case DivergenceKind::kChi2:
      return solve_chi2(block);
  }
  CANDOR_CHECK(false, "unknown divergence");
}

Block keep_groups(const Block& block, std::span<const size_t> groups) {
  Block chosen{
      .divergence = block.divergence, .initial = block.initial, .rewards = {}, .sizes = {}};
  for (const size_t group : groups) {
    chosen.rewards.push_back(block.rewards[group]);
    chosen.sizes.push_back(block.sizes[group]);
  }
  return chosen;
}

}  // namespace candor
