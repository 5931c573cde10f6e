#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"
#include "base/interrupt.h"
#include "base/strings.h"
#include "core/block_solver.h"
#include "core/divergence.h"
#include "core/solution.h"
#include "core/sum.h"

namespace candor {

namespace {

std::vector<GroupOutcome> empty_outcomes(const Game& game) {
  std::vector<GroupOutcome> outcomes;
  outcomes.reserve(game.groups.size());
  for (const Report& report : game.groups) {
    outcomes.push_back({.name = report.name, .group_size = report.group_size});
  }
  return outcomes;
}

// The mean over blocks of numbers that add up.
class MeanOverBlocks {
 public:
  void add(const Bounded& one) {
    value_.add(one.value);
    low_.add(one.enclosure.low);
    high_.add(one.enclosure.high);
    magnitude_ += std::abs(one.enclosure.low) + std::abs(one.enclosure.high);
    ++count_;
  }
  void store(double& value, Enclosure& enclosure) const {
    const double rounding = 8 * kUnitRoundoff * magnitude_ / count_;
    enclosure = {low_.value() / count_ - rounding, high_.value() / count_ + rounding};
    value = enclosure.nearest(value_.value() / count_);
  }

 private:
  Sum value_, low_, high_;
  double magnitude_ = 0;
  double count_ = 0;
};

// Payments are never negative, and neither are utilities where rewards are not.
void raise_to_zero(double& value, Enclosure& enclosure) {
  enclosure.low = std::max(0.0, enclosure.low);
  value = std::max(0.0, value);
}

void store(const Bounded& from, double& value, Enclosure& enclosure) {
  enclosure = from.enclosure;
  value = enclosure.nearest(from.value);
}
void store(const MeanOverBlocks& from, double& value, Enclosure& enclosure) {
  from.store(value, enclosure);
}

// The numbers of one group, of one block or the means over several.
template <typename Number>
struct GroupNumbers {
  Number valuation, payment, utility, without;

  void store_in(GroupOutcome& outcome) const {
    store(valuation, outcome.valuation, outcome.valuation_enclosure);
    store(payment, outcome.payment, outcome.payment_enclosure);
    store(utility, outcome.utility, outcome.utility_enclosure);
    store(without, outcome.welfare_without, outcome.welfare_without_enclosure);
    raise_to_zero(outcome.payment, outcome.payment_enclosure);
  }
};

GroupNumbers<Bounded> numbers_of(const BlockSolution& block, size_t group) {
  return {block.valuations[group], block.payments[group], block.utilities[group],
          block.without[group]};
}

void finish(const Game& game, Solution& out) {
  raise_to_zero(out.divergence, out.divergence_enclosure);
  for (size_t group = 0; group < out.groups.size(); ++group) {
    if (std::ranges::min(game.groups[group].reward) < 0) continue;
    raise_to_zero(out.groups[group].utility, out.groups[group].utility_enclosure);
  }
}

Solution solve_one_block(const Game& game) {
  BlockSolution block = solve_block(block_of(game, 0));
  Solution out;
  out.groups = empty_outcomes(game);
  out.allocation = std::move(block.allocation);
  out.reads = block.reads;
  store(block.welfare, out.welfare, out.welfare_enclosure);
  store(block.divergence, out.divergence, out.divergence_enclosure);
  for (size_t group = 0; group < out.groups.size(); ++group) {
    numbers_of(block, group).store_in(out.groups[group]);
  }
  finish(game, out);
  return out;
}

Solution solve_all_distributions(const Game& game) {
  if (game.block_count() == 1) return solve_one_block(game);
  Solution out;
  out.groups = empty_outcomes(game);
  out.allocation.reserve(game.outcome_count());
  MeanOverBlocks welfare;
  MeanOverBlocks divergence;
  std::vector<GroupNumbers<MeanOverBlocks>> means(game.groups.size());
  for (size_t index = 0; index < game.block_count(); ++index) {
    const BlockSolution block = solve_block(block_of(game, index));
    out.model_error += block.model_error / static_cast<double>(game.block_count());
    welfare.add(block.welfare);
    divergence.add(block.divergence);
    out.reads = std::max(out.reads, block.reads);
    out.allocation.insert(out.allocation.end(), block.allocation.begin(), block.allocation.end());
    for (size_t group = 0; group < means.size(); ++group) {
      means[group].valuation.add(block.valuations[group]);
      means[group].payment.add(block.payments[group]);
      means[group].utility.add(block.utilities[group]);
      means[group].without.add(block.without[group]);
    }
  }
  welfare.store(out.welfare, out.welfare_enclosure);
  divergence.store(out.divergence, out.divergence_enclosure);
  for (size_t group = 0; group < means.size(); ++group) means[group].store_in(out.groups[group]);
  finish(game, out);
  return out;
}

}  // namespace

double default_tolerance(double sum_of_sizes) { return 1e-9 * (1 + sum_of_sizes); }

double Solution::error() const {
  double error =
      std::max(welfare_enclosure.distance(welfare), divergence_enclosure.distance(divergence));
  for (const GroupOutcome& group : groups) {
    error = std::max({error, group.valuation_enclosure.distance(group.valuation),
                      group.payment_enclosure.distance(group.payment),
                      group.utility_enclosure.distance(group.utility),
                      group.welfare_without_enclosure.distance(group.welfare_without)});
  }
  return error;
}

namespace {

bool all_finite(const Solution& solution, double error) {
  bool finite = std::isfinite(solution.welfare) && std::isfinite(error);
  for (const GroupOutcome& group : solution.groups) {
    finite = finite && std::isfinite(group.payment) && std::isfinite(group.valuation);
  }
  return finite;
}

}  // namespace

Status judge(const SolveOptions& options, Solution& solution) {
  const double error = solution.error();
  if (!all_finite(solution, error)) {
    return invalid_argument(
        "the game leaves the range of double precision: some number of its solution is not "
        "finite; scale lambda, sizes and rewards to the size of 1");
  }
  double sizes = 0;
  for (const GroupOutcome& group : solution.groups) sizes += group.group_size;
  solution.tolerance = options.tolerance.value_or(default_tolerance(sizes));
  solution.converged = error <= solution.tolerance;
  return {};
}

// The menu of candidates as a table of doubles (MATH 4).
CandidateTable tabulate(const Game& game) {
  CandidateTable table;
  for (const std::vector<double>& model : game.candidates) {
    table.divergences.push_back(divergence_from_initial(game, model));
  }
  for (const Report& report : game.groups) {
    std::vector<double>& row = table.valuations.emplace_back();
    for (const std::vector<double>& model : game.candidates) {
      row.push_back(group_valuation(game, report, model));
    }
  }
  return table;
}

double CandidateTable::welfare(size_t candidate, size_t skip) const {
  double total = 0;
  for (size_t group = 0; group < valuations.size(); ++group) {
    if (group != skip) total += valuations[group][candidate];
  }
  return total - divergences[candidate];
}

double CandidateTable::best_welfare(size_t skip) const {
  double best = -std::numeric_limits<double>::infinity();
  for (size_t k = 0; k < divergences.size(); ++k) best = std::max(best, welfare(k, skip));
  return best;
}

size_t CandidateTable::winner(const std::vector<double>& sizes) const {
  const auto precedes = [&](size_t a, size_t b) {  // ties: MATH 1
    for (size_t group = 0; group < valuations.size(); ++group) {
      const double per_agent_a = valuations[group][a] / sizes[group];
      const double per_agent_b = valuations[group][b] / sizes[group];
      if (per_agent_a != per_agent_b) return per_agent_a > per_agent_b;
    }
    return false;
  };
  size_t best = 0;
  for (size_t k = 1; k < divergences.size(); ++k) {
    const double challenger = welfare(k);
    const double champion = welfare(best);
    if (challenger > champion || (challenger == champion && precedes(k, best))) best = k;
  }
  return best;
}

namespace {

// Every number of a menu of candidates with its enclosure. A valuation is a sum of non-negative
// terms; a term p0 f(r) of the divergence is off by what the rounding of r = p/p0 does to f.
class CandidateBounds {
 public:
  CandidateBounds(const Game& game, const CandidateTable& table) : table_(table) {
    for (size_t k = 0; k < game.candidates.size(); ++k) {
      divergences_.push_back(
          around(table.divergences[k], divergence_rounding(game, game.candidates[k])));
    }
  }
  [[nodiscard]] Enclosure divergence(size_t k) const { return divergences_[k]; }
  [[nodiscard]] Enclosure valuation(size_t group, size_t k) const {
    const double value = table_.valuations[group][k];
    return around(value, kRounding * std::abs(value));
  }
  [[nodiscard]] Enclosure welfare(size_t k, size_t skip = kNobody) const {
    Enclosure total = -divergences_[k];
    for (size_t group = 0; group < table_.valuations.size(); ++group) {
      if (group != skip) total = total + valuation(group, k);
    }
    return total;
  }
  [[nodiscard]] Enclosure best_welfare(size_t skip = kNobody) const {
    Enclosure best = welfare(0, skip);
    for (size_t k = 1; k < divergences_.size(); ++k) {
      const Enclosure one = welfare(k, skip);
      best = {std::max(best.low, one.low), std::max(best.high, one.high)};
    }
    return best;
  }
  // The candidates that may be the best, as far as rounding lets see.
  [[nodiscard]] std::vector<size_t> winners() const {
    const double least = best_welfare().low;
    std::vector<size_t> out;
    for (size_t k = 0; k < divergences_.size(); ++k) {
      if (welfare(k).high >= least) out.push_back(k);
    }
    return out;
  }

 private:
  static constexpr double kRounding = 16 * kUnitRoundoff;

  static double divergence_rounding(const Game& game, const std::vector<double>& model) {
    double sum = 0;
    for (size_t x = 0; x < model.size(); ++x) {
      const double ratio = model[x] / game.initial[x];
      const double slope = ratio > 0 ? std::abs(centred_slope(game.divergence, ratio)) : 0;
      const double change = ratio > 0 ? slope * (ratio + 1) : generator(game.divergence, 0);
      sum += game.initial[x] * change;
    }
    return kRounding * sum / static_cast<double>(game.block_count());
  }
  static double centred_slope(const Divergence& divergence, double ratio) {
    if (divergence.kind == DivergenceKind::kTv) return divergence.regularization;
    return generator_slope(divergence, ratio) - generator_slope(divergence, 1);
  }

  const CandidateTable& table_;
  std::vector<Enclosure> divergences_;
};

// Where rounding leaves the winner open, what every possible winner would mean.
template <typename Of>
void store_hull(const std::vector<size_t>& winners, const Of& of, double value, double& value_out,
                Enclosure& out) {
  out = of(winners.front());
  for (const size_t k : winners) out = hull(out, of(k));
  value_out = out.nearest(value);
}

Result<Solution> solve_candidates(const Game& game) {
  const CandidateTable table = tabulate(game);
  if (std::ranges::all_of(table.divergences, [](double d) { return std::isinf(d); })) {
    return invalid_argument("candidates: every one has infinite divergence from initial");
  }
  std::vector<double> sizes;
  for (const Report& report : game.groups) sizes.push_back(report.group_size);
  const size_t winner = table.winner(sizes);
  const CandidateBounds bounds(game, table);
  const std::vector<size_t> winners = bounds.winners();
  Solution out;
  out.winner = winner;
  store_hull(
      winners, [&](size_t k) { return bounds.welfare(k); }, table.welfare(winner), out.welfare,
      out.welfare_enclosure);
  store_hull(
      winners, [&](size_t k) { return bounds.divergence(k); }, table.divergences[winner],
      out.divergence, out.divergence_enclosure);
  out.allocation = game.candidates[winner];
  out.groups = empty_outcomes(game);
  out.reads = 1;
  for (size_t group = 0; group < game.groups.size(); ++group) {
    GroupOutcome& outcome = out.groups[group];
    const Enclosure without = bounds.best_welfare(group);
    outcome.welfare_without_enclosure = without;
    outcome.welfare_without = without.nearest(table.best_welfare(group));
    store_hull(
        winners, [&](size_t k) { return bounds.valuation(group, k); },
        table.valuations[group][winner], outcome.valuation, outcome.valuation_enclosure);
    store_hull(
        winners, [&](size_t k) { return without - bounds.welfare(k, group); },
        outcome.welfare_without - table.welfare(winner, group), outcome.payment,
        outcome.payment_enclosure);
    raise_to_zero(outcome.payment, outcome.payment_enclosure);
    store_hull(
        winners, [&](size_t k) { return bounds.welfare(k) - without; },
        outcome.valuation - outcome.payment, outcome.utility, outcome.utility_enclosure);
    raise_to_zero(outcome.utility, outcome.utility_enclosure);
  }
  return out;
}

// Sums of sizes times rewards have to stay where products are exact.
Status check_stakes(const Game& game) {
  for (size_t group = 0; group < game.groups.size(); ++group) {
    const Report& report = game.groups[group];
    double largest = 0;
    for (const double value : report.reward) largest = std::max(largest, std::abs(value));
    if (report.group_size * largest < kLargestStake) continue;
    return invalid_argument(str_cat("groups[", group, "]: its size times its largest reward is ",
                                    report.group_size * largest, "; expected less than ",
                                    kLargestStake));
  }
  return {};
}

}  // namespace

Result<Solution> solve(const Game& game, const SolveOptions& options) {
  CANDOR_RETURN_IF_ERROR(check_interrupted());
  CANDOR_RETURN_IF_ERROR(check_stakes(game));
  Solution solution;
  if (game.candidates.empty()) {
    solution = solve_all_distributions(game);
  } else {
    CANDOR_TRY(solution, solve_candidates(game));
  }
  CANDOR_RETURN_IF_ERROR(judge(options, solution));
  return solution;
}

double divergence_from_initial(const Game& game, const std::vector<double>& model) {
  CANDOR_CHECK(model.size() == game.outcome_count());
  Sum sum;
  for (size_t index = 0; index < game.block_count(); ++index) {
    const size_t begin = game.block_begin[index];
    const size_t count = game.block_begin[index + 1] - begin;
    sum.add(block_divergence(game.divergence, std::span(model).subspan(begin, count),
                             std::span(game.initial).subspan(begin, count)));
  }
  return sum.value() / static_cast<double>(game.block_count());
}

double group_valuation(const Game& game, const Report& type, const std::vector<double>& model) {
  CANDOR_CHECK(model.size() == game.outcome_count() && type.reward.size() == model.size());
  Sum sum;
  for (size_t x = 0; x < model.size(); ++x) sum.add(model[x] * type.reward[x]);
  return type.group_size * (sum.value() / static_cast<double>(game.block_count()));
}

double affine_social_welfare(const Game& game, const std::vector<double>& model, size_t skip) {
  double total = -divergence_from_initial(game, model);
  for (size_t group = 0; group < game.groups.size(); ++group) {
    if (group != skip) total += group_valuation(game, game.groups[group], model);
  }
  return total;
}

namespace {

// The SW-Max model of some groups alone, block by block.
std::vector<double> optimum_of(const Game& game, const std::vector<size_t>& groups) {
  std::vector<double> model;
  for (size_t index = 0; index < game.block_count(); ++index) {
    const BlockSolution block =
        solve_block(keep_groups(block_of(game, index), groups), Scope::kModel);
    model.insert(model.end(), block.allocation.begin(), block.allocation.end());
  }
  return model;
}

}  // namespace

Result<std::vector<PricedPoint>> price_menu(const Game& game, size_t group) {
  CANDOR_CHECK(group < game.groups.size());
  CANDOR_TRY(const Solution solution, solve(game));
  const double best_without = solution.groups[group].welfare_without;
  std::vector<PricedPoint> menu;
  const auto add = [&](const std::string& name, const std::vector<double>& model, double price) {
    menu.push_back({name, price, group_valuation(game, game.groups[group], model)});
  };
  const auto priced = [&](const std::vector<double>& model) {
    return best_without - affine_social_welfare(game, model, group);
  };
  if (!game.candidates.empty()) {
    for (size_t k = 0; k < game.candidates.size(); ++k) {
      add(str_cat("candidate ", k), game.candidates[k], priced(game.candidates[k]));
    }
    return menu;
  }
  std::vector<size_t> others;
  for (size_t other = 0; other < game.groups.size(); ++other) {
    if (other != group) others.push_back(other);
  }
  add("initial", game.initial, priced(game.initial));
  add("without_group", optimum_of(game, others), 0.0);  // it maximises ASW_{-i}: its price is 0
  const std::vector<double> own = optimum_of(game, {group});
  add("own_optimum", own, priced(own));
  add("chosen", solution.allocation, solution.groups[group].payment);
  return menu;
}

}  // namespace candor
