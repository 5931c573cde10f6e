#include "core/block_solver.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"
#include "core/block_parts.h"
#include "core/sum.h"

namespace candor {

TotalReward::TotalReward(const Block& block) : block_(block), totals_(block.outcome_count(), 0.0) {
  for (size_t group = 0; group < block.group_count(); ++group) {
    tops_.push_back(std::ranges::max(block.rewards[group]));
    for (size_t x = 0; x < totals_.size(); ++x) {
      totals_[x] += block.sizes[group] * (block.rewards[group][x] - tops_[group]);
    }
  }
}

double TotalReward::constant() const {
  Sum sum;
  for (size_t group = 0; group < tops_.size(); ++group) sum.add(block_.sizes[group] * tops_[group]);
  return sum.value();
}

TotalReward::Others TotalReward::without(size_t group) const {
  static constexpr double kDominance = 1e3;
  const std::span<const double> own = block_.rewards[group];
  const double size = block_.sizes[group];
  const double stake = size * range_of(own);
  const auto outweighs = [&](const std::vector<double>& totals) {
    return stake > kDominance * (range_of(totals) + block_.divergence.regularization);
  };
  Others out{.totals = totals_, .dominant = false};
  for (size_t x = 0; x < own.size(); ++x) out.totals[x] -= size * (own[x] - tops_[group]);
  // Subtracting leaves the stake's rounding, which is no dominance: a tenth of it decides whether
  // to look closer.
  if (!(10 * stake > kDominance * (range_of(out.totals) + block_.divergence.regularization))) {
    return out;
  }
  std::ranges::fill(out.totals, 0.0);
  for (size_t other = 0; other < tops_.size(); ++other) {
    if (other == group) continue;
    for (size_t x = 0; x < own.size(); ++x) {
      out.totals[x] += block_.sizes[other] * (block_.rewards[other][x] - tops_[other]);
    }
  }
  out.dominant = outweighs(out.totals);
  return out;
}

double weighted_mean(std::span<const double> weights, std::span<const double> values) {
  Sum sum;
  for (size_t x = 0; x < values.size(); ++x) sum.add(weights[x] * values[x]);
  return sum.value();
}

double range_of(std::span<const double> values) {
  const auto [low, high] = std::ranges::minmax(values);
  return high - low;
}

void add_payment(BlockSolution& out, const PaymentRoute& route) {
  const double direct = route.welfare_without - (route.others_valuation - out.divergence);
  const double magnitude = std::abs(route.welfare_without) + std::abs(route.others_valuation) +
                           out.divergence + std::abs(route.payment) * (1 + route.steepness);
  out.payments.push_back(route.payment);
  out.payment_errors.push_back(std::abs(route.payment - direct) +
                               16 * std::numeric_limits<double>::epsilon() * magnitude);
}

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
    case DivergenceKind::kTv:
      return solve_tv(block);
    default:
      return solve_smooth(block);
  }
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
