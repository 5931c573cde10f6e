#include "core/implementability.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"
#include "base/interrupt.h"
#include "base/rng.h"
#include "base/strings.h"
#include "core/solution.h"
#include "core/sweep.h"

namespace candor {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr uint32_t kRandomTypes = 0x74797065;  // "type"
using Matrix = std::vector<std::vector<double>>;

// The edges of cycle monotonicity: edge[s][t] = l(s, t).
Matrix edges_of(const Matrix& value) {
  const size_t count = value.size();
  Matrix edge(count, std::vector<double>(count, 0.0));
  for (size_t s = 0; s < count; ++s) {
    for (size_t t = 0; t < count; ++t) edge[s][t] = value[t][t] - value[t][s];
  }
  return edge;
}

struct Cycle {
  std::vector<size_t> types;
  double length = 0;

  [[nodiscard]] double mean() const { return length / static_cast<double>(types.size()); }
};

// The simple cycles that a walk closes on itself, the one of least mean kept.
Cycle best_cycle_of_walk(const Matrix& edge, const std::vector<size_t>& walk) {
  Cycle best;
  std::vector<size_t> stack;
  for (const size_t type : walk) {
    const auto seen = std::ranges::find(stack, type);
    if (seen != stack.end()) {
      Cycle cycle{.types = {seen, stack.end()}};
      for (size_t i = 0; i < cycle.types.size(); ++i) {
        cycle.length += edge[cycle.types[i]][cycle.types[(i + 1) % cycle.types.size()]];
      }
      if (best.types.empty() || cycle.mean() < best.mean()) best = cycle;
      stack.erase(seen, stack.end());
    }
    stack.push_back(type);
  }
  return best;
}

// The cycle of least mean length (Karp 1978). REQUIRES: two types or more.
Cycle least_mean_cycle(const Matrix& edge) {
  const size_t count = edge.size();
  Matrix length(count + 1, std::vector<double>(count, kInfinity));
  std::vector<std::vector<size_t>> parent(count + 1, std::vector<size_t>(count, 0));
  length[0].assign(count, 0.0);
  for (size_t k = 1; k <= count; ++k) {
    for (size_t t = 0; t < count; ++t) {
      for (size_t s = 0; s < count; ++s) {
        const double through = length[k - 1][s] + edge[s][t];
        if (s == t || through >= length[k][t]) continue;
        length[k][t] = through;
        parent[k][t] = s;
      }
    }
  }
  size_t end = 0;
  double least = kInfinity;
  for (size_t t = 0; t < count; ++t) {
    double most = -kInfinity;
    for (size_t k = 0; k < count; ++k) {
      most = std::max(most, (length[count][t] - length[k][t]) / static_cast<double>(count - k));
    }
    if (most < least) {
      least = most;
      end = t;
    }
  }
  std::vector<size_t> walk;
  for (size_t k = count, t = end;; --k) {
    walk.insert(walk.begin(), t);
    if (k == 0) break;
    t = parent[k][t];
  }
  return best_cycle_of_walk(edge, walk);
}

// Shortest paths between all types where no cycle is negative beyond rounding. Edges are first made
// non-negative by potentials (Johnson 1977): Floyd's recursion on raw edges would blow rounding up.
Matrix shortest_paths(const Matrix& edge) {
  const size_t count = edge.size();
  std::vector<double> potential(count, 0.0);
  for (size_t round = 0; round < count; ++round) {
    for (size_t s = 0; s < count; ++s) {
      for (size_t t = 0; t < count; ++t) {
        potential[t] = std::min(potential[t], potential[s] + edge[s][t]);
      }
    }
  }
  Matrix path(count, std::vector<double>(count, 0.0));
  for (size_t s = 0; s < count; ++s) {
    for (size_t t = 0; t < count; ++t) {
      path[s][t] = std::max(0.0, edge[s][t] + potential[s] - potential[t]);
    }
  }
  for (size_t via = 0; via < count; ++via) {
    for (size_t s = 0; s < count; ++s) {
      for (size_t t = 0; t < count; ++t) {
        path[s][t] = std::min(path[s][t], path[s][via] + path[via][t]);
      }
    }
  }
  for (size_t s = 0; s < count; ++s) {
    for (size_t t = 0; t < count; ++t) path[s][t] += potential[t] - potential[s];
  }
  return path;
}

}  // namespace

Implementability check_implementable(const Matrix& value, const Matrix& error) {
  const size_t count = value.size();
  CANDOR_CHECK(count >= 1 && error.size() == count);
  constexpr double kRounding = 256 * std::numeric_limits<double>::epsilon();
  const Matrix edge = edges_of(value);
  Matrix doubt(count, std::vector<double>(count, 0.0));  // of an edge
  Matrix longest = edge;                                 // what it may be at most
  for (size_t s = 0; s < count; ++s) {
    for (size_t t = 0; t < count; ++t) {
      if (s == t) continue;
      doubt[s][t] = error[t][t] + error[t][s] +
                    kRounding * std::max(std::abs(value[t][t]), std::abs(value[t][s]));
      longest[s][t] += doubt[s][t];
    }
  }
  Implementability out;
  if (count > 1) {
    Cycle worst = least_mean_cycle(longest);
    const bool witness = worst.length < 0;
    if (!witness) worst = least_mean_cycle(edge);
    out.worst_cycle = worst.types;
    for (size_t i = 0; i < worst.types.size(); ++i) {
      const size_t from = worst.types[i];
      const size_t to = worst.types[(i + 1) % worst.types.size()];
      out.worst_cycle_length += edge[from][to];
      out.tolerance += doubt[from][to];
    }
    if (witness) return out;
  }
  out.payments_exist = true;
  const Matrix path = shortest_paths(edge);
  const Matrix longest_path = shortest_paths(longest);  // no exact path is longer
  out.payments = path[0];
  for (size_t t = 0; t < count; ++t) {
    out.high.push_back(longest_path[0][t]);
    out.low.push_back(0.0 - longest_path[t][0]);
    for (size_t s = 0; s < count; ++s) out.widest = std::max(out.widest, path[s][t] + path[t][s]);
  }
  return out;
}

double gain_without_payments(const Matrix& value) {
  double gain = 0;
  for (size_t t = 0; t < value.size(); ++t) {
    for (size_t s = 0; s < value.size(); ++s) gain = std::max(gain, value[t][s] - value[t][t]);
  }
  return gain;
}

double gain_paying_report(const Matrix& value) {
  double gain = 0;  // the truth leaves nothing: it pays all it gets
  for (size_t t = 0; t < value.size(); ++t) {
    for (size_t s = 0; s < value.size(); ++s) gain = std::max(gain, value[t][s] - value[s][s]);
  }
  return gain;
}

std::optional<std::vector<double>> constant_reward(const Game& game) {
  if (game.normalization == Normalization::kMinMax) return std::nullopt;
  const size_t m = game.outcome_count();
  const bool sum = game.normalization == Normalization::kSum;
  return std::vector<double>(m, sum ? 1.0 / static_cast<double>(m) : 1.0);
}

std::optional<std::vector<double>> equal_stake_reward(const Game& game, size_t group,
                                                      const std::vector<double>& reward,
                                                      double size, double other) {
  const bool none = game.normalization == Normalization::kNone;
  const auto constants = constant_reward(game);
  if (!none && !constants.has_value()) return std::nullopt;
  const double constant = none ? 0.0 : constants->front();
  std::vector<double> out;
  for (const double value : reward) {
    out.push_back(constant + (value - constant) * (size / other));
    if (out.back() < 0) return std::nullopt;
  }
  std::vector<double> admissible = out;
  if (!make_admissible(game, group, admissible)) return std::nullopt;
  for (size_t x = 0; x < out.size(); ++x) {
    if (std::abs(admissible[x] - out[x]) > 1e-12) return std::nullopt;
  }
  return admissible;
}

Result<TypeModel> train_type(const TrainingRule& rule, const Game& game, size_t group,
                             Report type) {
  Result<TrainedModel> trained = rule.train(with_report(game, group, type.group_size, type.reward));
  if (!trained.ok()) {
    return Error{trained.error().code, str_cat(rule.name(), " on type ", quote(type.name), ": ",
                                               trained.error().message)};
  }
  return TypeModel{std::move(type), std::move(trained).value()};
}

Result<std::vector<TypeModel>> train_types(const TrainingRule& rule, const Game& game,
                                           const TypeSpace& space) {
  std::vector<TypeModel> out;
  for (const Report& type : space.types) {
    CANDOR_RETURN_IF_ERROR(check_interrupted());
    CANDOR_TRY(TypeModel model, train_type(rule, game, space.group, type));
    out.push_back(std::move(model));
  }
  return out;
}

ReportValues values_of(const Game& game, const std::vector<TypeModel>& models) {
  constexpr double kRounding = 16 * std::numeric_limits<double>::epsilon();
  ReportValues out;
  for (const TypeModel& row : models) {
    const auto [least, most] = std::ranges::minmax(row.type.reward);
    const double per_distance = row.type.group_size * (most - least) / 2;
    std::vector<double>& value = out.value.emplace_back();
    std::vector<double>& error = out.error.emplace_back();
    for (const TypeModel& column : models) {
      value.push_back(group_valuation(game, row.type, column.trained.model));
      error.push_back(per_distance * column.trained.distance + kRounding * std::abs(value.back()));
    }
  }
  return out;
}

TypeSpace default_types(const Game& game, size_t group, size_t count, uint64_t seed) {
  TypeSpace space{.group = group, .types = {}};
  const Report& truth = game.groups[group];
  const auto add = [&](std::string name, double size, std::vector<double> reward) {
    if (space.types.size() >= count || !make_admissible(game, group, reward)) return;
    size = std::clamp(std::round(size), 1.0, static_cast<double>(game.max_size));
    const auto same = [&](const Report& type) {
      return type.group_size == size && type.reward == reward;
    };
    if (std::ranges::any_of(space.types, same)) return;
    space.types.push_back({std::move(name), size, std::move(reward)});
  };
  const size_t m = game.outcome_count();
  const auto vertex = [&](size_t outcome) {
    std::vector<double> reward(m, 0.0);
    reward[outcome] = 1;
    return reward;
  };
  const auto at = [&](auto place) { return static_cast<size_t>(place - truth.reward.begin()); };
  add("truth", truth.group_size, truth.reward);
  if (const auto constant = constant_reward(game); constant.has_value()) {
    add("constant", truth.group_size, *constant);
  }
  add("half size", truth.group_size / 2, truth.reward);
  add("double size", truth.group_size * 2, truth.reward);
  add("four times", truth.group_size * 4, truth.reward);
  add("best only", truth.group_size, vertex(at(std::ranges::max_element(truth.reward))));
  add("worst only", truth.group_size, vertex(at(std::ranges::min_element(truth.reward))));
  if (game.groups.size() > 1) {
    add("the others' mean", truth.group_size, others_mean_reward(game, group));
  }
  // Loud reports of few and mild ones of many may have one stake, and should bring one model.
  std::vector<Report> loud = {{"truth", truth.group_size, truth.reward},
                              {"loud best", 1, vertex(at(std::ranges::max_element(truth.reward)))}};
  if (game.groups.size() > 1) {
    const std::vector<double> others = others_mean_reward(game, group);
    const auto worst = std::ranges::min_element(others) - others.begin();
    loud.push_back({"loud against the others", 1, vertex(static_cast<size_t>(worst))});
  }
  for (const Report& base : loud) {
    add(base.name, base.group_size, base.reward);
    for (const double factor : {4.0, 12.0}) {
      const double size =
          std::clamp(std::round(factor * base.group_size), 1.0, static_cast<double>(game.max_size));
      auto reward = equal_stake_reward(game, group, base.reward, base.group_size, size);
      if (reward.has_value()) add(str_cat(base.name, " at size ", size), size, std::move(*reward));
    }
  }
  // A game of one outcome has no second reward: the tries are limited.
  for (uint32_t i = 0; space.types.size() < count && i < 4 * count; ++i) {
    RandomStream random({.seed = seed,
                         .stream = kRandomTypes,
                         .prompt = static_cast<uint32_t>(group),
                         .sample = i});
    const bool near = i % 2 == 0;
    std::vector<double> reward(m);
    for (size_t x = 0; x < m; ++x) {
      const double u = random.uniform();
      reward[x] = near ? truth.reward[x] * (1 + 0.3 * (u - 0.5)) + 0.01 * u : u;
    }
    const double stretch = i % 4 < 2 ? 1.0 : std::exp(random.normal());
    add(str_cat(near ? "near " : "random ", i / 2), truth.group_size * stretch, std::move(reward));
  }
  return space;
}

namespace {

// One leg of the path, from `from` to `to` at one size: forward and backward sums of l.
struct Leg {
  double forward = 0;
  double backward = 0;
  double predicted = 0;  // (w/n) <theta_end - theta_begin, rm_end - rm_begin>
};

Result<Leg> walk_leg(const TrainingRule& rule, const Game& game, size_t group, const Report& from,
                     const std::vector<double>& to, int steps) {
  const auto train = [&](const Report& type) -> Result<std::vector<double>> {
    CANDOR_TRY(TrainedModel trained,
               rule.train(with_report(game, group, type.group_size, type.reward)));
    return std::move(trained.model);
  };
  Leg out;
  Report here = from;
  CANDOR_TRY(std::vector<double> model, train(here));
  const std::vector<double> first = model;
  for (int k = 1; k <= steps; ++k) {
    Report next = from;
    const double share = static_cast<double>(k) / steps;
    for (size_t x = 0; x < to.size(); ++x) {
      next.reward[x] = k == steps ? to[x] : from.reward[x] + share * (to[x] - from.reward[x]);
    }
    CANDOR_TRY(std::vector<double> next_model, train(next));
    out.forward += group_valuation(game, next, next_model) - group_valuation(game, next, model);
    out.backward += group_valuation(game, here, model) - group_valuation(game, here, next_model);
    here = std::move(next);
    model = std::move(next_model);
  }
  Report change = from;
  for (size_t x = 0; x < to.size(); ++x) change.reward[x] = to[x] - from.reward[x];
  out.predicted =
      (group_valuation(game, change, model) - group_valuation(game, change, first)) / steps;
  return out;
}

}  // namespace

Result<PaymentPath> payment_path(const TrainingRule& rule, const Game& game, size_t group,
                                 const Report& from, const Report& to, int steps) {
  CANDOR_CHECK(steps >= 1 && group < game.groups.size());
  const auto constant = constant_reward(game);
  if (!constant.has_value()) {
    return invalid_argument(
        "min_max normalisation excludes the constant reward that the path leads through: Thm 3.6 "
        "and Cor 3.7 do not apply, and payments need not be unique");
  }
  const Report middle{.name = "constant", .group_size = to.group_size, .reward = *constant};
  CANDOR_TRY(const Leg there, walk_leg(rule, game, group, from, *constant, steps));
  CANDOR_TRY(const Leg onward, walk_leg(rule, game, group, middle, to.reward, steps));
  // The change of size at the constant reward costs nothing: every model is worth the same there.
  return PaymentPath{.steps = steps,
                     .forward = there.forward + onward.forward,
                     .backward = there.backward + onward.backward,
                     .predicted_width = there.predicted + onward.predicted};
}

}  // namespace candor
