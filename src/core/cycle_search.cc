#include "core/cycle_search.h"

#include <algorithm>
#include <cmath>

#include "base/interrupt.h"
#include "base/rng.h"

namespace candor {

namespace {

constexpr uint32_t kRandomMoves = 0x6d6f7665;  // "move"
constexpr size_t kMostStarts = 48;             // types of the grid that starts are made of
constexpr double kFirstStep = 0.5;
constexpr double kLastStep = 0.004;
constexpr double kRewardGrid = 10000;

using Vector = std::vector<double>;

struct Cycle {
  std::vector<TypeModel> at;
  double longest = 0;  // its length with all errors added: negative only where it is certain
};

// The length of the cycle through all types in their order, or the other way round, plus errors.
double longest_length(const Game& game, const std::vector<TypeModel>& at) {
  const ReportValues values = values_of(game, at);
  double length = 0;
  for (size_t t = 0; t < at.size(); ++t) {
    const size_t s = (t + at.size() - 1) % at.size();
    length += values.value[t][t] - values.value[t][s] + values.error[t][t] + values.error[t][s];
  }
  return length;
}

// A step of a reward, for a step in (0, 1]: the stake moves by that much of what moves a model
// well.
double reward_step(const Game& game, const Report& type, double step) {
  const double stake = type.group_size * std::ranges::max(type.reward);
  return step * std::min(stake, 4 * game.divergence.regularization) / type.group_size;
}

// What moving the stakes of an edge against d = p_t - p_s promises. With J the sensitivity of a
// model to its stake, a move e changes the length of a pair by <e, d> + <e, J e>: by -<d, d/J>/4 at
// best. J is p/L under kl, near enough to choose starts elsewhere; a pair has two edges.
double promise(const Game& game, const TypeModel& to, const TypeModel& from) {
  double square = 0;
  for (size_t x = 0; x < to.trained.model.size(); ++x) {
    const double p = to.trained.model[x];
    const double q = from.trained.model[x];
    if (p != q) square += (p - q) * (p - q) / ((p + q) / 2);
  }
  return game.divergence.regularization * square / (8 * static_cast<double>(game.block_count()));
}

struct Start {
  std::vector<TypeModel> types;
  double promised = 0;  // length after a first step; lower is better
};

// Pairs and triples, best first.
struct Starts {
  std::vector<Start> pairs;
  std::vector<Start> triples;
};

void keep_best(std::vector<Start>& starts, Start start) {
  constexpr size_t kKept = 4;
  if (starts.size() == kKept && start.promised >= starts.back().promised) return;
  starts.insert(std::ranges::upper_bound(starts, start.promised, {}, &Start::promised),
                std::move(start));
  if (starts.size() > kKept) starts.pop_back();
}

// The pairs and the triples of some types.
void add_starts(const Game& game, const std::vector<TypeModel>& types, Starts& starts) {
  const size_t n = types.size();
  const ReportValues values = values_of(game, types);
  std::vector<Vector> edge(n, Vector(n));  // promised length of s -> t
  for (size_t s = 0; s < n; ++s) {
    for (size_t t = 0; t < n; ++t) {
      edge[s][t] = values.value[t][t] - values.value[t][s] - promise(game, types[t], types[s]);
    }
  }
  for (size_t a = 0; a < n; ++a) {
    for (size_t b = a + 1; b < n; ++b) {
      keep_best(starts.pairs, {{types[a], types[b]}, edge[a][b] + edge[b][a]});
      for (size_t c = a + 1; c < n; ++c) {
        if (c == b) continue;
        keep_best(starts.triples,
                  {{types[a], types[b], types[c]}, edge[a][b] + edge[b][c] + edge[c][a]});
      }
    }
  }
}

class Search {
 public:
  Search(const TrainingRule& rule, const Game& game, size_t group, double first_size,
         const CycleSearchOptions& options)
      : rule_(rule),
        game_(game),
        group_(group),
        options_(options),
        most_size_(std::min(static_cast<double>(game.max_size), std::max(64.0, 16 * first_size))),
        random_({.seed = options.seed,
                 .stream = kRandomMoves,
                 .prompt = static_cast<uint32_t>(group)}) {}

  [[nodiscard]] int runs() const { return runs_; }
  [[nodiscard]] int types() const { return types_; }

  // Adds pairs of one stake at two sizes, drawn at random, with `budget` runs.
  Status draw_starts(int budget, Starts& starts) {
    const int end = runs_ + budget;
    while (runs_ + 2 <= end) {
      CANDOR_RETURN_IF_ERROR(check_interrupted());
      const double size = whole(std::exp(random_.uniform() * std::log(most_size_ / 2)));
      const double other = whole(size * std::exp(random_.uniform() * std::log(most_size_ / size)));
      // Many rewards of 0, so that the smaller group is loud.
      const bool sparse = random_.below(2) == 0;
      Vector reward(game_.outcome_count());
      for (double& value : reward) {
        value = random_.uniform();
        if (sparse) value = std::max(0.0, 4 * value - 3);
      }
      reward[random_.below(reward.size())] = 1;
      runs_ += 2;  // also where there is no such pair: the loop ends
      if (other <= size || !settle(reward)) continue;
      auto same = equal_stake_reward(game_, group_, reward, size, other);
      if (!same.has_value()) continue;
      auto loud = train_type(rule_, game_, group_, {"", size, std::move(reward)});
      auto mild = train_type(rule_, game_, group_, {"", other, std::move(*same)});
      if (!loud.ok() || !mild.ok()) continue;
      types_ += 2;
      add_starts(game_, {std::move(loud).value(), std::move(mild).value()}, starts);
    }
    return {};
  }

  // Descends from one start with at most `budget` runs more.
  Result<Cycle> descend(std::vector<TypeModel> start, int budget) {
    Cycle cycle{.at = std::move(start)};
    cycle.longest = longest_length(game_, cycle.at);
    const int end = std::min(options_.runs, runs_ + budget);
    // A short enough move against the lies' models makes a cycle of length 0 negative: first find
    // how short.
    double step = kFirstStep;
    while (step >= kLastStep && !sweep(cycle, step, false, end)) step /= 2;
    step = std::max(step, kFirstStep / 8);
    while (step >= kLastStep && runs_ < end) {
      CANDOR_RETURN_IF_ERROR(check_interrupted());
      if (!sweep(cycle, step, true, end)) step /= 2;
    }
    return cycle;
  }

 private:
  // Brings a reward onto the grid of admissible ones; false where it cannot be.
  bool settle(Vector& reward) const {
    if (game_.normalization == Normalization::kMax) {
      // A constant does not change the stake: the largest value comes to 1 by a shift.
      const double shift = 1 - std::ranges::max(reward);
      for (double& value : reward) value += shift;
    }
    if (!make_admissible(game_, group_, reward)) return false;
    const double most = std::ranges::max(reward);
    if (!(most > 0)) return false;
    for (double& value : reward) {
      value = std::round(value / most * kRewardGrid) / kRewardGrid;
      if (game_.normalization == Normalization::kNone) value *= most;
    }
    return make_admissible(game_, group_, reward);
  }

  [[nodiscard]] double whole(double size) const {
    return std::clamp(std::round(size), 1.0, most_size_);
  }

  // Tries the moves of every type; true where one helped.
  bool sweep(Cycle& cycle, double step, bool all, int end) {
    bool better = false;
    for (size_t place = 0; place < cycle.at.size(); ++place) {
      std::vector<Report> reports = moves_against(cycle, place, step);
      if (all)
        std::ranges::move(other_moves(cycle.at[place].type, step), std::back_inserter(reports));
      for (Report& report : reports) {
        if (runs_ >= end) return better;
        better |= try_report(cycle, place, std::move(report));
      }
    }
    return better;
  }

  // The reward moved against what its own report gains over the lie: by the difference of the two
  // models, and by that of their logarithms, which is Newton's step where the model is exponential
  // in the stake (kl).
  [[nodiscard]] std::vector<Report> moves_against(const Cycle& cycle, size_t place,
                                                  double step) const {
    const Report& own = cycle.at[place].type;
    const Vector& model = cycle.at[place].trained.model;
    const Vector& lie = cycle.at[(place + cycle.at.size() - 1) % cycle.at.size()].trained.model;
    double most = 0;
    for (size_t x = 0; x < model.size(); ++x) most = std::max(most, std::abs(model[x] - lie[x]));
    if (most == 0) return {};
    const double change = reward_step(game_, own, step);
    const double scale = step * game_.divergence.regularization / own.group_size;
    Vector plain = own.reward;
    Vector logarithms = own.reward;
    constexpr double kFloor = 1e-12;
    for (size_t x = 0; x < model.size(); ++x) {
      plain[x] -= change * (model[x] - lie[x]) / most;
      logarithms[x] -=
          scale * std::clamp(std::log((model[x] + kFloor) / (lie[x] + kFloor)), -4.0, 4.0);
    }
    std::vector<Report> out;
    for (Vector* reward : {&plain, &logarithms}) {
      if (settle(*reward)) out.push_back({"", own.group_size, std::move(*reward)});
    }
    return out;
  }

  // Other sizes, at one stake and at one reward, and random rewards.
  std::vector<Report> other_moves(const Report& own, double step) {
    const double size = own.group_size;
    const double change = reward_step(game_, own, step);
    std::vector<Report> out;
    const auto add = [&](double group_size, Vector reward) {
      if (settle(reward)) out.push_back({"", group_size, std::move(reward)});
    };
    for (const double other : {whole(std::max(size + 1, size * (1 + 2 * step))),
                               whole(std::min(size - 1, size / (1 + 2 * step)))}) {
      if (other == size) continue;
      auto same = equal_stake_reward(game_, group_, own.reward, size, other);
      if (same.has_value()) add(other, std::move(*same));
      add(other, own.reward);
    }
    for (const double sign : {1.0, -1.0}) {
      Vector one = own.reward;
      one[random_.below(one.size())] += sign * change;
      add(size, std::move(one));
    }
    Vector all = own.reward;
    for (double& value : all) value += change * (random_.uniform() - 0.5);
    add(size, std::move(all));
    return out;
  }

  bool try_report(Cycle& cycle, size_t place, Report report) {
    ++runs_;
    Result<TypeModel> made = train_type(rule_, game_, group_, std::move(report));
    if (!made.ok()) return false;  // the rule is not defined for every report
    ++types_;
    std::swap(cycle.at[place], *made);
    const double longest = longest_length(game_, cycle.at);
    if (longest < cycle.longest) {
      cycle.longest = longest;
      return true;
    }
    std::swap(cycle.at[place], *made);
    return false;
  }

  const TrainingRule& rule_;
  const Game& game_;
  size_t group_;
  CycleSearchOptions options_;
  double most_size_;
  RandomStream random_;
  int runs_ = 0;
  int types_ = 0;
};

}  // namespace

Result<CycleSearch> search_negative_cycle(const TrainingRule& rule, const Game& game, size_t group,
                                          const std::vector<TypeModel>& grid,
                                          const CycleSearchOptions& options) {
  CycleSearch out;
  if (grid.size() < 2) return out;
  Search search(rule, game, group, grid.front().type.group_size, options);
  Starts starts;
  add_starts(
      game,
      {grid.begin(), grid.begin() + static_cast<ptrdiff_t>(std::min(kMostStarts, grid.size()))},
      starts);
  CANDOR_RETURN_IF_ERROR(search.draw_starts(options.runs / 8, starts));
  Cycle best;
  const auto from = [&](std::vector<Start>& list, int budget) -> Status {
    for (Start& start : list) {
      CANDOR_TRY(Cycle found, search.descend(std::move(start.types), budget));
      if (best.at.empty() || found.longest < best.longest) best = std::move(found);
    }
    return {};
  };
  // Pairs first; triples where no pair is a witness.
  CANDOR_RETURN_IF_ERROR(from(starts.pairs, std::max(1, options.runs / 8)));
  if (!(best.longest < 0)) {
    CANDOR_RETURN_IF_ERROR(from(starts.triples, std::max(1, options.runs / 8)));
  }
  out.cycle = std::move(best.at);
  out.runs = search.runs();
  out.types = search.types();
  return out;
}

}  // namespace candor
