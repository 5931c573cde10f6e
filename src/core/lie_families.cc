#include <algorithm>
#include <array>
#include <cmath>

#include "base/rng.h"
#include "core/concave_rule.h"
#include "core/lie_search.h"
#include "core/sweep.h"

namespace candor {

namespace {

constexpr uint32_t kRandomReports = 0x6c696573;  // "lies"

// Whole sizes from 1 to max_size, close together where they are small.
std::vector<double> size_grid(double truth, double max_size) {
  std::vector<double> sizes;
  for (double size = 1; size <= std::min(16.0, max_size); ++size) sizes.push_back(size);
  for (double size = 16; size < max_size; size *= 1.5) sizes.push_back(std::floor(size));
  for (const double factor : {0.5, 1.5, 2.0, 3.0, 4.0, 8.0}) {
    sizes.push_back(std::clamp(std::round(truth * factor), 1.0, max_size));
  }
  sizes.push_back(max_size);
  std::sort(sizes.begin(), sizes.end());
  sizes.erase(std::unique(sizes.begin(), sizes.end()), sizes.end());
  return sizes;
}

}  // namespace

void try_sizes(LieSearch& search) {
  for (const double size : size_grid(search.truth().group_size, search.max_size())) {
    search.try_report("size_inflation", search.truth().reward, size,
                      size / search.truth().group_size);
  }
}

void try_mixes(LieSearch& search) {
  const Game& game = search.game();
  const size_t group = search.group();
  if (game.groups.size() < 2) return;
  const std::vector<double> others = others_mean_reward(game, group);
  static constexpr int kSteps = 80;
  static constexpr double kLargestMix = 4;
  for (int step = 0; step <= kSteps; ++step) {
    const double mix = kLargestMix * step / kSteps;
    Report report = mixed_report(search.truth(), others, mix, false);
    search.try_report("preference_mix", std::move(report.reward), report.group_size, mix);
  }
}

// Thm 3.2: lower the worst outcome (max normalisation), or move eps from the worst to the best
// (sum).
void try_theorem_3_2(LieSearch& search) {
  const Game& game = search.game();
  const std::vector<double>& reward = search.truth().reward;
  const auto [worst, best] = std::ranges::minmax_element(reward);
  // Under min_max the least reward is 0 and there is nothing to lower: Thm E.2 speaks of it.
  if (*worst == *best || game.normalization == Normalization::kMinMax) return;
  for (const double share : {1e-4, 1e-3, 1e-2, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0}) {
    const double eps = share * *worst;
    std::vector<double> lie = reward;
    lie[static_cast<size_t>(worst - reward.begin())] -= eps;
    if (game.normalization == Normalization::kSum) {
      lie[static_cast<size_t>(best - reward.begin())] += eps;
    }
    search.try_report("theorem_3_2", std::move(lie), search.truth().group_size, eps);
  }
}

namespace {

// What Thm E.2 builds on: sensitivity(x) = p0(x)/f''(r(x)) at the truthful model, and t(z) = sum_x
// (rm_i(z) - rm_i(x)) sensitivity(x) over z's block, whose sign is the sign of the derivative of
// v_i in the reported rm_i(z).
struct RewardSlope {
  std::vector<double> sensitivity;  // [m]
  std::vector<double> t;            // [m]
};

RewardSlope reward_slope(const Game& game, const std::vector<double>& reward,
                         const std::vector<double>& model) {
  RewardSlope out{.sensitivity = mass_sensitivity(game, model),
                  .t = std::vector<double>(reward.size())};
  for (size_t block = 0; block < game.block_count(); ++block) {
    const size_t begin = game.block_begin[block];
    const size_t end = game.block_begin[block + 1];
    double mass = 0;
    double mean = 0;
    for (size_t x = begin; x < end; ++x) {
      mass += out.sensitivity[x];
      mean += out.sensitivity[x] * reward[x];
    }
    for (size_t x = begin; x < end; ++x) out.t[x] = reward[x] * mass - mean;
  }
  return out;
}

// The outcome of largest |weight(x)| where `allowed`; m where there is none.
template <typename Allowed>
size_t strongest(const std::vector<double>& weight, const Allowed& allowed) {
  size_t best = weight.size();
  for (size_t x = 0; x < weight.size(); ++x) {
    if (!allowed(x) || weight[x] == 0) continue;
    if (best == weight.size() || std::abs(weight[x]) > std::abs(weight[best])) best = x;
  }
  return best;
}

}  // namespace

// Thm E.2, for a group whose least reward is 0. Max normalisation (and min_max, since a 0 and a 1
// stay): move one reward strictly between 0 and 1 in the direction of t. Sum normalisation: from an
// outcome of t < 0 to the best one, or to an outcome of t > 0 from a lesser one that answers less.
void try_theorem_e_2(LieSearch& search) {
  const Game& game = search.game();
  const std::vector<double>& model = search.honest().allocation;
  const std::vector<double>& reward = search.truth().reward;
  if (!game.candidates.empty() || game.divergence.kind == DivergenceKind::kTv) return;
  if (std::ranges::min(reward) > 0) return;
  const RewardSlope slope = reward_slope(game, reward, model);
  const size_t m = reward.size();
  std::vector<double> effect(m);
  for (size_t x = 0; x < m; ++x) effect[x] = slope.t[x] * slope.sensitivity[x];
  const auto inner = [&](size_t x) { return reward[x] > 0 && reward[x] < 1; };
  const auto move = [&](size_t up, size_t down, double most) {
    for (const double share : {1e-4, 1e-3, 1e-2, 0.05, 0.1, 0.25, 0.5, 0.75, 0.99}) {
      std::vector<double> lie = reward;
      if (up < m) lie[up] += share * most;
      if (down < m) lie[down] -= share * most;
      search.try_report("theorem_e_2", std::move(lie), search.truth().group_size, share * most);
    }
  };
  if (game.normalization != Normalization::kSum) {
    const size_t x = strongest(effect, inner);
    if (x == m) return;
    if (slope.t[x] > 0) move(x, m, 1 - reward[x]);
    if (slope.t[x] < 0) move(m, x, reward[x]);
    return;
  }
  const auto best = static_cast<size_t>(std::ranges::max_element(reward) - reward.begin());
  const size_t down = strongest(effect, [&](size_t x) { return inner(x) && slope.t[x] < 0; });
  if (down < m) move(best, down, std::min(reward[down], 1 - reward[best]));
  const size_t up = strongest(effect, [&](size_t x) { return inner(x) && slope.t[x] > 0; });
  if (up == m) return;
  const size_t from = strongest(reward, [&](size_t x) {
    return x != up && reward[x] > 0 && reward[x] <= reward[up] &&
           slope.sensitivity[x] < slope.sensitivity[up];
  });
  if (from < m) move(up, from, std::min(1 - reward[up], reward[from]));
}

// 1 above a cut of the true reward, 0 below: the shape of every best response without payments.
void try_cuts(LieSearch& search) {
  std::vector<double> levels = search.truth().reward;
  std::sort(levels.begin(), levels.end());
  levels.erase(std::unique(levels.begin(), levels.end()), levels.end());
  static constexpr size_t kMostCuts = 32;
  const size_t stride = std::max<size_t>(1, levels.size() / kMostCuts);
  for (size_t i = 0; i < levels.size(); i += stride) {
    std::vector<double> lie;
    for (const double value : search.truth().reward) lie.push_back(value >= levels[i] ? 1.0 : 0.0);
    for (const double size : {search.truth().group_size, search.max_size()}) {
      search.try_report("cut", lie, size, levels[i]);
    }
  }
}

void try_random(LieSearch& search) {
  const Game& game = search.game();
  const size_t group = search.group();
  const AuditOptions& options = search.options();
  const size_t m = game.outcome_count();
  for (int i = 0; i < options.random_reports; ++i) {
    RandomStream random({.seed = options.seed,
                         .stream = kRandomReports,
                         .prompt = static_cast<uint32_t>(group),
                         .sample = static_cast<uint32_t>(i)});
    std::vector<double> lie(m);
    const int shape = i % 4;
    for (size_t x = 0; x < m; ++x) {
      const double truth = search.truth().reward[x];
      const double u = random.uniform();
      if (shape == 0) lie[x] = u;
      if (shape == 1) lie[x] = u < 0.5 ? 0.0 : 1.0;
      if (shape == 2) lie[x] = std::max(0.0, truth * (1 + 0.2 * (u - 0.5)));
      if (shape == 3) lie[x] = 0;
    }
    if (shape == 3) lie[random.below(m)] = 1;  // a vertex
    const double stretch = std::exp(2 * random.normal());
    const double size = i % 3 == 0 ? search.truth().group_size
                                   : std::clamp(std::round(search.truth().group_size * stretch),
                                                1.0, search.max_size());
    search.try_report("random", std::move(lie), size);
  }
}

// Climbs from the best lie so far, one outcome or the size at a time.
void climb(LieSearch& search) {
  const Game& game = search.game();
  const size_t group = search.group();
  const AuditOptions& options = search.options();
  static constexpr size_t kMostCoordinates = 24;
  const size_t m = game.outcome_count();
  RandomStream random({.seed = options.seed,
                       .stream = kRandomReports,
                       .prompt = static_cast<uint32_t>(group),
                       .sample = UINT32_MAX});
  for (const double step : {0.5, 0.1, 0.02}) {
    for (size_t i = 0; i < std::min(m, kMostCoordinates); ++i) {
      const size_t x = m <= kMostCoordinates ? i : random.below(m);
      for (const double move : {-step, step}) {
        std::vector<double> lie = search.result().best_report.reward;
        lie[x] = std::max(0.0, lie[x] + move);
        search.try_report("local_search", std::move(lie), search.result().best_report.group_size);
      }
    }
    for (const double factor : {1 - step, 1 + step}) {
      const double size = std::clamp(std::round(search.result().best_report.group_size * factor),
                                     1.0, search.max_size());
      search.try_report("local_search", search.result().best_report.reward, size);
    }
  }
}

void try_low_discrepancy(LieSearch& search) {
  const size_t m = search.game().outcome_count();
  // The additive recurrence of the root of x^{d+1} = x + 1: one step per dimension.
  const auto dimensions = static_cast<double>(m + 1);
  double root = 1.5;
  for (int i = 0; i < 64; ++i) root = std::pow(1 + root, 1 / (dimensions + 1));
  static constexpr int kPoints = 128;
  for (int point = 1; point <= kPoints; ++point) {
    const auto coordinate = [&](size_t dimension) {
      double whole = 0;
      return std::modf(0.5 + point * std::pow(1 / root, static_cast<double>(dimension + 1)),
                       &whole);
    };
    std::vector<double> lie(m);
    for (size_t x = 0; x < m; ++x) lie[x] = coordinate(x);
    const double stretch = std::exp(6 * coordinate(m) - 2);
    const double size = point % 2 == 0 ? search.truth().group_size
                                       : std::clamp(std::round(search.truth().group_size * stretch),
                                                    1.0, search.max_size());
    search.try_report("low_discrepancy", std::move(lie), size);
  }
}

std::vector<double> utility_slope(const LieSearch& search, const Report& report,
                                  const std::vector<double>& model) {
  const Game& game = search.game();
  const PaymentRule payments = search.options().payments;
  const bool charged = payments != PaymentRule::kZero;
  const std::vector<double> sensitivity = mass_sensitivity(game, model);
  std::vector<double> slope(model.size());
  for (size_t block = 0; block < game.block_count(); ++block) {
    double mass = 0;
    double mean = 0;
    for (size_t x = game.block_begin[block]; x < game.block_begin[block + 1]; ++x) {
      slope[x] = search.truth().group_size * search.truth().reward[x];
      if (charged) slope[x] -= report.group_size * report.reward[x];
      mass += sensitivity[x];
      mean += sensitivity[x] * slope[x];
    }
    for (size_t x = game.block_begin[block]; x < game.block_begin[block + 1]; ++x) {
      slope[x] = mass > 0 ? sensitivity[x] * (slope[x] - mean / mass) : 0;
      if (payments == PaymentRule::kPayReport) slope[x] -= model[x];
    }
  }
  return slope;
}

namespace {

void ascend_from(LieSearch& search, Report report) {
  const Game& game = search.game();
  double step = 0.3;  // of the largest reward's move
  double best = search.try_report("gradient", report.reward, report.group_size);
  for (int iteration = 0; iteration < 40 && step > 1e-6; ++iteration) {
    const Result<Solution> solution =
        solve(with_report(game, search.group(), report.group_size, report.reward));
    if (!solution.ok()) return;
    const std::vector<double> slope = utility_slope(search, report, solution->allocation);
    double steepest = 0;
    for (const double value : slope) steepest = std::max(steepest, std::abs(value));
    if (!(steepest > 0)) return;
    Report next = report;
    for (size_t x = 0; x < slope.size(); ++x) next.reward[x] += step * slope[x] / steepest;
    if (!make_admissible(game, search.group(), next.reward)) return;
    const double value = search.try_report("gradient", next.reward, next.group_size);
    if (value > best) {
      best = value;
      report = std::move(next);
      step *= 1.5;
    } else {
      step /= 3;
    }
  }
}

}  // namespace

void try_gradient(LieSearch& search) {
  const Game& game = search.game();
  if (!game.candidates.empty() || game.divergence.kind == DivergenceKind::kTv) return;
  ascend_from(search, search.truth());
  ascend_from(search, search.result().best_report);
  Report flat = search.truth();
  for (double& value : flat.reward) value = 0.5 + 0.5 * value;
  if (make_admissible(game, search.group(), flat.reward)) ascend_from(search, std::move(flat));
}

}  // namespace candor
