#include "core/rule.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

#include "base/strings.h"
#include "core/concave_rule.h"
#include "core/model_error.h"
#include "core/solution.h"

namespace candor {

namespace {

using Model = std::vector<double>;
using Train = std::function<Result<TrainedModel>(const Game&)>;
using Proof = std::function<std::optional<std::string>(const Game&, size_t group)>;

class NamedRule : public TrainingRule {
 public:
  NamedRule(std::string name, Train train, Proof proof)
      : name_(std::move(name)), train_(std::move(train)), proof_(std::move(proof)) {}
  [[nodiscard]] std::string name() const override { return name_; }
  [[nodiscard]] Result<TrainedModel> train(const Game& game) const override {
    Result<TrainedModel> out = train_(game);
    if (!out.ok()) return out;
    const bool finite = std::ranges::all_of(out->model, [](double p) { return std::isfinite(p); });
    if (finite && std::isfinite(out->gap)) return out;
    return invalid_argument(
        str_cat(name_, ": the rewards overflow beside the divergence's lambda"));
  }
  [[nodiscard]] std::optional<std::string> proof(const Game& game, size_t group) const override {
    return proof_ ? proof_(game, group) : std::nullopt;
  }

 private:
  std::string name_;
  Train train_;
  Proof proof_;
};

TrainedModel trained(WeightedOptimum optimum) {
  return {std::move(optimum.model), optimum.gap, optimum.distance};
}

// Where the two best of some values, computed from terms of the size `magnitude`, are as near as
// rounding, either may be the rule's choice.
double distance_of_choice(double best, double second, double magnitude) {
  constexpr double kRounding = 64 * std::numeric_limits<double>::epsilon();
  return best - second > kRounding * magnitude ? 0.0 : 2.0;
}

Result<TrainedModel> train_sw_max(const Game& game) {
  if (!game.candidates.empty()) {
    CANDOR_TRY(Solution solution, solve(game));
    const CandidateTable table = tabulate(game);
    double second = -std::numeric_limits<double>::infinity();
    double magnitude = 0;
    for (size_t k = 0; k < table.divergences.size(); ++k) {
      const double welfare = table.welfare(k);
      if (std::isfinite(welfare)) {
        magnitude = std::max(magnitude, std::abs(welfare) + 2 * table.divergences[k]);
      }
      if (k != *solution.winner) second = std::max(second, welfare);
    }
    return TrainedModel{std::move(solution.allocation), 0.0,
                        distance_of_choice(solution.welfare, second, magnitude)};
  }
  std::vector<double> sizes;
  for (const Report& report : game.groups) sizes.push_back(report.group_size);
  return trained(solve_weighted(game, sizes));
}

// The candidate of largest F(v_1, ..., v_n) - D, v per agent.
template <typename Objective>
TrainedModel best_candidate(const Game& game, const Objective& objective) {
  const CandidateTable table = tabulate(game);
  size_t best = 0;
  double most = -std::numeric_limits<double>::infinity();
  double second = most;
  double magnitude = 0;
  double sizes = 0;  // an error of 1 part in v moves a size-weighted objective by at most this
  for (const Report& report : game.groups) sizes += report.group_size;
  for (size_t k = 0; k < table.divergences.size(); ++k) {
    std::vector<double> valuations;
    for (size_t i = 0; i < game.groups.size(); ++i) {
      valuations.push_back(table.valuations[i][k] / game.groups[i].group_size);
    }
    const double merit = objective(valuations);
    const double value = merit - table.divergences[k];
    if (std::isfinite(value)) {
      magnitude = std::max(magnitude, std::abs(merit) + table.divergences[k] + sizes);
    }
    second = std::max(second, std::min(value, most));
    if (value > most) {
      most = value;
      best = k;
    }
  }
  return {game.candidates[best], 0.0, distance_of_choice(most, second, magnitude)};
}

Status check_concave(const Game& game, const char* rule) {
  if (game.divergence.kind != DivergenceKind::kTv || !game.candidates.empty()) return {};
  return invalid_argument(str_cat(rule, " needs a strictly convex divergence; found tv"));
}

Result<TrainedModel> train_max_min(const Game& game) {
  CANDOR_RETURN_IF_ERROR(check_concave(game, "max_min"));
  if (game.candidates.empty()) return solve_max_min(game);
  return best_candidate(game,
                        [](const std::vector<double>& v) { return *std::ranges::min_element(v); });
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
  return best_candidate(game, product);
}

// argmax w_i v_i - D for one group alone.
TrainedModel own_optimum(const Game& game, size_t group) {
  const double size = game.groups[group].group_size;
  if (game.candidates.empty()) {
    std::vector<double> weights(game.groups.size(), 0.0);
    weights[group] = size;
    return trained(solve_weighted(game, weights));
  }
  return best_candidate(game, [&](const std::vector<double>& v) { return size * v[group]; });
}

// sum_i share_i x (optimum of i).
TrainedModel mix_of_optima(const Game& game, const std::vector<double>& shares) {
  TrainedModel mixed{.model = Model(game.outcome_count(), 0.0)};
  for (size_t group = 0; group < game.groups.size(); ++group) {
    const TrainedModel own = own_optimum(game, group);
    for (size_t x = 0; x < mixed.model.size(); ++x) {
      mixed.model[x] += shares[group] * own.model[x];
    }
    mixed.distance += shares[group] * own.distance;
  }
  return mixed;
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
  double distance = 0;  // a median moves by no more than what it is taken of
  for (size_t group = 0; group < game.groups.size(); ++group) {
    TrainedModel own = own_optimum(game, group);
    distance += own.distance;
    optima.push_back(std::move(own.model));
  }
  Model median(game.outcome_count());
  double least_mass = std::numeric_limits<double>::infinity();
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
    least_mass = std::min(least_mass, mass);
  }
  // Scaling to sum 1 divides the error by the mass, and adds that of the mass.
  return TrainedModel{std::move(median), 0.0, std::min(2.0, 2 * distance / least_mass)};
}

Result<TrainedModel> train_dictatorship(const Game& game, const std::string& dictator) {
  const Result<size_t> group = find_group(game, dictator);
  if (!group.ok()) return invalid_argument("dictatorship: " + group.error().message);
  return own_optimum(game, *group);
}

// ---------------------------------------------------------------- proofs (rule.h)

std::string potential_proof(const std::string& potential, const std::string& rest) {
  return str_cat("the model is a subgradient of ", potential,
                 " in the group's stake s = w rm, a convex function", rest, " (Rochet 1987)");
}

std::string own_optimum_proof() {
  return potential_proof("max_p <s, p> - D(p)", ", a maximum of affine ones");
}

std::optional<std::string> prove_sw_max(const Game&, size_t) {
  return potential_proof("max_p <s, p> + the others' valuations - D(p)",
                         ", a maximum of affine ones; the payment is p^AFF, Thm 3.3");
}

std::optional<std::string> prove_uniform(const Game&, size_t) {
  return potential_proof("1/n (max_p <s, p> - D(p)) + <s, the others' share of the model>", "");
}

std::optional<std::string> prove_alone(const Game& game, size_t) {
  if (game.groups.size() > 1) return std::nullopt;
  return "the group is alone, so " + own_optimum_proof();
}

std::optional<std::string> prove_dictatorship(const Game& game, size_t group,
                                              const std::string& dictator) {
  const Result<size_t> found = find_group(game, dictator);
  if (!found.ok()) return std::nullopt;
  if (*found == group) return own_optimum_proof();
  return "the model does not depend on this group's report, so any constant payment will do";
}

}  // namespace

std::vector<double> weighted_optimum(const Game& game, const std::vector<double>& weights) {
  return solve_weighted(game, weights).model;
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
  return std::make_unique<NamedRule>(std::move(name), std::move(look_up), nullptr);
}

Result<std::unique_ptr<TrainingRule>> make_training_rule(const std::string& name) {
  struct Parts {
    Train train;
    Proof proof;
  };
  static const std::vector<Parts> kRules = {
      {train_sw_max, prove_sw_max}, {train_max_min, nullptr},    {train_nash, nullptr},
      {train_mean, prove_alone},    {train_median, prove_alone}, {train_uniform, prove_uniform}};
  const std::vector<std::string>& names = training_rule_names();
  const std::string& dictatorship = names.back();
  if (name == dictatorship || name.starts_with(dictatorship + ":")) {
    const std::string dictator = name == dictatorship ? "" : name.substr(dictatorship.size() + 1);
    return std::unique_ptr<TrainingRule>(new NamedRule(
        name, [dictator](const Game& game) { return train_dictatorship(game, dictator); },
        [dictator](const Game& game, size_t group) {
          return prove_dictatorship(game, group, dictator);
        }));
  }
  const auto found = std::ranges::find(names, name);
  if (found == names.end()) {
    return invalid_argument(str_cat("training rule: found ", quote(name), "; expected one of ",
                                    join(names, ", "), did_you_mean(name, names)));
  }
  const Parts& parts = kRules[static_cast<size_t>(found - names.begin())];
  return std::unique_ptr<TrainingRule>(new NamedRule(name, parts.train, parts.proof));
}

}  // namespace candor
