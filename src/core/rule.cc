#include "core/rule.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

#include "base/strings.h"
#include "core/block_solver.h"
#include "core/concave_rule.h"
#include "core/solution.h"

namespace candor {

namespace {

using Model = std::vector<double>;
using Train = std::function<Result<TrainedModel>(const Game&)>;

class NamedRule : public TrainingRule {
 public:
  NamedRule(std::string name, Train train) : name_(std::move(name)), train_(std::move(train)) {}
  [[nodiscard]] std::string name() const override { return name_; }
  [[nodiscard]] Result<TrainedModel> train(const Game& game) const override {
    Result<TrainedModel> out = train_(game);
    if (!out.ok()) return out;
    const bool finite = std::ranges::all_of(out->model, [](double p) { return std::isfinite(p); });
    if (finite && std::isfinite(out->gap)) return out;
    return invalid_argument(
        str_cat(name_, ": the rewards overflow beside the divergence's lambda"));
  }

 private:
  std::string name_;
  Train train_;
};

Result<TrainedModel> train_sw_max(const Game& game) {
  if (!game.candidates.empty()) {
    CANDOR_TRY(Solution solution, solve(game));
    return TrainedModel{std::move(solution.allocation), 0.0};
  }
  std::vector<double> sizes;
  for (const Report& report : game.groups) sizes.push_back(report.group_size);
  return TrainedModel{weighted_optimum(game, sizes), 0.0};
}

// The candidate of largest F(v_1, ..., v_n) - D, v per agent.
template <typename Objective>
Model best_candidate(const Game& game, const Objective& objective) {
  const CandidateTable table = tabulate(game);
  size_t best = 0;
  double most = -std::numeric_limits<double>::infinity();
  for (size_t k = 0; k < table.divergences.size(); ++k) {
    std::vector<double> valuations;
    for (size_t i = 0; i < game.groups.size(); ++i) {
      valuations.push_back(table.valuations[i][k] / game.groups[i].group_size);
    }
    const double value = objective(valuations) - table.divergences[k];
    if (value > most) {
      most = value;
      best = k;
    }
  }
  return game.candidates[best];
}

Status check_concave(const Game& game, const char* rule) {
  if (game.divergence.kind != DivergenceKind::kTv || !game.candidates.empty()) return {};
  return invalid_argument(str_cat(rule, " needs a strictly convex divergence; found tv"));
}

Result<TrainedModel> train_max_min(const Game& game) {
  CANDOR_RETURN_IF_ERROR(check_concave(game, "max_min"));
  if (game.candidates.empty()) return solve_max_min(game);
  return TrainedModel{
      best_candidate(game,
                     [](const std::vector<double>& v) { return *std::ranges::min_element(v); }),
      0.0};
}

Result<TrainedModel> train_nash(const Game& game) {
  CANDOR_RETURN_IF_ERROR(check_concave(game, "nash"));
  for (const Report& report : game.groups) {
    if (std::ranges::max(report.reward) > 0) continue;
    return invalid_argument(str_cat("nash: group ", quote(report.name),
                                    " values nothing, so the product is 0 whatever is chosen"));
  }
  if (game.candidates.empty()) return solve_nash(game);
  const auto product = [&](const std::vector<double>& v) {
    double total = 0;
    for (size_t i = 0; i < v.size(); ++i) total += game.groups[i].group_size * std::log(v[i]);
    return total;
  };
  return TrainedModel{best_candidate(game, product), 0.0};
}

// argmax w_i v_i - D for one group alone.
Model own_optimum(const Game& game, size_t group) {
  const double size = game.groups[group].group_size;
  if (game.candidates.empty()) {
    std::vector<double> weights(game.groups.size(), 0.0);
    weights[group] = size;
    return weighted_optimum(game, weights);
  }
  return best_candidate(game, [&](const std::vector<double>& v) { return size * v[group]; });
}

// sum_i share_i x (optimum of i).
TrainedModel mix_of_optima(const Game& game, const std::vector<double>& shares) {
  Model mixed(game.outcome_count(), 0.0);
  for (size_t group = 0; group < game.groups.size(); ++group) {
    const Model own = own_optimum(game, group);
    for (size_t x = 0; x < mixed.size(); ++x) mixed[x] += shares[group] * own[x];
  }
  return {std::move(mixed), 0.0};
}

Result<TrainedModel> train_mean(const Game& game) {
  std::vector<double> shares;
  for (const Report& report : game.groups) shares.push_back(report.group_size);
  const double total = std::accumulate(shares.begin(), shares.end(), 0.0);
  for (double& share : shares) share /= total;
  return mix_of_optima(game, shares);
}

Result<TrainedModel> train_uniform(const Game& game) {
  const auto n = static_cast<double>(game.groups.size());
  return mix_of_optima(game, std::vector<double>(game.groups.size(), 1 / n));
}

struct Weighted {
  double value;
  double weight;
};

// The middle of the weight; where two values share it, half-way between them.
double weighted_median(std::vector<Weighted>& items) {
  std::ranges::sort(items, {}, &Weighted::value);
  double total = 0;
  for (const Weighted& item : items) total += item.weight;
  double below = 0;
  for (size_t i = 0; i < items.size(); ++i) {
    below += items[i].weight;
    if (2 * below > total) return items[i].value;
    if (2 * below == total && i + 1 < items.size())
      return (items[i].value + items[i + 1].value) / 2;
  }
  return items.back().value;
}

Result<TrainedModel> train_median(const Game& game) {
  std::vector<Model> optima;
  for (size_t group = 0; group < game.groups.size(); ++group) {
    optima.push_back(own_optimum(game, group));
  }
  Model median(game.outcome_count());
  std::vector<Weighted> items(optima.size());
  for (size_t block = 0; block < game.block_count(); ++block) {
    double mass = 0;
    for (size_t x = game.block_begin[block]; x < game.block_begin[block + 1]; ++x) {
      for (size_t i = 0; i < optima.size(); ++i) {
        items[i] = {optima[i][x], game.groups[i].group_size};
      }
      median[x] = weighted_median(items);
      mass += median[x];
    }
    if (!(mass > 0)) {
      return invalid_argument(
          "median_of_optima: no outcome has mass in most of the groups' optima");
    }
    for (size_t x = game.block_begin[block]; x < game.block_begin[block + 1]; ++x) {
      median[x] /= mass;
    }
  }
  return TrainedModel{std::move(median), 0.0};
}

Result<TrainedModel> train_dictatorship(const Game& game, const std::string& dictator) {
  const Result<size_t> group = find_group(game, dictator);
  if (!group.ok()) return invalid_argument("dictatorship: " + group.error().message);
  return TrainedModel{own_optimum(game, *group), 0.0};
}

}  // namespace

std::vector<double> weighted_optimum(const Game& game, const std::vector<double>& weights) {
  std::vector<double> total(game.outcome_count(), 0.0);
  for (size_t group = 0; group < weights.size(); ++group) {
    const std::vector<double>& reward = game.groups[group].reward;
    for (size_t x = 0; x < total.size(); ++x) total[x] += weights[group] * reward[x];
  }
  std::vector<double> model;
  model.reserve(total.size());
  for (size_t index = 0; index < game.block_count(); ++index) {
    const size_t begin = game.block_begin[index];
    const size_t count = game.block_begin[index + 1] - begin;
    const Block block{.divergence = game.divergence,
                      .initial = std::span(game.initial).subspan(begin, count),
                      .rewards = {std::span<const double>(total).subspan(begin, count)},
                      .rests = {},
                      .sizes = {1.0}};
    const BlockSolution solution = solve_block(block);
    model.insert(model.end(), solution.allocation.begin(), solution.allocation.end());
  }
  return model;
}

const std::vector<std::string>& training_rule_names() {
  static const std::vector<std::string> kNames = {
      "sw_max",           "max_min",         "nash",        "mean_of_optima",
      "median_of_optima", "uniform_mixture", "dictatorship"};
  return kNames;
}

std::unique_ptr<TrainingRule> make_table_rule(std::string name, size_t group,
                                              std::vector<RuleRow> rows) {
  auto look_up = [group, rows = std::move(rows)](const Game& game) -> Result<TrainedModel> {
    const Report& report = game.groups[group];
    for (const RuleRow& row : rows) {
      if (row.type.group_size == report.group_size && row.type.reward == report.reward) {
        return TrainedModel{row.model, 0.0};
      }
    }
    return invalid_argument(
        str_cat("the rule's table has no row for this report of size ", report.group_size));
  };
  return std::make_unique<NamedRule>(std::move(name), std::move(look_up));
}

Result<std::unique_ptr<TrainingRule>> make_training_rule(const std::string& name) {
  static const std::vector<Train> kTrain = {train_sw_max, train_max_min, train_nash,
                                            train_mean,   train_median,  train_uniform};
  const std::vector<std::string>& names = training_rule_names();
  const std::string& dictatorship = names.back();
  if (name == dictatorship || name.starts_with(dictatorship + ":")) {
    const std::string dictator = name == dictatorship ? "" : name.substr(dictatorship.size() + 1);
    return std::unique_ptr<TrainingRule>(new NamedRule(
        name, [dictator](const Game& game) { return train_dictatorship(game, dictator); }));
  }
  const auto found = std::ranges::find(names, name);
  if (found == names.end()) {
    return invalid_argument(str_cat("training rule: found ", quote(name), "; expected one of ",
                                    join(names, ", "), did_you_mean(name, names)));
  }
  return std::unique_ptr<TrainingRule>(
      new NamedRule(name, kTrain[static_cast<size_t>(found - names.begin())]));
}

}  // namespace candor
