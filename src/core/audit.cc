#include "core/audit.h"

#include <algorithm>
#include <cmath>

#include "base/interrupt.h"
#include "base/strings.h"
#include "core/best_response.h"
#include "core/lie_search.h"
#include "core/reachable.h"
#include "core/solution.h"
#include "core/stake_search.h"

namespace candor {

namespace {

// How close to what theory allows a gain counts as exact: nine digits of the group's own stake.
double exactness(const Report& truth, double threshold) {
  return std::max(threshold, 1e-9 * truth.group_size * std::ranges::max(truth.reward));
}

// Exact where the theory is: KL, nobody pays, no candidates, max or min_max normalisation (MATH 5).
bool try_best_response(LieSearch& search) {
  const Game& game = search.game();
  if (search.options().payments != PaymentRule::kZero || !game.candidates.empty() ||
      game.normalization == Normalization::kSum) {
    return false;
  }
  bool exact = game.normalization != Normalization::kNone;
  const double slack = exactness(search.truth(), search.result().threshold);
  for (const double size : {search.truth().group_size, search.max_size()}) {
    BestResponse best = best_response_without_payments(game, search.group(), size);
    const char* family = size == search.max_size() ? "best_response" : "best_reward";
    const double reached = search.try_report(family, std::move(best.report.reward), size, size);
    exact = exact && best.exact && reached >= best.valuation - slack;
  }
  return exact;
}

GroupAudit audit_group(const Game& game, size_t group, const AuditOptions& options,
                       const Solution& truth) {
  LieSearch search(game, group, options, truth);
  try_sizes(search);
  try_mixes(search);
  try_theorem_3_2(search);
  try_theorem_e_2(search);
  try_cuts(search);
  try_random(search);
  try_low_discrepancy(search);
  const bool exact = try_best_response(search);
  try_gradient(search);
  if (options.payments == PaymentRule::kPayReport) try_stakes(search);
  climb(search);
  double certificate = search.certificate();
  if (!game.candidates.empty() && options.payments != PaymentRule::kAffine) {
    certificate = std::min(certificate, try_reachable(search));
  }
  GroupAudit result = std::move(search.result());
  result.deviation_gain = result.best_utility - result.utility_truth;
  result.certificate = certificate;
  const double slack = exactness(game.groups[group], result.threshold);
  const bool met = result.deviation_gain >= result.certificate - slack;
  result.bound = exact || met || options.payments == PaymentRule::kAffine ? "exact" : "lower";
  return result;
}

Status check_given_prices(const Game& game, const std::vector<std::vector<double>>& prices) {
  if (game.candidates.empty()) {
    return invalid_argument("given prices are prices of candidates; this game has no candidates");
  }
  if (prices.size() != game.groups.size()) {
    return invalid_argument(str_cat("prices: found rows for ", prices.size(), " groups; expected ",
                                    game.groups.size()));
  }
  for (size_t group = 0; group < prices.size(); ++group) {
    if (prices[group].size() != game.candidates.size()) {
      return invalid_argument(str_cat("prices[", group, "]: found ", prices[group].size(),
                                      " prices; expected one for each of ", game.candidates.size(),
                                      " candidates"));
    }
    for (size_t k = 0; k < prices[group].size(); ++k) {
      if (std::isfinite(prices[group][k])) continue;
      return invalid_argument(str_cat("prices[", group, "][", k, "]: found ", prices[group][k],
                                      "; expected a finite number"));
    }
  }
  return {};
}

}  // namespace

const std::vector<std::string>& payment_rule_names() {
  static const std::vector<std::string> kNames = {"affine", "zero", "pay_report"};
  return kNames;
}

Result<PaymentRule> parse_payment_rule(const std::string& name) {
  const std::vector<std::string>& names = payment_rule_names();
  const auto found = std::ranges::find(names, name);
  if (found != names.end()) return static_cast<PaymentRule>(found - names.begin());
  return invalid_argument(str_cat("payments: found ", quote(name), "; expected one of ",
                                  join(names, ", "), did_you_mean(name, names)));
}

Result<Audit> audit_game(const Game& game, const AuditOptions& options) {
  if (options.payments == PaymentRule::kGiven) {
    CANDOR_RETURN_IF_ERROR(check_given_prices(game, options.given_prices));
  }
  CANDOR_TRY(const Solution truth, solve(game));
  Audit audit;
  audit.payments = options.payments;
  for (size_t group = 0; group < game.groups.size(); ++group) {
    if (options.progress) options.progress(group, game.groups.size());
    audit.groups.push_back(audit_group(game, group, options, truth));
    CANDOR_RETURN_IF_ERROR(check_interrupted());
    audit.profitable = audit.profitable || audit.groups.back().profitable;
    audit.threshold = std::max(audit.threshold, audit.groups.back().threshold);
  }
  if (options.progress) options.progress(game.groups.size(), game.groups.size());
  return audit;
}

}  // namespace candor
