#include "core/table.h"

#include <algorithm>
#include <set>

#include "base/check.h"
#include "base/parallel.h"
#include "base/strings.h"
#include "core/table_kernels.h"

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
    const std::vector<size_t>& makers = table.candidates[k].made_by;
    const bool in_order = std::ranges::is_sorted(makers) &&
                          std::ranges::adjacent_find(makers) == makers.end() &&
                          (makers.empty() || makers.back() < table.groups.size());
    if (!in_order) {
      return invalid_argument(
          str_cat("candidates[", k, "].made_by: expected groups in their order, each once"));
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

std::optional<Int128> payment_without_own(const Table& table, size_t winner, size_t group) {
  CANDOR_CHECK(winner < table.candidates.size());
  const std::vector<Int128> others = welfare_without(table, group);
  std::optional<Int128> best;
  for (size_t k = 0; k < others.size(); ++k) {
    if (std::ranges::binary_search(table.candidates[k].made_by, group)) continue;
    if (!best.has_value() || others[k] > *best) best = others[k];
  }
  if (!best.has_value()) return std::nullopt;
  return *best - others[winner];
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

namespace {

// Whether every total, with and without a group, stays below 2^62.
bool fits_64_bits(const Table& table) {
  Int128 most = 0;
  for (const Table::Candidate& candidate : table.candidates) {
    most = std::max(
        most, Int128{candidate.divergence < 0 ? -candidate.divergence : candidate.divergence});
  }
  for (const Table::Group& group : table.groups) most += Int128{group.group_size} * kFixedPointOne;
  return most < kFixedPointLimit;
}

// T_k in 64 bits; every thread sums a stretch of groups.
std::vector<int64_t> small_totals(const Table& table, int threads) {
  const size_t count = table.candidates.size();
  const size_t stretches = std::min<size_t>(table.groups.size(), 64);
  std::vector<std::vector<int64_t>> parts(stretches);
  std::vector<char> fine(stretches, 1);
  parallel_for(stretches, threads, [&](size_t part) {
    parts[part].assign(count, 0);
    const size_t begin = part * table.groups.size() / stretches;
    const size_t end = (part + 1) * table.groups.size() / stretches;
    for (size_t i = begin; i < end; ++i) {
      const Table::Group& group = table.groups[i];
      const bool in_range =
          table::add_row(group.valuations.data(), group.group_size, count, parts[part].data());
      fine[part] = static_cast<char>(fine[part] != 0 && in_range);
    }
  });
  CANDOR_CHECK(std::ranges::all_of(fine, [](char one) { return one != 0; }),
               "valuations are 0..2^32: check_table");
  std::vector<int64_t> sums(count);
  for (size_t k = 0; k < count; ++k) {
    sums[k] = -table.candidates[k].divergence;
    for (const auto& part : parts) sums[k] += part[k];
  }
  return sums;
}

// max_k B_i(k), in the integers that suffice.
Int128 best_without(const Table::Group& group, const std::vector<int64_t>& small,
                    const std::vector<Int128>& sums) {
  if (!small.empty()) {
    return table::best_without_row(group.valuations.data(), group.group_size, small.size(),
                                   small.data());
  }
  Int128 best = sums[0] - Int128{group.group_size} * group.valuations[0];
  for (size_t k = 1; k < sums.size(); ++k) {
    best = std::max(best, sums[k] - Int128{group.group_size} * group.valuations[k]);
  }
  return best;
}

size_t winner_of(const Table& table, const std::vector<Int128>& sums) {
  size_t best = 0;
  for (size_t k = 1; k < sums.size(); ++k) {
    const bool tie = sums[k] == sums[best];
    if (sums[k] > sums[best] || (tie && precedes(table, 0, table.groups[0].valuations, k, best))) {
      best = k;
    }
  }
  return best;
}

}  // namespace

Settlement settle(const Table& table, const SettleOptions& options) {
  CANDOR_CHECK(!table.candidates.empty() && !table.groups.empty());
  for (const Table::Group& group : table.groups) {
    CANDOR_CHECK(group.group_size >= 1 && group.valuations.size() == table.candidates.size());
  }
  // Starting threads takes longer than a small table.
  static constexpr size_t kWorthThreads = 1 << 16;
  const bool few = table.groups.size() * table.candidates.size() < kWorthThreads;
  const int threads = few ? 1 : options.threads;
  std::vector<int64_t> small;
  if (fits_64_bits(table)) small = small_totals(table, threads);
  const std::vector<Int128> sums =
      small.empty() ? totals(table) : std::vector<Int128>(small.begin(), small.end());
  Settlement settlement;
  settlement.winner = winner_of(table, sums);
  settlement.welfare = sums[settlement.winner];
  settlement.groups.resize(table.groups.size());
  static constexpr size_t kGroups = 64;  // a thread's share at a time
  const size_t shares = (table.groups.size() + kGroups - 1) / kGroups;
  const auto settle_group = [&](size_t i) {
    const Table::Group& group = table.groups[i];
    Settlement::Group& out = settlement.groups[i];
    out.name = group.name;
    out.group_size = group.group_size;
    const Int128 best = best_without(group, small, sums);
    const auto others = [&](size_t k) {
      return sums[k] - Int128{group.group_size} * group.valuations[k];
    };
    out.valuation = Int128{group.group_size} * group.valuations[settlement.winner];
    out.payment = best - others(settlement.winner);
    out.utility = out.valuation - out.payment;
    for (size_t k = 0; options.prices && k < sums.size(); ++k) {
      out.prices.push_back(best - others(k));
    }
  };
  parallel_for(shares, threads, [&](size_t share) {
    const size_t end = std::min(table.groups.size(), (share + 1) * kGroups);
    for (size_t i = share * kGroups; i < end; ++i) settle_group(i);
  });
  return settlement;
}

}  // namespace candor
