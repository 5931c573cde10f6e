#include "core/block_solver.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/check.h"
#include "core/block_parts.h"
#include "core/divergence.h"
#include "core/sum.h"

namespace candor {

TotalReward::TotalReward(const Block& block)
    : block_(block), high_(block.outcome_count()), low_(block.outcome_count()) {
  double scale = 0;
  extremes_.reserve(block.group_count());
  for (size_t group = 0; group < block.group_count(); ++group) {
    exact_ = reward::add_stakes(stakes(group), high_.size(), {high_.data(), low_.data()}) && exact_;
    find_extremes(group);
    scale += block.sizes[group] * std::max(std::abs(lowest(group)), std::abs(greatest(group)));
  }
  // Of n + 2 operations in double-double arithmetic, and of products that underflow.
  static constexpr double kRelative = 0x1p-100;
  static constexpr double kUnderflow = 0x1p-1060;
  error_ = static_cast<double>(block.group_count() + 2) * (kRelative * scale + kUnderflow);
}

void TotalReward::find_extremes(size_t group) {
  const std::span<const double> reward = block_.rewards[group];
  const auto less = [&](size_t a, size_t b) {
    return reward[a] != reward[b] ? reward[a] < reward[b]
                                  : block_.rest(group, a) < block_.rest(group, b);
  };
  size_t top = 0;
  size_t bottom = 0;
  for (size_t x = 1; x < reward.size(); ++x) {
    if (reward[x] >= reward[top] && less(top, x)) top = x;
    if (reward[x] <= reward[bottom] && less(x, bottom)) bottom = x;
  }
  extremes_.push_back({top, bottom, 0});
  extremes_[group].range = stake_below(group, bottom) * (1 + 8 * kUnitRoundoff);
}

reward::Stakes TotalReward::stakes(size_t group) const {
  return {.size = block_.sizes[group],
          .reward = block_.rewards[group].data(),
          .rest = has_rests(group) ? block_.rests[group].data() : nullptr};
}

DoubleDouble TotalReward::stake(size_t group, size_t outcome) const {
  DoubleDouble product = exact_product(block_.sizes[group], block_.rewards[group][outcome]);
  product.low += block_.sizes[group] * block_.rest(group, outcome);
  return product;
}

double TotalReward::stake_below(size_t group, size_t outcome) const {
  const size_t top = extremes_[group].top;
  if (!has_rests(group)) {
    return block_.sizes[group] * (block_.rewards[group][top] - block_.rewards[group][outcome]);
  }
  const DoubleDouble apart = exact_sum(block_.rewards[group][top], -block_.rewards[group][outcome]);
  const double more = apart.low + (block_.rest(group, top) - block_.rest(group, outcome));
  return block_.sizes[group] * (apart.high + more);
}

double TotalReward::mean_below(size_t group, std::span<const double> model) const {
  Sum sum;
  if (has_rests(group)) {
    for (size_t x = 0; x < model.size(); ++x) sum.add(model[x] * stake_below(group, x));
    return sum.value();
  }
  const std::span<const double> reward = block_.rewards[group];
  const double top = greatest(group);
  for (size_t x = 0; x < model.size(); ++x) {
    sum.add(model[x] * (block_.sizes[group] * (top - reward[x])));
  }
  return sum.value();
}

// `out` holds totals, which become drops below their highest; group `skip` is not in them.
void TotalReward::drop_from_highest(size_t skip, Drops& out) const {
  const reward::Numbers numbers{out.below.data(), out.rest.data()};
  const size_t count = out.below.size();
  out.highest = reward::highest(count, numbers);
  out.exact = reward::subtract_from(out.highest, count, numbers) && exact_;
  out.ties_exact = out.exact;
  if (out.exact) return;
  const auto top = static_cast<size_t>(std::ranges::find(out.below, 0.0) - out.below.begin());
  out.ties_exact = true;
  for (size_t x = top + 1; x < count && out.ties_exact; ++x) {
    out.ties_exact = out.below[x] != 0 || same_rewards(skip, x, top);
  }
}

bool TotalReward::same_rewards(size_t skip, size_t a, size_t b) const {
  for (size_t group = 0; group < block_.group_count(); ++group) {
    if (group == skip) continue;
    if (block_.rewards[group][a] != block_.rewards[group][b]) return false;
    if (block_.rest(group, a) != block_.rest(group, b)) return false;
  }
  return true;
}

void TotalReward::everyone(Drops& out) const {
  out.below = high_;
  out.rest = low_;
  drop_from_highest(block_.group_count(), out);
}

void TotalReward::without(size_t group, Drops& out) const {
  out.below.resize(high_.size());
  out.rest.resize(high_.size());
  reward::subtract_stakes(stakes(group), high_.size(), {high_.data(), low_.data()},
                          {out.below.data(), out.rest.data()});
  drop_from_highest(group, out);
  // Taking the stake away again may leave its rounding where outcomes tie: then add up anew.
  const bool noise = std::ranges::any_of(
      out.below, [&](double below) { return below > 0 && below <= drop_error(); });
  if (!noise) return;
  std::ranges::fill(out.below, 0.0);
  std::ranges::fill(out.rest, 0.0);
  for (size_t other = 0; other < block_.group_count(); ++other) {
    if (other == group) continue;
    // Whether that was exact shows in the differences.
    (void)reward::add_stakes(stakes(other), high_.size(), {out.below.data(), out.rest.data()});
  }
  drop_from_highest(group, out);
}

DoubleDouble TotalReward::highest_stake(size_t group) const {
  return stake(group, extremes_[group].top);
}

double weighted_mean(std::span<const double> weights, std::span<const double> values) {
  Sum sum;
  for (size_t x = 0; x < values.size(); ++x) sum.add(weights[x] * values[x]);
  return sum.value();
}

std::vector<double> model_of(std::span<const double> initial, std::span<const LawPoint> points) {
  Sum excess;
  for (size_t x = 0; x < initial.size(); ++x) excess.add(initial[x] * points[x].excess);
  const double mass = 1 + excess.value();
  std::vector<double> model;
  model.reserve(initial.size());
  for (size_t x = 0; x < initial.size(); ++x) {
    model.push_back(initial[x] * (points[x].ratio / mass));
  }
  return model;
}

double range_of(std::span<const double> values) {
  const auto [low, high] = std::ranges::minmax(values);
  return high - low;
}

namespace {

// A difference of two optima, each highest + value, with an exact summand.
Enclosure difference(const ProblemOptimum& a, const ProblemOptimum& b, double error) {
  const double lead = (a.highest - b.highest).value();
  return around(lead, error) + (a.value.enclosure - b.value.enclosure);
}

// The middle for a value that is not known.
Bounded bounded(double value, const Enclosure& enclosure) {
  if (std::isnan(value)) value = std::midpoint(enclosure.low, enclosure.high);
  return {enclosure.nearest(value), enclosure};
}

// How far rounding can be from a sum of non-negative terms of one sign, each a product of two
// inputs normalised in double precision.
constexpr double kPositiveSum = 16 * kUnitRoundoff;

Bounded valuation_of(const FullProblem& full, const std::vector<double>& model, size_t group) {
  const Block& block = full.block;
  const double mean = block.sizes[group] * weighted_mean(model, block.rewards[group]);
  double magnitude = std::abs(mean);
  if (full.reward.lowest(group) < 0) {
    magnitude = block.sizes[group] * full.reward.greatest(group) + magnitude +
                full.reward.stake_range(group);
  }
  return {mean, around(mean, full.reward.stake_range(group) * full.model_error +
                                 kPositiveSum * magnitude)};
}

// p_i = (highest_{-i} - highest + w_i max rm_i) + (value_{-i} - value) - w_i (max rm_i - v_i).
Enclosure payment_enclosure(const FullProblem& full, const ProblemOptimum& without,
                            const std::vector<double>& model, size_t group) {
  const double shortfall = full.reward.mean_below(group, model);
  const double range = full.reward.stake_range(group);
  const DoubleDouble lead =
      (without.highest - full.optimum.highest) + full.reward.highest_stake(group);
  const Enclosure optima = without.value.enclosure - full.optimum.value.enclosure;
  const Enclosure subtracted =
      around(lead.value(), 4 * full.reward.drop_error()) + optima -
      around(shortfall, range * full.model_error + kPositiveSum * shortfall);
  // 0 <= p_i <= w_i (v_i(p*) - v_i(p*_{-i})): each model is the best of its own problem.
  return both(subtracted, {0, range});
}

// Welfare, divergence and valuations: what the model alone decides.
void conclude_model(const FullProblem& full, BlockSolution& out) {
  const Block& block = full.block;
  const double drop_error = full.reward.drop_error();
  Sum direct;  // sum_i w_i v_i - D
  for (size_t group = 0; group < block.group_count(); ++group) {
    out.valuations.push_back(valuation_of(full, out.allocation, group));
    direct.add(out.valuations[group].value);
  }
  const double divergence = block_divergence(block.divergence, out.allocation, block.initial);
  direct.add(-divergence);
  out.welfare = bounded(direct.value(), difference(full.optimum, {}, 2 * drop_error));
  // D = max s - ASW* - E_{p*} drop: the drops cancel less than the valuations.
  const double drop = weighted_mean(out.allocation, full.drops.below);
  const double range = *std::ranges::max_element(full.drops.below);
  const Enclosure by_drops =
      -full.optimum.value.enclosure -
      around(drop, range * full.model_error + kPositiveSum * drop + 2 * drop_error);
  out.divergence =
      bounded(divergence, both(by_drops, {0, std::numeric_limits<double>::infinity()}));
  out.model_error = full.model_error;
}

void conclude_group(const FullProblem& full, const LeftOut& without, size_t group,
                    BlockSolution& out) {
  const double drop_error = full.reward.drop_error();
  const bool constant = full.reward.stake_range(group) == 0;
  const Enclosure payment =
      constant ? Enclosure{0, 0} : payment_enclosure(full, without.optimum, out.allocation, group);
  out.payments.push_back(bounded(constant ? 0 : without.payment, payment));
  Enclosure utility = difference(full.optimum, without.optimum, 4 * drop_error);
  if (full.reward.lowest(group) >= 0) utility.low = std::max(0.0, utility.low);
  out.utilities.push_back(
      bounded(out.valuations[group].value - out.payments[group].value, utility));
  const ProblemOptimum& optimum = without.optimum;
  out.without.push_back(bounded(optimum.highest.value() + optimum.value.value,
                                difference(optimum, {}, 2 * drop_error)));
}

}  // namespace

void conclude(const FullProblem& full, Scope scope, const SolveWithout& solve_without,
              BlockSolution& out) {
  conclude_model(full, out);
  if (scope == Scope::kModel) return;
  Drops others;
  for (size_t group = 0; group < full.block.group_count(); ++group) {
    full.reward.without(group, others);
    conclude_group(full, solve_without(group, others), group, out);
  }
}

Block block_of(const Game& game, size_t index) {
  CANDOR_CHECK(index < game.block_count());
  const size_t begin = game.block_begin[index];
  const size_t count = game.block_begin[index + 1] - begin;
  Block block;
  block.divergence = game.divergence;
  block.initial = std::span(game.initial).subspan(begin, count);
  block.rewards.reserve(game.groups.size());
  block.rests.reserve(game.groups.size());
  block.sizes.reserve(game.groups.size());
  for (const Report& report : game.groups) {
    block.rewards.push_back(std::span(report.reward).subspan(begin, count));
    const std::span rest(report.reward_rest);
    // A rest of another length belongs to a reward that was replaced.
    const bool fits = rest.size() == report.reward.size();
    block.rests.push_back(fits ? rest.subspan(begin, count) : std::span<const double>());
    block.sizes.push_back(report.group_size);
  }
  return block;
}

BlockSolution solve_block(const Block& block, Scope scope) {
  switch (block.divergence.kind) {
    case DivergenceKind::kKl:
      return solve_kl(block, scope);
    case DivergenceKind::kChi2:
      return solve_chi2(block, scope);
    case DivergenceKind::kTv:
      return solve_tv(block, scope);
    default:
      return solve_smooth(block, scope);
  }
}

Block keep_groups(const Block& block, std::span<const size_t> groups) {
  Block chosen{.divergence = block.divergence,
               .initial = block.initial,
               .rewards = {},
               .rests = {},
               .sizes = {}};
  for (const size_t group : groups) {
    chosen.rewards.push_back(block.rewards[group]);
    if (group < block.rests.size()) chosen.rests.push_back(block.rests[group]);
    chosen.sizes.push_back(block.sizes[group]);
  }
  return chosen;
}

}  // namespace candor
