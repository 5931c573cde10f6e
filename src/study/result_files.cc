#include "study/result_files.h"

#include <cmath>

namespace candor {

namespace {

// A reward is printed with a best report up to this many outcomes; longer ones as their length.
constexpr size_t kLongestPrintedReward = 10000;

Json families_json(const std::vector<FamilyResult>& families) {
  Json out = Json::array();
  for (const FamilyResult& family : families) {
    Json entry = {{"family", family.family}, {"deviation_gain", family.deviation_gain}};
    if (family.parameter.has_value()) entry["parameter"] = *family.parameter;
    out.push_back(std::move(entry));
  }
  return out;
}

// {"holds", "why"} of one statement.
Json check_json(const TheoremCheck& check) { return {{"holds", check.holds}, {"why", check.why}}; }

Json assumptions_json(const MisreportTheorems& theorems) {
  Json out = {{"thm_3_2", check_json(theorems.thm_3_2)}, {"thm_a_1", check_json(theorems.thm_a_1)}};
  if (theorems.thm_3_2.holds) out["thm_3_2"]["case"] = theorems.thm_3_2_case;
  if (!theorems.t.empty() && theorems.t.size() <= kLongestPrintedReward) {
    out["thm_a_1"]["t"] = theorems.t;
  }
  Json cases = Json::array();
  for (const TheoremCheck& check : theorems.thm_e_2) cases.push_back(check_json(check));
  out["thm_e_2"] = {{"holds", theorems.thm_e_2_case > 0},
                    {"why", theorems.thm_e_2_why},
                    {"statements", std::move(cases)}};
  if (theorems.thm_e_2_case > 0) out["thm_e_2"]["case"] = theorems.thm_e_2_case;
  return out;
}

}  // namespace

Json report_json(const Report& report) {
  Json out = {{"size", report.group_size}};
  if (report.group_size == std::floor(report.group_size)) {
    out["size"] = static_cast<int64_t>(report.group_size);
  }
  if (report.reward.size() <= kLongestPrintedReward) {
    out["reward"] = report.reward;
  } else {
    out["reward"] = nullptr;
    out["reward_length"] = report.reward.size();
  }
  return out;
}

std::string payment_rule_name(PaymentRule rule) {
  switch (rule) {
    case PaymentRule::kAffine:
      return "affine";
    case PaymentRule::kZero:
      return "zero";
    case PaymentRule::kPayReport:
      return "pay_report";
    case PaymentRule::kGiven:
      return "prices";
  }
  return "";
}

Json enclosure_json(const Enclosure& enclosure) {
  return {{"low", enclosure.low}, {"high", enclosure.high}};
}

Json solution_json(const Solution& solution, bool with_allocation) {
  Json groups = Json::array();
  for (const GroupOutcome& group : solution.groups) {
    groups.push_back({{"name", group.name},
                      {"size", static_cast<int64_t>(group.group_size)},
                      {"valuation", group.valuation},
                      {"payment", group.payment},
                      {"utility", group.utility},
                      {"welfare_without", group.welfare_without},
                      {"enclosures",
                       {{"valuation", enclosure_json(group.valuation_enclosure)},
                        {"payment", enclosure_json(group.payment_enclosure)},
                        {"utility", enclosure_json(group.utility_enclosure)},
                        {"welfare_without", enclosure_json(group.welfare_without_enclosure)}}}});
  }
  Json out = {{"candor", "solution/1"},
              {"welfare", solution.welfare},
              {"divergence", solution.divergence},
              {"enclosures",
               {{"welfare", enclosure_json(solution.welfare_enclosure)},
                {"divergence", enclosure_json(solution.divergence_enclosure)}}},
              {"gap", solution.gap()},
              {"error", solution.error()},
              {"tolerance", solution.tolerance},
              {"converged", solution.converged},
              {"allocation", nullptr},
              {"groups", std::move(groups)},
              {"reads", solution.reads}};
  if (with_allocation) out["allocation"] = solution.allocation;
  if (solution.winner.has_value()) out["winner"] = *solution.winner;
  return out;
}

Json settlement_json(const Table& table, const std::string& table_digest,
                     const Settlement& settlement, bool with_prices) {
  Json groups = Json::array();
  for (const Settlement::Group& group : settlement.groups) {
    Json entry = {{"name", group.name},
                  {"size", group.group_size},
                  {"valuation", to_string(group.valuation)},
                  {"payment", to_string(group.payment)},
                  {"utility", to_string(group.utility)}};
    if (with_prices) {
      Json prices = Json::array();
      for (const Int128 price : group.prices) prices.push_back(to_string(price));
      entry["prices"] = std::move(prices);
    }
    groups.push_back(std::move(entry));
  }
  Json out = {{"candor", "settlement/1"},
              {"table", table_digest},
              {"winner", settlement.winner},
              {"welfare", to_string(settlement.welfare)},
              {"groups", std::move(groups)}};
  // Strict DSIC is lost then, and every output says so (MATH 4).
  if (table.menu_depends_on_reports) out["menu_depends_on_reports"] = true;
  return out;
}

Json audit_json(const Audit& audit) {
  Json groups = Json::array();
  for (const GroupAudit& group : audit.groups) {
    groups.push_back({{"name", group.name},
                      {"utility_truth", group.utility_truth},
                      {"best_utility", group.best_utility},
                      {"deviation_gain", group.deviation_gain},
                      {"threshold", group.threshold},
                      {"profitable", group.profitable},
                      {"best_report", report_json(group.best_report)},
                      {"bound", group.bound},
                      {"certificate", group.certificate},
                      {"families", families_json(group.families)},
                      {"assumptions", assumptions_json(group.theorems)}});
  }
  return {{"candor", "audit/1"},
          {"payments", payment_rule_name(audit.payments)},
          {"profitable", audit.profitable},
          {"threshold", audit.threshold},
          {"groups", std::move(groups)}};
}

Json audit_json(const Table& table, const TableAudit& audit) {
  Json groups = Json::array();
  for (const TableGroupAudit& group : audit.groups) {
    Json families = Json::array();
    for (const TableFamilyResult& family : group.families) {
      Json entry = {{"family", family.family},
                    {"deviation_gain", to_string(family.deviation_gain)}};
      if (family.parameter.has_value()) entry["parameter"] = *family.parameter;
      families.push_back(std::move(entry));
    }
    Json valuations = Json::array();
    for (const int64_t value : group.best_valuations) valuations.push_back(std::to_string(value));
    groups.push_back({{"name", group.name},
                      {"utility_truth", to_string(group.utility_truth)},
                      {"best_utility", to_string(group.best_utility)},
                      {"deviation_gain", to_string(group.deviation_gain)},
                      {"best_report",
                       {{"size", group.best_size},
                        {"valuations", std::move(valuations)},
                        {"winner", group.best_candidate}}},
                      {"bound", group.bound},
                      {"families", std::move(families)}});
  }
  Json out = {{"candor", "audit/1"},
              {"payments", payment_rule_name(audit.payments)},
              {"profitable", audit.profitable},
              {"groups", std::move(groups)}};
  if (table.menu_depends_on_reports) out["menu_depends_on_reports"] = true;
  return out;
}

Json attacks_json(const std::vector<Attack>& attacks) {
  Json out = Json::array();
  for (const Attack& attack : attacks) {
    Json reports = Json::array();
    for (const Report& report : attack.reports) {
      Json entry = report_json(report);
      entry["name"] = report.name;
      reports.push_back(std::move(entry));
    }
    out.push_back({{"attack", attack.kind},
                   {"members", attack.members},
                   {"family", attack.family},
                   {"utility_truth", attack.utility_truth},
                   {"gain", attack.gain},
                   {"bound", "lower"},
                   {"families", families_json(attack.families)},
                   {"reports", std::move(reports)}});
  }
  return out;
}

}  // namespace candor
