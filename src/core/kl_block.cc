#include <algorithm>
#include <cmath>
#include <limits>

#include "core/block_parts.h"
#include "core/divergence.h"
#include "core/sum.h"

namespace candor {

namespace {

// L log sum_x p0(x) exp(s(x)/L), by the largest term; also the shift and the sum that make it up.
struct LogPartition {
  double largest = 0;    // max s
  double partition = 0;  // sum p0 exp((s - largest)/L)
  double value = 0;      // largest + L log partition
};

LogPartition log_partition(const Block& block, std::span<const double> totals) {
  const double strength = block.divergence.regularization;
  LogPartition out;
  out.largest = std::ranges::max(totals);
  Sum excess;  // sum p0 (e^y - 1): exact near 0, where a plain sum of p0 e^y would lose everything
  for (size_t x = 0; x < block.outcome_count(); ++x) {
    excess.add(block.initial[x] * std::expm1((totals[x] - out.largest) / strength));
  }
  out.partition = 1 + excess.value();
  // Where the outcome on top is rare, 1 + excess cancels: sum the positive terms instead.
  if (out.partition < 0.5) {
    Sum sum;
    for (size_t x = 0; x < block.outcome_count(); ++x) {
      sum.add(block.initial[x] * std::exp((totals[x] - out.largest) / strength));
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

// p*, and its logarithm where it underflows.
struct KlModel {
  std::vector<double> log;    // [m]
  std::vector<double> value;  // [m]
};

// p_i = L log E_{p*}[exp(-w_i (rm_i - v_i)/L)]  (MATH 3), with the centre c the computed v_i, so
// that b = E y is only that computation's rounding. Exponents over 600 go through log-sum-exp.
double kl_payment(const Block& block, size_t group, const KlModel& model, double centre) {
  const double strength = block.divergence.regularization;
  const double scale = block.sizes[group] / strength;
  Sum mean;
  Sum second;
  double largest = -std::numeric_limits<double>::infinity();
  for (size_t x = 0; x < block.outcome_count(); ++x) {
    const double y = scale * (block.rewards[group][x] - centre);
    largest = std::max(largest, model.log[x] - y);
    mean.add(model.value[x] * y);
    // p* may underflow where e^{-y} overflows; their product is what counts.
    second.add(std::abs(y) < 100 ? model.value[x] * phi(y)
                                 : std::exp(model.log[x] - y) - model.value[x] * (1 - y));
  }
  static constexpr double kLargestExponent = 600;
  if (largest > kLargestExponent) {
    Sum sum;
    for (size_t x = 0; x < block.outcome_count(); ++x) {
      const double y = scale * (block.rewards[group][x] - centre);
      sum.add(std::exp(model.log[x] - y - largest));
    }
    return strength * (largest + std::log(sum.value()) + mean.value());
  }
  const double b = mean.value();
  return std::max(0.0, strength * std::log1p(second.value() * std::exp(b) + centring_residual(b)));
}

}  // namespace

BlockSolution solve_kl(const Block& block) {
  const double strength = block.divergence.regularization;
  const size_t m = block.outcome_count();
  const TotalReward reward(block);
  const std::vector<double>& totals = reward.everywhere();
  const double steepness = range_of(totals) / strength;
  const LogPartition full = log_partition(block, totals);

  BlockSolution out;
  out.welfare = reward.constant() + full.value;
  KlModel model{.log = std::vector<double>(m), .value = std::vector<double>(m)};
  const double log_partition_value = std::log(full.partition);
  for (size_t x = 0; x < m; ++x) {
    const double exponent = (totals[x] - full.largest) / strength;
    model.log[x] = std::log(block.initial[x]) + exponent - log_partition_value;
    model.value[x] = block.initial[x] * std::exp(exponent) / full.partition;
  }
  out.divergence = block_divergence(block.divergence, model.value, block.initial);
  out.gap = std::abs(full.value - (weighted_mean(model.value, totals) - out.divergence));
  for (size_t group = 0; group < block.group_count(); ++group) {
    const double centre = weighted_mean(model.value, block.rewards[group]);
    const double valuation = block.sizes[group] * centre;
    const TotalReward::Others others = reward.without(group);
    const LogPartition without = log_partition(block, others.totals);
    const double others_valuation = weighted_mean(model.value, others.totals);
    double payment = 0;  // of a constant reward
    if (others.dominant) {
      payment = without.value - (others_valuation - out.divergence);
    } else if (range_of(block.rewards[group]) > 0) {
      payment = kl_payment(block, group, model, centre);
    }
    out.valuations.push_back(valuation);
    add_payment(out, {payment, without.value, others_valuation, steepness});
  }
  out.allocation = std::move(model.value);
  out.reads = 4;
  return out;
}

}  // namespace candor
