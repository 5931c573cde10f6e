#include "core/table_audit.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "base/strings.h"

namespace candor {

namespace {

struct TableReport {
  int64_t group_size = 1;
  std::vector<int64_t> valuations;
};

std::vector<int64_t> only(size_t candidate, int64_t value, size_t count) {
  std::vector<int64_t> row(count, 0);
  row[candidate] = value;
  return row;
}

Int128 ceil_div(Int128 numerator, Int128 denominator) {
  return (numerator + denominator - 1) / denominator;
}

// Tries reports of one group against the others' as they stand.
class TableLieSearch {
 public:
  TableLieSearch(const Table& table, size_t group, PaymentRule payments,
                 const std::vector<Int128>& given_prices)
      : table_(table),
        group_(group),
        payments_(payments),
        given_prices_(given_prices),
        others_(welfare_without(table, group)),
        best_others_(*std::max_element(others_.begin(), others_.end())) {
    result_.name = truth().name;
    const TableReport report{truth().group_size, truth().valuations};
    const size_t winner = winner_of(report);
    result_.utility_truth = utility(report, winner);
    result_.best_utility = result_.utility_truth;
    result_.best_size = report.group_size;
    result_.best_valuations = report.valuations;
    result_.best_candidate = winner;
    result_.bound = "exact";
  }

  [[nodiscard]] const Table::Group& truth() const { return table_.groups[group_]; }
  [[nodiscard]] size_t candidate_count() const { return others_.size(); }
  [[nodiscard]] const std::vector<Int128>& others() const { return others_; }
  [[nodiscard]] TableGroupAudit& result() { return result_; }
  // c_i(k)
  [[nodiscard]] Int128 price(size_t candidate) const { return best_others_ - others_[candidate]; }
  [[nodiscard]] size_t winner_of(const TableReport& report) const {
    return winner_under_report(table_, group_, report.group_size, report.valuations, others_);
  }
  [[nodiscard]] int64_t max_size() const { return table_.max_size; }
  [[nodiscard]] PaymentRule payments() const { return payments_; }

  // Settles under the report and records what the group gets out of it.
  void try_report(const std::string& family, const TableReport& report,
                  std::optional<double> parameter = std::nullopt) {
    const size_t winner = winner_of(report);
    const Int128 value = utility(report, winner);
    auto found = std::ranges::find(result_.families, family, &TableFamilyResult::family);
    if (found == result_.families.end()) {
      result_.families.push_back({family, 0, std::nullopt});
      found = result_.families.end() - 1;
    }
    const Int128 gain = value - result_.utility_truth;
    if (gain > found->deviation_gain) {
      found->deviation_gain = gain;
      found->parameter = parameter;
    }
    if (value > result_.best_utility) {
      result_.best_utility = value;
      result_.best_size = report.group_size;
      result_.best_valuations = report.valuations;
      result_.best_candidate = winner;
    }
  }

 private:
  // Always the true w_i V[i][winner], less what the report makes the group pay.
  [[nodiscard]] Int128 utility(const TableReport& report, size_t winner) const {
    const Int128 value = Int128{truth().group_size} * truth().valuations[winner];
    switch (payments_) {
      case PaymentRule::kAffine:
        return value - price(winner);
      case PaymentRule::kZero:
        return value;
      case PaymentRule::kPayReport:
        return value - Int128{report.group_size} * report.valuations[winner];
      case PaymentRule::kGiven:
        return value - given_prices_[winner];
    }
    CANDOR_CHECK(false, "unknown payment rule");
  }

  const Table& table_;
  size_t group_;
  PaymentRule payments_;
  const std::vector<Int128>& given_prices_;
  std::vector<Int128> others_;
  Int128 best_others_;
  TableGroupAudit result_;
};

// A size and a value whose product is the smallest that is >= `total`; the product meets `total`
// itself in all but rare cases (a large prime).
TableReport cheapest_product(Int128 total, size_t candidate, size_t count, int64_t max_size) {
  static constexpr int64_t kSizesTried = 65536;
  if (total <= kFixedPointOne) return {1, only(candidate, static_cast<int64_t>(total), count)};
  const auto smallest = static_cast<int64_t>(ceil_div(total, kFixedPointOne));
  const int64_t largest = std::min(max_size, smallest + kSizesTried);
  int64_t best_size = smallest;
  for (int64_t size = smallest; size <= largest; ++size) {
    if (ceil_div(total, size) * size < ceil_div(total, best_size) * best_size) best_size = size;
    if (total % size == 0) break;
  }
  return {best_size, only(candidate, static_cast<int64_t>(ceil_div(total, best_size)), count)};
}

// The report that makes k win for the smallest reported total w' v'. Other entries are 0: they only
// help rivals. `total` is where k first wins: c' = max_{j != k} B(j) - B(k), one more if ties go
// against k, nothing if k wins by itself.
// Returns what no report that makes k win can beat: w_i V[i][k] - total; nullopt where none does.
std::optional<Int128> try_cheapest(TableLieSearch& search, size_t candidate) {
  const std::vector<Int128>& others = search.others();
  const size_t count = others.size();
  Int128 needed = 0;
  for (size_t j = 0; j < count; ++j) {
    if (j != candidate) needed = std::max(needed, others[j] - others[candidate]);
  }
  const Int128 limit = Int128{search.max_size()} * kFixedPointOne;
  for (const Int128 total : {needed, needed + 1}) {
    if (total > limit) return std::nullopt;
    const TableReport report = cheapest_product(total, candidate, count, search.max_size());
    if (search.winner_of(report) != candidate) continue;
    search.try_report("best_response", report);
    return Int128{search.truth().group_size} * search.truth().valuations[candidate] - total;
  }
  return std::nullopt;
}

void try_best_response(TableLieSearch& search) {
  Int128 ceiling = search.result().utility_truth;
  for (size_t k = 0; k < search.candidate_count(); ++k) {
    if (search.payments() == PaymentRule::kAffine) {
      // The certificate: a maximum over all candidates, reachable or not (MATH 4).
      const Int128 valuation = Int128{search.truth().group_size} * search.truth().valuations[k];
      ceiling = std::max(ceiling, valuation - search.price(k));
    }
    if (search.payments() == PaymentRule::kPayReport) {
      ceiling = std::max(ceiling, try_cheapest(search, k).value_or(ceiling));
      continue;
    }
    const TableReport report{search.max_size(), only(k, kFixedPointOne, search.candidate_count())};
    if (search.winner_of(report) == k) search.try_report("best_response", report);
  }
  if (ceiling > search.result().best_utility) search.result().bound = "lower";
}

// Every whole size: the winner changes only where a steeper line w' V_j + B_j overtakes, so the
// sizes at which it can change are enough, and under pay_report the smallest size of a piece is its
// best.
void try_sizes(TableLieSearch& search) {
  const std::vector<int64_t>& row = search.truth().valuations;
  const std::vector<Int128>& others = search.others();
  Int128 size = 1;
  while (size <= search.max_size()) {
    const TableReport report{static_cast<int64_t>(size), row};
    const size_t winner = search.winner_of(report);
    search.try_report(
        "size_inflation", report,
        static_cast<double>(report.group_size) / static_cast<double>(search.truth().group_size));
    Int128 next = Int128{search.max_size()} + 1;
    for (size_t j = 0; j < row.size(); ++j) {
      if (row[j] <= row[winner]) continue;
      // Behind at `size`, or tied and beaten by the tie order there: then it wins one size later.
      const Int128 behind = others[winner] - others[j];
      const Int128 slope = row[j] - row[winner];
      next = std::min(next, std::max(size + 1, behind > 0 ? ceil_div(behind, slope) : Int128{0}));
    }
    size = next;
  }
}

void try_mixes(const Table& table, size_t group, TableLieSearch& search) {
  if (table.groups.size() < 2) return;
  const size_t count = search.candidate_count();
  std::vector<double> mean(count, 0.0);
  double sizes = 0;
  for (size_t other = 0; other < table.groups.size(); ++other) {
    if (other == group) continue;
    const auto size = static_cast<double>(table.groups[other].group_size);
    sizes += size;
    for (size_t k = 0; k < count; ++k) {
      mean[k] += size * static_cast<double>(table.groups[other].valuations[k]);
    }
  }
  static constexpr int kSteps = 80;
  static constexpr double kLargestMix = 4;
  for (int step = 0; step <= kSteps; ++step) {
    const double mix = kLargestMix * step / kSteps;
    TableReport report{search.truth().group_size, {}};
    for (size_t k = 0; k < count; ++k) {
      const auto own = static_cast<double>(search.truth().valuations[k]);
      const double value = mix * own + (1 - mix) * mean[k] / sizes;
      report.valuations.push_back(static_cast<int64_t>(
          std::nearbyint(std::clamp(value, 0.0, static_cast<double>(kFixedPointOne)))));
    }
    search.try_report("preference_mix", report, mix);
  }
}

Status check_shape(const Table& table, const std::vector<std::vector<Int128>>& given_prices) {
  if (given_prices.size() != table.groups.size()) {
    return invalid_argument(str_cat("prices: found those of ", given_prices.size(),
                                    " groups; the table has ", table.groups.size()));
  }
  for (size_t i = 0; i < given_prices.size(); ++i) {
    if (given_prices[i].size() != table.candidates.size()) {
      return invalid_argument(str_cat("prices of group ", quote(table.groups[i].name), ": found ",
                                      given_prices[i].size(), "; there are ",
                                      table.candidates.size(), " candidates"));
    }
  }
  return {};
}

}  // namespace

Result<TableAudit> audit_table(const Table& table, PaymentRule payments,
                               const std::vector<std::vector<Int128>>& given_prices) {
  CANDOR_RETURN_IF_ERROR(check_table(table));
  if (payments == PaymentRule::kGiven) CANDOR_RETURN_IF_ERROR(check_shape(table, given_prices));
  static const std::vector<Int128> kNoPrices;
  TableAudit audit{.payments = payments, .groups = {}};
  for (size_t group = 0; group < table.groups.size(); ++group) {
    const bool given = payments == PaymentRule::kGiven;
    TableLieSearch search(table, group, payments, given ? given_prices[group] : kNoPrices);
    try_best_response(search);
    try_sizes(search);
    try_mixes(table, group, search);
    TableGroupAudit& result = search.result();
    result.deviation_gain = result.best_utility - result.utility_truth;
    audit.profitable = audit.profitable || result.deviation_gain > 0;
    audit.groups.push_back(std::move(result));
  }
  return audit;
}

}  // namespace candor
