#include "core/table_rules.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/strings.h"

namespace candor {

namespace {

constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();

// The table with some of its candidates.
Table with_candidates(const Table& table, const std::vector<size_t>& candidates) {
  Table out = table;
  out.candidates.clear();
  for (Table::Group& group : out.groups) group.valuations.clear();
  for (const size_t k : candidates) {
    out.candidates.push_back(table.candidates[k]);
    for (size_t i = 0; i < table.groups.size(); ++i) {
      out.groups[i].valuations.push_back(table.groups[i].valuations[k]);
    }
  }
  return out;
}

// What a rule makes of a row and size of one group in place of its own. `rows` [n] of [K].
struct Reports {
  std::vector<const std::vector<int64_t>*> rows;
  std::vector<int64_t> sizes;
};

Reports truth_of(const Table& table) {
  Reports out;
  for (const Table::Group& group : table.groups) {
    out.rows.push_back(&group.valuations);
    out.sizes.push_back(group.group_size);
  }
  return out;
}

double log_of_units(int64_t units) {
  return units > 0 ? std::log(from_fixed_point(units)) : kMinusInfinity;
}

size_t max_min_winner(const Table& table, const Reports& reports) {
  size_t best = 0;
  Int128 most = 0;
  for (size_t k = 0; k < table.candidates.size(); ++k) {
    int64_t least = std::numeric_limits<int64_t>::max();
    for (const auto* row : reports.rows) least = std::min(least, (*row)[k]);
    const Int128 value = Int128{least} - table.candidates[k].divergence;
    if (k == 0 || value > most) {
      best = k;
      most = value;
    }
  }
  return best;
}

size_t nash_winner(const Table& table, const Reports& reports) {
  size_t best = 0;
  double most = kMinusInfinity;
  for (size_t k = 0; k < table.candidates.size(); ++k) {
    double value = -from_fixed_point(table.candidates[k].divergence);
    for (size_t i = 0; i < reports.rows.size(); ++i) {
      value += static_cast<double>(reports.sizes[i]) * log_of_units((*reports.rows[i])[k]);
    }
    if (value > most) {
      best = k;
      most = value;
    }
  }
  return best;
}

size_t sw_max_winner(const Table& table, const Reports& reports, size_t group) {
  return winner_under_report(table, group, reports.sizes[group], *reports.rows[group],
                             welfare_without(table, group));
}

// The winner among the rule's candidates, as an index of `table`; only `group` reports otherwise.
size_t winner_of(const Table& table, TableRule rule, const Reports& reports, size_t group) {
  switch (rule) {
    case TableRule::kMaxMin:
      return max_min_winner(table, reports);
    case TableRule::kNash:
      return nash_winner(table, reports);
    case TableRule::kFixed:
      return 0;
    case TableRule::kSwMax:
    case TableRule::kBestOf:
      break;
  }
  return sw_max_winner(table, reports, group);
}

Status check_request(const Table& table, const TableRuleRequest& request) {
  CANDOR_RETURN_IF_ERROR(check_table(table));
  const bool needs = request.rule == TableRule::kBestOf || request.rule == TableRule::kFixed;
  if (needs && request.candidates.empty()) {
    return invalid_argument("this rule needs the candidates it chooses from; found none");
  }
  for (const size_t k : request.candidates) {
    if (k >= table.candidates.size()) {
      return invalid_argument(
          str_cat("candidate ", k, ": the table has ", table.candidates.size()));
    }
  }
  if (request.rule != TableRule::kNash) return {};
  for (size_t k = 0; k < table.candidates.size(); ++k) {
    const bool counts = std::ranges::all_of(
        table.groups, [&](const Table::Group& group) { return group.valuations[k] > 0; });
    if (counts) return {};
  }
  return invalid_argument("nash: every candidate is worth 0 to some group, so all products are 0");
}

// The best that `group` can reach by reporting 1 on a candidate and 0 elsewhere with the largest
// size, and its gain over the truth; the truth's winner counts too.
void add_deviation(const Table& table, TableRule rule, size_t group, size_t truthful,
                   TableRuleOutcome& out) {
  const Table::Group& own = table.groups[group];
  size_t best = truthful;
  for (size_t k = 0; k < table.candidates.size(); ++k) {
    if (own.valuations[k] <= own.valuations[best]) continue;
    std::vector<int64_t> row(table.candidates.size(), 0);
    row[k] = kFixedPointOne;
    Reports lie = truth_of(table);
    lie.rows[group] = &row;
    lie.sizes[group] = table.max_size;
    if (winner_of(table, rule, lie, group) == k) best = k;
  }
  const Int128 gain = Int128{own.group_size} * (own.valuations[best] - own.valuations[truthful]);
  out.deviation_gain.push_back(from_fixed_point(gain));
  out.best_reachable.push_back(best);
}

}  // namespace

double gini_index(const std::vector<double>& values) {
  double differences = 0;
  double total = 0;
  for (const double a : values) {
    total += a;
    for (const double b : values) differences += std::abs(a - b);
  }
  return total > 0 ? differences / (2 * static_cast<double>(values.size()) * total) : 0;
}

double jain_index(const std::vector<double>& values) {
  double total = 0;
  double squares = 0;
  for (const double value : values) {
    total += value;
    squares += value * value;
  }
  return squares > 0 ? total * total / (static_cast<double>(values.size()) * squares) : 1;
}

Result<TableRuleOutcome> apply_table_rule(const Table& table, const TableRuleRequest& request) {
  CANDOR_RETURN_IF_ERROR(check_request(table, request));
  std::vector<size_t> choices(table.candidates.size());
  std::iota(choices.begin(), choices.end(), size_t{0});
  if (request.rule == TableRule::kBestOf) choices = request.candidates;
  if (request.rule == TableRule::kFixed) choices = {request.candidates[0]};
  const Table menu = with_candidates(table, choices);
  const size_t winner = winner_of(menu, request.rule, truth_of(menu), 0);
  TableRuleOutcome out;
  out.winner = choices[winner];
  Int128 welfare = -Int128{menu.candidates[winner].divergence};
  for (size_t i = 0; i < menu.groups.size(); ++i) {
    welfare += Int128{menu.groups[i].group_size} * menu.groups[i].valuations[winner];
    out.valuations.push_back(from_fixed_point(menu.groups[i].valuations[winner]));
    add_deviation(menu, request.rule, i, winner, out);
    out.best_reachable.back() = choices[out.best_reachable.back()];
  }
  out.welfare = from_fixed_point(welfare);
  out.least_valuation = *std::ranges::min_element(out.valuations);
  out.gini = gini_index(out.valuations);
  out.jain = jain_index(out.valuations);
  return out;
}

}  // namespace candor
