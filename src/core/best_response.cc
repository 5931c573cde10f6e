#include "core/best_response.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <span>
#include <vector>

#include "base/check.h"
#include "base/interrupt.h"
#include "core/block_solver.h"
#include "core/divergence.h"
#include "core/sum.h"

namespace candor {

namespace {

// The sum of exp(log weight) and the mean reward under these weights, without overflow.
struct LogMean {
  double largest = -std::numeric_limits<double>::infinity();
  double sum = 0;       // of exp(log weight - largest)
  double weighted = 0;  // of reward times that

  void add(double log_weight, double reward) {
    if (log_weight > largest) {
      const double rescale = std::exp(largest - log_weight);
      sum *= rescale;
      weighted *= rescale;
      largest = log_weight;
    }
    const double weight = std::exp(log_weight - largest);
    sum += weight;
    weighted += weight * reward;
  }
  [[nodiscard]] double log_sum() const { return largest + std::log(sum); }
  [[nodiscard]] double mean() const { return weighted / sum; }
};

struct BlockBest {
  double mean_reward = 0;      // v_i of one agent
  std::vector<double> report;  // [m]
};

std::vector<size_t> by_reward_descending(const Block& block, size_t group) {
  std::vector<size_t> order(block.outcome_count());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return block.rewards[group][a] > block.rewards[group][b];
  });
  return order;
}

std::vector<double> cut_report(const std::vector<size_t>& order, size_t top, double fraction) {
  std::vector<double> report(order.size(), 0.0);
  for (size_t i = 0; i < top; ++i) report[order[i]] = 1;
  if (top < order.size()) report[order[top]] = fraction;
  return report;
}

// Cuts 1..this are looked at: the worst outcome stays at 0 (best_response.h).
size_t cut_count(size_t outcomes) { return std::max<size_t>(2, outcomes) - 1; }

BlockBest best_in_kl_block(const Block& block, size_t group, double size) {
  const double strength = block.divergence.regularization;
  const std::vector<size_t> order = by_reward_descending(block, group);
  const auto log_weight = [&](size_t x) {
    double others = 0;
    for (size_t other = 0; other < block.group_count(); ++other) {
      if (other != group) others += block.sizes[other] * block.rewards[other][x];
    }
    return std::log(block.initial[x]) + others / strength;
  };
  std::vector<LogMean> below(order.size() + 1);  // below[u]: outcomes order[u..]
  for (size_t u = order.size(); u-- > 0;) {
    below[u] = below[u + 1];
    below[u].add(log_weight(order[u]), block.rewards[group][order[u]]);
  }
  LogMean top;
  double best = -std::numeric_limits<double>::infinity();
  size_t best_cut = 1;
  for (size_t u = 1; u <= cut_count(order.size()); ++u) {
    top.add(log_weight(order[u - 1]), block.rewards[group][order[u - 1]]);
    double mean = top.mean();
    if (u < order.size()) {
      // Mass of the rest against the top, which the report lifts by exp(w/L).
      const double odds = std::exp(below[u].log_sum() - top.log_sum() - size / strength);
      mean = (top.mean() + odds * below[u].mean()) / (1 + odds);
    }
    if (mean > best) {
      best = mean;
      best_cut = u;
    }
  }
  return {best, cut_report(order, best_cut, 0.0)};
}

double mean_reward_after(const Block& block, size_t group, double size,
                         const std::vector<double>& report) {
  Block lied = block;
  lied.replace(group, size, report);
  const BlockSolution solution = solve_block(lied, Scope::kModel);
  Sum mean;
  for (size_t x = 0; x < report.size(); ++x) {
    mean.add(solution.allocation[x] * block.rewards[group][x]);
  }
  return mean.value();
}

// The sign of the derivative of v_i in the reported reward of `outcome`: that of rm_i(outcome) less
// the p0/f''-weighted mean of rm_i (MATH 5, [ours]). 0 for tv, whose f has no curvature.
double slope_sign(const Block& block, size_t group, double size, const std::vector<double>& report,
                  size_t outcome) {
  if (block.divergence.kind == DivergenceKind::kTv) return 0;
  Block lied = block;
  lied.replace(group, size, report);
  const BlockSolution solution = solve_block(lied, Scope::kModel);
  Sum slope;
  for (size_t x = 0; x < report.size(); ++x) {
    const double ratio = solution.allocation[x] / block.initial[x];
    if (!(ratio > 0)) continue;
    slope.add((block.rewards[group][outcome] - block.rewards[group][x]) * block.initial[x] /
              generator_curvature(block.divergence, ratio));
  }
  return slope.value();
}

BlockBest best_in_searched_block(const Block& block, size_t group, double size) {
  static constexpr size_t kEveryCut = 2048;
  static constexpr size_t kCuts = 256;
  static constexpr size_t kEveryInterior = 64;
  const std::vector<size_t> order = by_reward_descending(block, group);
  const size_t m = order.size();
  const size_t stride = m <= kEveryCut ? 1 : m / kCuts;
  BlockBest best{-std::numeric_limits<double>::infinity(), {}};
  size_t best_cut = 1;
  const auto try_cut = [&](size_t cut, double fraction) {
    std::vector<double> report = cut_report(order, cut, fraction);
    const double mean = mean_reward_after(block, group, size, report);
    if (mean > best.mean_reward) {
      best = {mean, std::move(report)};
      best_cut = cut;
    }
    return mean;
  };
  // Whoever asked looks at the flag and throws the answer away.
  for (size_t cut = 1; cut <= cut_count(m) && !interrupted(); cut += stride) try_cut(cut, 0.0);
  // A maximum inside (0, 1) of the outcome in between needs a slope that falls through 0 there. The
  // condition can hold at several cuts (MATH 5), so of a block with every cut each is looked at.
  const auto rises = [&](size_t cut, double fraction) {
    return slope_sign(block, group, size, cut_report(order, cut, fraction), order[cut]) > 0;
  };
  std::vector<size_t> inside = {best_cut - 1, best_cut};
  if (m <= kEveryInterior) {
    inside.clear();
    for (size_t cut = 1; cut < cut_count(m); ++cut) {
      if (rises(cut, 0.0) && !rises(cut, 1.0)) inside.push_back(cut);
    }
  }
  for (const size_t cut : inside) {
    // Cut 0 with a fraction on the top outcome is cut 1 once it is normalised.
    if (cut == 0 || cut >= cut_count(m) || interrupted()) continue;
    double low = 0;
    double high = 1;
    for (int step = 0; step < 40; ++step) {
      static constexpr double kGolden = 0.6180339887498949;
      const double left = high - kGolden * (high - low);
      const double right = low + kGolden * (high - low);
      if (try_cut(cut, left) < try_cut(cut, right)) {
        low = left;
      } else {
        high = right;
      }
    }
  }
  return best;
}

}  // namespace

BestResponse best_response_without_payments(const Game& game, size_t group, double size) {
  CANDOR_CHECK(group < game.groups.size() && size > 0 && game.candidates.empty());
  CANDOR_CHECK(game.normalization != Normalization::kSum);
  const bool exact = game.divergence.kind == DivergenceKind::kKl;
  BestResponse out{.report = game.groups[group], .exact = exact};
  out.report.group_size = size;
  out.report.reward.clear();
  Sum total;
  for (size_t index = 0; index < game.block_count(); ++index) {
    const Block block = block_of(game, index);
    const BlockBest best =
        exact ? best_in_kl_block(block, group, size) : best_in_searched_block(block, group, size);
    total.add(best.mean_reward);
    const auto kept =
        best.report.size() == 1 ? block.rewards[group] : std::span<const double>(best.report);
    out.report.reward.insert(out.report.reward.end(), kept.begin(), kept.end());
  }
  out.valuation =
      game.groups[group].group_size * total.value() / static_cast<double>(game.block_count());
  return out;
}

}  // namespace candor
