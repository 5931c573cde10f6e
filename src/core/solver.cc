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
  for (const Report& report : game.groups) {
    outcomes.push_back({.name = report.name, .group_size = report.group_size});
  }
  return outcomes;
}

Solution solve_all_distributions(const Game& game) {
  Solution out;
  out.groups = empty_outcomes(game);
  out.allocation.reserve(game.outcome_count());
  const auto blocks = static_cast<double>(game.block_count());
  Sum welfare;
  Sum divergence;
  Sum gap;
  std::vector<Sum> valuations(game.groups.size());
  std::vector<Sum> payments(game.groups.size());
  std::vector<Sum> errors(game.groups.size());
  for (size_t index = 0; index < game.block_count(); ++index) {
    const BlockSolution block = solve_block(block_of(game, index));
    welfare.add(block.welfare);
    divergence.add(block.divergence);
    gap.add(block.gap);
    out.reads = std::max(out.reads, block.reads);
    out.allocation.insert(out.allocation.end(), block.allocation.begin(), block.allocation.end());
    for (size_t group = 0; group < game.groups.size(); ++group) {
      valuations[group].add(block.valuations[group]);
      payments[group].add(block.payments[group]);
      errors[group].add(block.payment_errors[group]);
    }
  }
  out.welfare = welfare.value() / blocks;
  out.divergence = divergence.value() / blocks;
  out.gap = gap.value() / blocks;
  for (size_t group = 0; group < game.groups.size(); ++group) {
    GroupOutcome& outcome = out.groups[group];
    outcome.valuation = valuations[group].value() / blocks;
    outcome.payment = payments[group].value() / blocks;
    outcome.utility = outcome.valuation - outcome.payment;
    outcome.welfare_without = out.welfare - outcome.valuation + outcome.payment;
    outcome.payment_error = errors[group].value() / blocks;
  }
  return out;
}

}  // namespace

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

Result<Solution> solve_candidates(const Game& game) {
  const CandidateTable table = tabulate(game);
  if (std::ranges::all_of(table.divergences, [](double d) { return std::isinf(d); })) {
    return invalid_argument("candidates: every one has infinite divergence from initial");
  }
  std::vector<double> sizes;
  for (const Report& report : game.groups) sizes.push_back(report.group_size);
  const size_t winner = table.winner(sizes);
  Solution out;
  out.winner = winner;
  out.welfare = table.welfare(winner);
  out.divergence = table.divergences[winner];
  out.allocation = game.candidates[winner];
  out.groups = empty_outcomes(game);
  out.reads = 1;
  for (size_t group = 0; group < game.groups.size(); ++group) {
    GroupOutcome& outcome = out.groups[group];
    outcome.valuation = table.valuations[group][winner];
    outcome.welfare_without = table.best_welfare(group);
    outcome.payment = outcome.welfare_without - table.welfare(winner, group);
    outcome.utility = outcome.valuation - outcome.payment;
  }
  return out;
}

}  // namespace

Result<Solution> solve(const Game& game) {
  CANDOR_RETURN_IF_ERROR(check_interrupted());
  if (!game.candidates.empty()) return solve_candidates(game);
  Solution solution = solve_all_distributions(game);
  bool finite = std::isfinite(solution.welfare) && std::isfinite(solution.gap);
  for (const GroupOutcome& group : solution.groups) {
    finite = finite && std::isfinite(group.payment) && std::isfinite(group.valuation);
  }
  if (!finite) {
    return invalid_argument(
        "the game cannot be solved in double precision: sizes times rewards over lambda are too "
        "large; scale lambda, sizes or rewards");
  }
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
    const BlockSolution block = solve_block(keep_groups(block_of(game, index), groups));
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
