#include "core/table_samples.h"

#include <algorithm>
#include <numeric>

#include "base/strings.h"

namespace candor {

namespace {

// Means of one row of K * Q values.
std::vector<double> row_means(const std::vector<double>& row, const std::vector<double>& weights,
                              double total) {
  std::vector<double> out(row.size() / weights.size(), 0.0);
  for (size_t k = 0; k < out.size(); ++k) {
    const double* cells = row.data() + k * weights.size();
    for (size_t q = 0; q < weights.size(); ++q) out[k] += weights[q] * cells[q];
    out[k] /= total;
  }
  return out;
}

}  // namespace

Status check_samples(const TableSamples& samples) {
  const size_t cells = samples.candidates.size() * samples.prompts;
  if (cells == 0 || samples.groups.empty()) {
    return invalid_argument("a table needs at least one candidate, one group and one prompt");
  }
  bool fits =
      samples.valuations.size() == samples.groups.size() && samples.divergences.size() == cells;
  for (const std::vector<double>& row : samples.valuations) fits = fits && row.size() == cells;
  if (!fits) return invalid_argument("samples: a row has not candidates x prompts values");
  for (size_t group = 0; group < samples.groups.size(); ++group) {
    for (size_t cell = 0; cell < cells; ++cell) {
      const double value = samples.valuations[group][cell];
      if (value >= 0 && value <= 1) continue;
      return invalid_argument(str_cat("group ", quote(samples.groups[group]), ", candidate ",
                                      quote(samples.candidates[cell / samples.prompts]),
                                      ", prompt ", cell % samples.prompts, ": found ", value,
                                      "; expected a mean reward from 0 to 1"));
    }
  }
  return {};
}

TableMeans weighted_means(const TableSamples& samples, const std::vector<double>& weights) {
  const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  TableMeans out;
  for (const std::vector<double>& row : samples.valuations) {
    out.valuations.push_back(row_means(row, weights, total));
  }
  out.divergences = row_means(samples.divergences, weights, total);
  return out;
}

TableMeans means_of_samples(const TableSamples& samples) {
  return weighted_means(samples, std::vector<double>(samples.prompts, 1.0));
}

Result<Table> make_table(const TableSamples& samples, const std::vector<int64_t>& sizes,
                         int64_t max_size) {
  CANDOR_RETURN_IF_ERROR(check_samples(samples));
  if (sizes.size() != samples.groups.size()) {
    return invalid_argument(str_cat("sizes: found ", sizes.size(), "; expected one for each of ",
                                    samples.groups.size(), " groups"));
  }
  Table table;
  table.max_size = max_size;
  const TableMeans means = means_of_samples(samples);
  for (size_t k = 0; k < samples.candidates.size(); ++k) {
    const Result<int64_t> units = to_fixed_point(means.divergences[k]);
    if (!units.ok()) {
      return invalid_argument(str_cat("candidate ", quote(samples.candidates[k]),
                                      ": its divergence is ", means.divergences[k], ": ",
                                      units.error().message));
    }
    table.candidates.push_back({.name = samples.candidates[k], .divergence = *units});
  }
  for (size_t i = 0; i < samples.groups.size(); ++i) {
    Table::Group group{.name = samples.groups[i], .group_size = sizes[i], .valuations = {}};
    for (const double mean : means.valuations[i]) {
      CANDOR_TRY(const int64_t units, to_fixed_point(std::min(mean, 1.0)));
      group.valuations.push_back(units);
    }
    table.groups.push_back(std::move(group));
  }
  CANDOR_RETURN_IF_ERROR(check_table(table));
  return table;
}

DoubleSettlement settle_doubles(const TableMeans& means, const std::vector<int64_t>& sizes) {
  std::vector<double> totals(means.divergences.size());
  for (size_t k = 0; k < totals.size(); ++k) {
    totals[k] = -means.divergences[k];
    for (size_t i = 0; i < sizes.size(); ++i) {
      totals[k] += static_cast<double>(sizes[i]) * means.valuations[i][k];
    }
  }
  DoubleSettlement out;
  out.winner = static_cast<size_t>(std::ranges::max_element(totals) - totals.begin());
  out.welfare = totals[out.winner];
  for (size_t i = 0; i < sizes.size(); ++i) {
    const auto size = static_cast<double>(sizes[i]);
    const double others = totals[out.winner] - size * means.valuations[i][out.winner];
    double best = others;
    for (size_t k = 0; k < totals.size(); ++k) {
      best = std::max(best, totals[k] - size * means.valuations[i][k]);
    }
    out.valuations.push_back(size * means.valuations[i][out.winner]);
    out.payments.push_back(best - others);
  }
  return out;
}

}  // namespace candor
