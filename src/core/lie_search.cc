#include "core/lie_search.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"
#include "core/utility_rounding.h"

namespace candor {

LieSearch::LieSearch(const Game& game, size_t group, const AuditOptions& options,
                     const Solution& truth)
    : game_(game), group_(group), options_(options), honest_(truth) {
  result_.name = game.groups[group].name;
  result_.utility_truth = utility(game.groups[group], truth);
  result_.best_utility = result_.utility_truth;
  result_.best_report = game.groups[group];
  result_.theorems = check_misreport_theorems(game, group, truth.allocation);
  truth_rounding_ = rounding(game, truth);
  result_.threshold = gain_threshold(truth_rounding_, truth_rounding_);
}

double LieSearch::certificate() const {
  if (!game_.candidates.empty()) return best_of_candidates() - result_.utility_truth;
  if (options_.payments == PaymentRule::kAffine) {
    return honest_.gap() + honest_.groups[group_].payment_error();
  }
  // Payments are >= 0 and v_i is at most the mean over prompts of the best reward.
  double best = 0;
  for (size_t block = 0; block < game_.block_count(); ++block) {
    const auto reward = truth().reward.begin();
    best += *std::max_element(reward + static_cast<ptrdiff_t>(game_.block_begin[block]),
                              reward + static_cast<ptrdiff_t>(game_.block_begin[block + 1]));
  }
  const double best_mean = best / static_cast<double>(game_.block_count());
  return truth().group_size * best_mean - result_.utility_truth;
}

double LieSearch::fixed_price(const CandidateTable& table, size_t candidate) const {
  if (options_.payments == PaymentRule::kAffine) {
    return honest_.groups[group_].welfare_without - table.welfare(candidate, group_);
  }
  if (options_.payments == PaymentRule::kGiven) return options_.given_prices[group_][candidate];
  return 0;
}

double LieSearch::try_report(const std::string& family, std::vector<double> reward, double size,
                             std::optional<double> parameter) {
  if (!make_admissible(game_, group_, reward)) return result_.utility_truth;
  const Game lied = with_report(game_, group_, size, std::move(reward));
  const Result<Solution> solution = solve(lied);
  // A lie whose game overflows double precision decides nothing; the certificate covers it.
  if (!solution.ok()) return result_.utility_truth;
  const double value = utility(lied.groups[group_], *solution);
  record(family, value, lied, *solution, parameter);
  return value;
}

void LieSearch::record(const std::string& family, double value, const Game& lied,
                       const Solution& solution, std::optional<double> parameter) {
  auto found = std::ranges::find(result_.families, family, &FamilyResult::family);
  if (found == result_.families.end()) {
    result_.families.push_back({family, 0.0, std::nullopt});
    found = result_.families.end() - 1;
  }
  const double gain = value - result_.utility_truth;
  if (gain > found->deviation_gain) {
    found->deviation_gain = gain;
    found->parameter = parameter;
  }
  const bool better = value > result_.best_utility;
  if (!better && (result_.profitable || !(gain > truth_rounding_))) return;
  const double threshold = gain_threshold(truth_rounding_, rounding(lied, solution));
  const bool certain = gain > threshold;
  if (certain == result_.profitable ? !better : !certain) return;
  result_.profitable = certain;
  result_.threshold = threshold;
  result_.best_utility = value;
  result_.best_report = lied.groups[group_];
}

double LieSearch::rounding(const Game& reported, const Solution& solution) const {
  const bool given = options_.payments == PaymentRule::kGiven;
  return utility_rounding({.reported = reported,
                           .group = group_,
                           .type = truth(),
                           .payments = options_.payments,
                           .solution = solution,
                           .price = given ? options_.given_prices[group_][*solution.winner] : 0});
}

double LieSearch::utility(const Report& report, const Solution& solution) const {
  const double value = group_valuation(game_, truth(), solution.allocation);
  switch (options_.payments) {
    case PaymentRule::kAffine:
      return value - solution.groups[group_].payment;
    case PaymentRule::kZero:
      return value;
    case PaymentRule::kPayReport:
      return value - group_valuation(game_, report, solution.allocation);
    case PaymentRule::kGiven:
      return value - options_.given_prices[group_][*solution.winner];
  }
  CANDOR_CHECK(false, "unknown payment rule");
}

// Taxation principle (MATH 4): the group does no better than the best candidate at its price.
double LieSearch::best_of_candidates() const {
  const CandidateTable table = tabulate(game_);
  double best = -std::numeric_limits<double>::infinity();
  for (size_t k = 0; k < table.divergences.size(); ++k) {
    if (std::isinf(table.divergences[k])) continue;
    best = std::max(best, table.valuations[group_][k] - fixed_price(table, k));
  }
  return best;
}

}  // namespace candor
