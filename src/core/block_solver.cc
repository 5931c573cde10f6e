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

// s(x) = sum_i w_i (rm_i(x) - max rm_i) over all groups but `skip`: the total reward up to a
// constant. Measured from each group's top, so that a huge group that likes two outcomes equally (a
// deviation to w_max) leaves the others' digits intact there, and a constant reward counts nothing.
class TotalReward {
 public:
  explicit TotalReward(const Block& block) : block_(block) {
    for (const auto& reward : block.rewards) tops_.push_back(*std::ranges::max_element(reward));
  }
  [[nodiscard]] double at(size_t x, size_t skip = kNone) const {
    double total = 0;
    for (size_t group = 0; group < tops_.size(); ++group) {
      if (group != skip) {
        total += block_.sizes[group] * (block_.rewards[group][x] - tops_[group]);
      }
    }
    return total;
  }
  [[nodiscard]] std::vector<double> everywhere() const {
    std::vector<double> totals(block_.outcome_count());
    for (size_t x = 0; x < totals.size(); ++x) totals[x] = at(x);
    return totals;
  }
  // What welfare lacks where it is computed from these totals.
  [[nodiscard]] double constant() const {
    Sum sum;
    for (size_t group = 0; group < tops_.size(); ++group) {
      sum.add(block_.sizes[group] * tops_[group]);
    }
    return sum.value();
  }

 private:
  const Block& block_;
  std::vector<double> tops_;  // [n]
};

double weighted_mean(std::span<const double> weights, std::span<const double> values) {
  Sum sum;
  for (size_t x = 0; x < values.size(); ++x) sum.add(weights[x] * values[x]);
  return sum.value();
}

double range_of(std::span<const double> values) {
  const auto [low, high] = std::ranges::minmax(values);
  return high - low;
}

struct PaymentRoute {
  double payment;
  double welfare_without;   // ASW*_{-i}
  double others_valuation;  // at p*
  double steepness;         // (max s - min s)/L: how wide the exponents or ratios of p* are spread
};

// Records a payment with a bound on its error: its distance from the plain subtraction
// ASW*_{-i} - (others' valuation - divergence), and what rounding does, to first order, to that
// subtraction and to the model.
void add_payment(BlockSolution& out, const PaymentRoute& route) {
  const double direct = route.welfare_without - (route.others_valuation - out.divergence);
  const double magnitude = std::abs(route.welfare_without) + std::abs(route.others_valuation) +
                           out.divergence + std::abs(route.payment) * (1 + route.steepness);
  out.payments.push_back(route.payment);
  out.payment_errors.push_back(std::abs(route.payment - direct) +
                               16 * std::numeric_limits<double>::epsilon() * magnitude);
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
bool dominates(const Block& block, const TotalReward& reward, size_t group) {
  static constexpr double kDominance = 1e3;
  double other_low = std::numeric_limits<double>::infinity();
  double other_high = -other_low;
  for (size_t x = 0; x < block.outcome_count(); ++x) {
    const double others = reward.at(x, group);
    other_low = std::min(other_low, others);
    other_high = std::max(other_high, others);
  }
  return block.sizes[group] * range_of(block.rewards[group]) >
         kDominance * (other_high - other_low + block.divergence.regularization);
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

BlockSolution solve_kl(const Block& block) {
  const double strength = block.divergence.regularization;
  const size_t m = block.outcome_count();
  const TotalReward reward(block);
  const std::vector<double> totals = reward.everywhere();
  const double steepness = range_of(totals) / strength;
  const LogPartition full = log_partition(block, [&](size_t x) { return totals[x]; });

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
    const auto others = [&](size_t x) { return reward.at(x, group); };
    const LogPartition without = log_partition(block, others);
    Sum others_valuation;
    for (size_t x = 0; x < m; ++x) others_valuation.add(model.value[x] * others(x));
    double payment = 0;  // of a constant reward
    if (dominates(block, reward, group)) {
      payment = without.value - (others_valuation.value() - out.divergence);
    } else if (range_of(block.rewards[group]) > 0) {
      payment = kl_payment(block, group, model, centre);
    }
    out.valuations.push_back(valuation);
    add_payment(out, {payment, without.value, others_valuation.value(), steepness});
  }
  out.allocation = std::move(model.value);
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

// A leave-one-out problem of chi2: s_{-i} up to a constant, and its dual variable.
template <typename Total>
struct Chi2Others {
  const Total& total;
  double mu;
  double strength;

  // t = 1 + (s_{-i} - mu)/(2L), so that r_q = max(0, t).
  [[nodiscard]] double slack(size_t x) const { return 1 + (total(x) - mu) / (2 * strength); }
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
template <typename Total>
double chi2_payment(const Block& block, size_t group, const Chi2Others<Total>& others,
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
  const TotalReward reward(block);
  std::vector<double> totals = reward.everywhere();
  const double steepness = range_of(totals) / strength;
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
  out.welfare = reward.constant() + (top + (full.mu + primal.value()));
  out.gap = std::abs(chi2_dual_value(block, total, full.mu) - (full.mu + primal.value()));
  for (size_t group = 0; group < block.group_count(); ++group) {
    const double valuation =
        block.sizes[group] * weighted_mean(out.allocation, block.rewards[group]);
    double others_top = -std::numeric_limits<double>::infinity();
    for (size_t x = 0; x < m; ++x) others_top = std::max(others_top, reward.at(x, group));
    const auto others = [&](size_t x) { return reward.at(x, group) - others_top; };
    const Chi2Point without = solve_chi2_dual(block, others);
    const Chi2Others<decltype(others)> problem{others, without.mu, strength};
    double payment = 0;  // of a constant reward
    if (range_of(block.rewards[group]) > 0) {
      payment = chi2_payment(block, group, problem, ratios, dominates(block, reward, group));
    }
    Sum others_valuation;
    for (size_t x = 0; x < m; ++x) others_valuation.add(out.allocation[x] * others(x));
    out.valuations.push_back(valuation);
    add_payment(out, {payment, chi2_dual_value(block, others, without.mu), others_valuation.value(),
                      steepness});
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
