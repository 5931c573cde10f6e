#include "core/table.h"

#include <algorithm>
#include <set>

#include "base/check.h"
#include "base/strings.h"

namespace candor {

namespace {

// T_k for every k. |V| <= 2^32, w < 2^63 and |D| < 2^62, so 2^32 groups fit 128 bits.
std::vector<Int128> totals(const Table& table) {
  std::vector<Int128> sums(table.candidates.size());
  for (size_t k = 0; k < sums.size(); ++k) sums[k] = -Int128{table.candidates[k].divergence};
  for (const Table::Group& group : table.groups) {
    for (size_t k = 0; k < sums.size(); ++k) {
      sums[k] += Int128{group.group_size} * group.valuations[k];
    }
  }
  return sums;
}

// Whether a precedes b in the tie order, with `valuations` in place of the row of `group`.
bool precedes(const Table& table, size_t group, const std::vector<int64_t>& valuations, size_t a,
              size_t b) {
  for (size_t i = 0; i < table.groups.size(); ++i) {
    const std::vector<int64_t>& row = i == group ? valuations : table.groups[i].valuations;
    if (row[a] != row[b]) return row[a] > row[b];
  }
  return a < b;
}

Status check_names(const Table& table) {
  std::set<std::string> names;
  for (size_t k = 0; k < table.candidates.size(); ++k) {
    if (!names.insert(table.candidates[k].name).second) {
      return invalid_argument(str_cat("candidates[", k, "].name: found ",
                                      quote(table.candidates[k].name),
                                      " a second time; names must differ"));
    }
  }
  names.clear();
  for (size_t i = 0; i < table.groups.size(); ++i) {
    if (!names.insert(table.groups[i].name).second) {
      return invalid_argument(str_cat("groups[", i, "].name: found ", quote(table.groups[i].name),
                                      " a second time; names must differ"));
    }
  }
  return {};
}

}  // namespace

Status check_table(const Table& table) {
  if (table.candidates.empty())
    return invalid_argument("candidates: there is none; at least one is needed");
  if (table.groups.empty())
    return invalid_argument("groups: there is none; at least one is needed");
  CANDOR_RETURN_IF_ERROR(check_names(table));
  for (size_t k = 0; k < table.candidates.size(); ++k) {
    const int64_t divergence = table.candidates[k].divergence;
    if (divergence <= -kFixedPointLimit || divergence >= kFixedPointLimit) {
      return invalid_argument(str_cat("candidates[", k, "].divergence: found ", divergence,
                                      "; expected less than 2^62 in size"));
    }
  }
  for (size_t i = 0; i < table.groups.size(); ++i) {
    const Table::Group& group = table.groups[i];
    if (group.group_size < 1 || group.group_size > table.max_size) {
      return invalid_argument(str_cat("groups[", i, "].size: found ", group.group_size,
                                      "; expected a whole number from 1 to ", table.max_size));
    }
    if (group.valuations.size() != table.candidates.size()) {
      return invalid_argument(str_cat("groups[", i, "].valuations: has ", group.valuations.size(),
                                      " entries; there are ", table.candidates.size(),
                                      " candidates"));
    }
    for (size_t k = 0; k < group.valuations.size(); ++k) {
      if (group.valuations[k] < 0 || group.valuations[k] > kFixedPointOne) {
        return invalid_argument(str_cat("groups[", i, "].valuations[", k, "]: found ",
                                        group.valuations[k], "; expected 0 to 4294967296 (2^32)"));
      }
    }
  }
  return {};
}

std::vector<Int128> welfare_without(const Table& table, size_t group) {
  CANDOR_CHECK(group < table.groups.size());
  std::vector<Int128> others = totals(table);
  const Table::Group& own = table.groups[group];
  for (size_t k = 0; k < others.size(); ++k) {
    others[k] -= Int128{own.group_size} * own.valuations[k];
  }
  return others;
}

size_t winner_under_report(const Table& table, size_t group, int64_t group_size,
                           const std::vector<int64_t>& valuations,
                           const std::vector<Int128>& others) {
  size_t best = 0;
  Int128 best_total = Int128{group_size} * valuations[0] + others[0];
  for (size_t k = 1; k < others.size(); ++k) {
    const Int128 total = Int128{group_size} * valuations[k] + others[k];
    if (total > best_total ||
        (total == best_total && precedes(table, group, valuations, k, best))) {
      best = k;
      best_total = total;
    }
  }
  return best;
}

Settlement settle(const Table& table) {
  CANDOR_CHECK(check_table(table).ok());
  const std::vector<Int128> sums = totals(table);
  Settlement settlement;
  for (size_t i = 0; i < table.groups.size(); ++i) {
    const Table::Group& group = table.groups[i];
    // B_i from the totals of all, so that V is read once more and not n times.
    std::vector<Int128> others = sums;
    for (size_t k = 0; k < others.size(); ++k) {
      others[k] -= Int128{group.group_size} * group.valuations[k];
    }
    if (i == 0) {
      settlement.winner = winner_under_report(table, 0, group.group_size, group.valuations, others);
      settlement.welfare = sums[settlement.winner];
    }
    const size_t winner = settlement.winner;
    const Int128 best = *std::max_element(others.begin(), others.end());
    Settlement::Group out{.name = group.name, .group_size = group.group_size, .prices = {}};
    out.valuation = Int128{group.group_size} * group.valuations[winner];
    out.payment = best - others[winner];
    out.utility = out.valuation - out.payment;
    for (const Int128 other : others) out.prices.push_back(best - other);
    settlement.groups.push_back(std::move(out));
  }
  return settlement;
}

}  // namespace candor
