#include "core/fee.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/check.h"
#include "base/strings.h"
#include "core/rule.h"
#include "core/solution.h"

namespace candor {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// What the group sees of the rest of the game.
struct Others {
  std::vector<double> totals;  // [m], s_{-i}
  std::vector<double> model;   // [m], p_{-i}
};

Others others_of(const Game& game, size_t group) {
  Others out{.totals = std::vector<double>(game.outcome_count(), 0.0), .model = {}};
  std::vector<double> weights;
  for (size_t i = 0; i < game.groups.size(); ++i) {
    weights.push_back(i == group ? 0.0 : game.groups[i].group_size);
    for (size_t x = 0; x < out.totals.size(); ++x) {
      out.totals[x] += weights[i] * game.groups[i].reward[x];
    }
  }
  out.model = weighted_optimum(game, weights);
  return out;
}

// A vertex with its utility; infinite where the game overflows.
FeeRoom room_of_vertex(const Game& game, size_t group, Report type) {
  FeeRoom room{.largest = kInfinity, .type = std::move(type)};
  const Result<Solution> solution = solve(with_report(game, group, 1.0, room.type.reward));
  if (!solution.ok()) return room;
  room.largest = solution->groups[group].utility;
  room.error = solution->gap() + solution->groups[group].payment_error();
  return room;
}

Report only_outcome(const Game& game, size_t group, size_t outcome) {
  Report type{.name = game.groups[group].name,
              .group_size = 1,
              .reward = std::vector<double>(game.outcome_count(), 0.0)};
  type.reward[outcome] = 1;
  return type;
}

// Outcomes in the order of what they are worth at least: ASW* is convex, so u(e_x) >= p_{-i}(x).
FeeRoom room_under_max(const Game& game, size_t group) {
  const std::vector<double> floor = others_of(game, group).model;
  std::vector<size_t> order(floor.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::sort(order, {}, [&](size_t x) { return floor[x]; });
  FeeRoom room{.largest = kInfinity, .type = {}};
  const auto blocks = static_cast<double>(game.block_count());
  for (const size_t x : order) {
    if (floor[x] / blocks >= room.largest) break;
    FeeRoom vertex = room_of_vertex(game, group, only_outcome(game, group, x));
    if (vertex.largest < room.largest) room = std::move(vertex);
  }
  return room;
}

FeeRoom room_among_candidates(const Game& game, size_t group) {
  const CandidateTable table = tabulate(game);
  const double best_without = table.best_welfare(group);
  FeeRoom room{.largest = kInfinity, .type = {}};
  for (size_t x = 0; x < game.outcome_count(); ++x) {
    double utility = -kInfinity;  // max_k v_k - c_k
    for (size_t k = 0; k < game.candidates.size(); ++k) {
      const double value = game.candidates[k][x] / static_cast<double>(game.block_count());
      utility = std::max(utility, value - (best_without - table.welfare(k, group)));
    }
    if (utility < room.largest) room = {utility, 0.0, only_outcome(game, group, x)};
  }
  return room;
}

// The KKT system under sum normalisation: for a level c, block by block, the dual mu with
// sum_x max(c, p0 (f')^{-1}(s - mu)) = 1, and what reward lifts the rest to c.
class LevelSystem {
 public:
  LevelSystem(const Game& game, const Others& others) : game_(game), others_(others) {}

  // The reward [m] that lifts every outcome to `level`, and its sum.
  double lift(double level, std::vector<double>& reward) const {
    double total = 0;
    for (size_t block = 0; block < game_.block_count(); ++block) {
      const double mu = dual_at(block, level);
      for (size_t x = game_.block_begin[block]; x < game_.block_begin[block + 1]; ++x) {
        const double slope = generator_slope(game_.divergence, level / game_.initial[x]);
        reward[x] = std::max(0.0, mu + slope - others_.totals[x]);
        total += reward[x];
      }
    }
    return total;
  }

 private:
  [[nodiscard]] double mass_at(size_t block, double level, double mu) const {
    double mass = 0;
    for (size_t x = game_.block_begin[block]; x < game_.block_begin[block + 1]; ++x) {
      const double ratio = inverse_slope(game_.divergence, others_.totals[x] - mu);
      mass += std::max(level, game_.initial[x] * ratio);
    }
    return mass;
  }

  [[nodiscard]] double dual_at(size_t block, double level) const {
    const auto begin = others_.totals.begin();
    const auto [low_total, high_total] =
        std::minmax_element(begin + static_cast<ptrdiff_t>(game_.block_begin[block]),
                            begin + static_cast<ptrdiff_t>(game_.block_begin[block + 1]));
    const double center = generator_slope(game_.divergence, 1.0);
    double low = *low_total - center;  // every ratio is >= 1: the mass is too large
    double high = *high_total - center;
    double step = game_.divergence.regularization;
    while (mass_at(block, level, high) > 1 && std::isfinite(high)) high += step *= 2;
    for (int i = 0; i < 200 && low < high; ++i) {
      const double middle = low + (high - low) / 2;
      if (middle == low || middle == high) break;
      (mass_at(block, level, middle) > 1 ? low : high) = middle;
    }
    return high;
  }

  const Game& game_;
  const Others& others_;
};

// The utility of a type with its certificate. Utility is convex in the reported reward with slope
// p, so no type has less than u + <p, type' - reward> >= u - (<p, reward> - min p).
FeeRoom certified(const Game& game, size_t group, Report type) {
  FeeRoom room{.largest = kInfinity, .type = std::move(type)};
  const std::vector<double>& reward = room.type.reward;
  const Result<Solution> solution = solve(with_report(game, group, 1.0, reward));
  if (!solution.ok()) return room;
  room.largest = solution->groups[group].utility;
  double mean = 0;
  for (size_t x = 0; x < reward.size(); ++x) mean += solution->allocation[x] * reward[x];
  const double least = *std::ranges::min_element(solution->allocation);
  room.error = solution->gap() + solution->groups[group].payment_error() +
               std::max(0.0, mean - least) / static_cast<double>(game.block_count());
  return room;
}

FeeRoom room_under_sum(const Game& game, size_t group) {
  const Others others = others_of(game, group);
  const LevelSystem system(game, others);
  const auto size_of = [&](size_t block) {
    return game.block_begin[block + 1] - game.block_begin[block];
  };
  size_t largest_block = 0;
  for (size_t block = 0; block < game.block_count(); ++block) {
    if (size_of(block) > size_of(largest_block)) largest_block = block;
  }
  std::vector<double> reward(game.outcome_count());
  double low = 0;
  double high = 1 / static_cast<double>(size_of(largest_block));
  for (int i = 0; i < 100; ++i) {
    const double middle = low + (high - low) / 2;
    if (middle == low || middle == high) break;
    (system.lift(middle, reward) < 1 ? low : high) = middle;
  }
  double total = system.lift(low, reward);
  // At the highest level the largest block is uniform, and what is left lifts all of it alike;
  // below, what the last bit of the level leaves goes where reward is already.
  const bool full = 1 - total > 1e-9;
  const size_t first = game.block_begin[largest_block];
  const size_t last = game.block_begin[largest_block + 1];
  const auto takes = [&](size_t x) { return full ? x >= first && x < last : reward[x] > 0; };
  std::vector<size_t> takers;
  for (size_t x = 0; x < reward.size(); ++x) {
    if (takes(x)) takers.push_back(x);
  }
  for (const size_t x : takers) reward[x] += (1 - total) / static_cast<double>(takers.size());
  total = std::accumulate(reward.begin(), reward.end(), 0.0);
  for (double& value : reward) value = std::max(0.0, value / total);
  return certified(game, group,
                   {.name = game.groups[group].name, .group_size = 1, .reward = std::move(reward)});
}

Result<FeeRoom> finite(FeeRoom room) {
  if (std::isfinite(room.largest) && std::isfinite(room.error)) return room;
  return invalid_argument("the room for a fee overflows beside the divergence's lambda");
}

}  // namespace

FeeFormula kl_fee_formula(const Game& game, size_t group) {
  CANDOR_CHECK(group < game.groups.size());
  FeeFormula out;
  if (game.divergence.kind != DivergenceKind::kKl) {
    out.why = str_cat("it is about kl; this game's divergence is ",
                      divergence_name(game.divergence.kind));
  } else if (!game.candidates.empty()) {
    out.why = "it is about all distributions; this game has candidates";
  } else if (game.normalization == Normalization::kSum ||
             game.normalization == Normalization::kNone) {
    out.why = "it needs a reward of 1 on one outcome alone to be a type, as max normalisation has";
  }
  if (!out.why.empty()) return out;
  const double strength = game.divergence.regularization;
  const double least = std::ranges::min(others_of(game, group).model);
  out.holds = true;
  out.why = "kl over all distributions, max normalisation, sizes from 1 on";
  // L log(1 + p (e^{1/L} - 1)) = 1 + L log(p + (1 - p) e^{-1/L}), which does not overflow.
  const double room = strength > 1
                          ? strength * std::log1p(least * std::expm1(1 / strength))
                          : 1 + strength * std::log(least + (1 - least) * std::exp(-1 / strength));
  out.largest = room / static_cast<double>(game.block_count());
  return out;
}

Result<FeeRoom> fee_room(const Game& game, size_t group) {
  CANDOR_CHECK(group < game.groups.size());
  if (game.normalization == Normalization::kNone) {
    Report nothing = game.groups[group];
    nothing.group_size = 1;
    std::ranges::fill(nothing.reward, 0.0);
    return FeeRoom{.largest = 0, .error = 0, .type = std::move(nothing)};
  }
  if (game.normalization == Normalization::kMinMax) {
    return invalid_argument(
        "min_max normalisation excludes the constant report that pays 0, which Thm 4.11 needs: "
        "p^AFF "
        "may not be the smallest payment");
  }
  if (game.normalization == Normalization::kSum) {
    if (!game.candidates.empty() || game.divergence.kind == DivergenceKind::kTv) {
      return invalid_argument(
          "the room for a fee under sum normalisation needs all distributions and a strictly "
          "convex divergence");
    }
    return finite(room_under_sum(game, group));
  }
  return finite(game.candidates.empty() ? room_under_max(game, group)
                                        : room_among_candidates(game, group));
}

}  // namespace candor
