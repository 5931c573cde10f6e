#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "core/game.h"
#include "core/misreport_theorems.h"

namespace candor {

enum class PaymentRule {
  kAffine,     // p^AFF
  kZero,       // nobody pays
  kPayReport,  // pay the reported w'_i v'_i of the model chosen
  kGiven,      // a price per candidate and group (tables and candidate games)
};

// The rules that have a name: affine, zero, pay_report.
[[nodiscard]] const std::vector<std::string>& payment_rule_names();
// Errors: kInvalidArgument, naming the rules that there are.
Result<PaymentRule> parse_payment_rule(const std::string& name);

// What one family of lies achieves for one group, always against the others' reports as they stand.
struct FamilyResult {
  std::string family;               // "size_inflation", "preference_mix", "best_response", ...
  double deviation_gain = 0;        // best utility found in the family minus utility of the truth
  std::optional<double> parameter;  // where it was found: a, b, a cut
};

struct GroupAudit {
  std::string name;
  double utility_truth = 0;
  double best_utility = 0;
  double deviation_gain = 0;  // best_utility - utility_truth, >= 0 (the truth is a report)
  double threshold = 0;       // what rounding can feign of it: utility_rounding.h
  bool profitable = false;    // deviation_gain > threshold
  Report best_report;         // the report that reaches best_utility
  std::string bound;          // "exact", "lower" (found by search) or "upper" (certificate)
  double certificate = 0;     // no lie gains more than this; infinity where none is known
  std::vector<FamilyResult> families;
  MisreportTheorems theorems;  // what the paper assumes and constructs, whatever the payments
};

struct Audit {
  PaymentRule payments = PaymentRule::kAffine;
  bool profitable = false;  // some group is
  double threshold = 0;     // the largest of the groups'
  std::vector<GroupAudit> groups;
};

struct AuditOptions {
  PaymentRule payments = PaymentRule::kAffine;
  std::vector<std::vector<double>> given_prices;  // [n][K], with kGiven; needs candidates
  uint64_t seed = 1;
  int random_reports = 200;  // per group, besides the structured families
  std::function<void(size_t done, size_t total)> progress = {};  // groups
};

// Searches for profitable lies in a game (MATH 4-5): the families of lie_families.h, best responses
// where nobody pays, and the models that a lie can reach among candidates (reachable.h).
Result<Audit> audit_game(const Game& game, const AuditOptions& options);

}  // namespace candor
