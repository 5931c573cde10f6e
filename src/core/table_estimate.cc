#include "core/table_estimate.h"

#include <algorithm>
#include <cmath>
#include <span>

#include "base/rng.h"
#include "base/strings.h"
#include "core/sampling_plan.h"
#include "core/series.h"

namespace candor {

namespace {

constexpr uint32_t kTableBootstrapStream = 0x74626f6f;  // "tboo"

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

// Means over prompts of one row of K * Q values.
std::vector<double> means_of(const std::vector<double>& row, size_t prompts) {
  std::vector<double> out(row.size() / prompts, 0.0);
  for (size_t cell = 0; cell < row.size(); ++cell) out[cell / prompts] += row[cell];
  for (double& value : out) value /= static_cast<double>(prompts);
  return out;
}

double quantile(std::vector<double> values, double share) {
  std::sort(values.begin(), values.end());
  const double place = share * static_cast<double>(values.size() - 1);
  const auto below = static_cast<size_t>(place);
  const size_t above = std::min(below + 1, values.size() - 1);
  return values[below] + (place - static_cast<double>(below)) * (values[above] - values[below]);
}

Interval interval_of(double estimate, const std::vector<double>& draws, double confidence) {
  const double tail = (1 - confidence) / 2;
  return {.estimate = estimate, .low = quantile(draws, tail), .high = quantile(draws, 1 - tail)};
}

// Every figure of one vector of sizes in every resample.
struct SettlementDraws {
  std::vector<double> welfare;
  std::vector<std::vector<double>> valuations, payments, utilities;  // [n][B]
  std::vector<double> wins;                                          // [K]

  SettlementDraws(size_t groups, size_t candidates)
      : valuations(groups), payments(groups), utilities(groups), wins(candidates, 0.0) {}

  void add(const DoubleSettlement& settlement) {
    welfare.push_back(settlement.welfare);
    wins[settlement.winner] += 1;
    for (size_t i = 0; i < valuations.size(); ++i) {
      valuations[i].push_back(settlement.valuations[i]);
      payments[i].push_back(settlement.payments[i]);
      utilities[i].push_back(settlement.valuations[i] - settlement.payments[i]);
    }
  }
};

class Bootstrap {
 public:
  Bootstrap(const TableSamples& samples, const std::vector<std::vector<int64_t>>& sizes,
            const TableEstimateOptions& options)
      : samples_(samples), sizes_(sizes), options_(options) {
    const size_t candidates = samples.candidates.size();
    for (const std::vector<double>& row : samples.valuations) {
      means_.push_back(means_of(row, samples.prompts));
    }
    divergences_ = means_of(samples.divergences, samples.prompts);
    value_draws_.assign(samples.groups.size(), std::vector<std::vector<double>>(candidates));
    divergence_draws_.resize(candidates);
    settlement_draws_.assign(sizes.size(), SettlementDraws(samples.groups.size(), candidates));
  }

  TableEstimate run() {
    for (int b = 0; b < options_.resamples; ++b) add_resample(b);
    TableEstimate out;
    out.confidence = options_.confidence;
    out.resamples = options_.resamples;
    const double q = static_cast<double>(samples_.prompts);
    // A resample's spread is that of Q - 1 degrees of freedom.
    const double correction = std::sqrt(q / (q - 1));
    out.epsilon_bootstrap = correction * quantile(largest_errors_, options_.confidence);
    out.divergence_epsilon = correction * quantile(divergence_errors_, options_.confidence);
    for (size_t i = 0; i < means_.size(); ++i) {
      std::vector<Interval>& row = out.valuations.emplace_back();
      for (size_t k = 0; k < divergences_.size(); ++k) {
        row.push_back(interval_of(means_[i][k], value_draws_[i][k], options_.confidence));
      }
    }
    for (size_t k = 0; k < divergences_.size(); ++k) {
      out.divergences.push_back(
          interval_of(divergences_[k], divergence_draws_[k], options_.confidence));
    }
    for (size_t s = 0; s < sizes_.size(); ++s) out.settlements.push_back(settlement_of(s));
    return out;
  }

 private:
  void add_resample(int index) {
    RandomStream random({.seed = options_.seed,
                         .stream = kTableBootstrapStream,
                         .prompt = static_cast<uint32_t>(index)});
    std::vector<double> counts(samples_.prompts, 0.0);
    for (size_t q = 0; q < samples_.prompts; ++q) counts[random.below(samples_.prompts)] += 1;
    std::vector<std::vector<double>> values;
    double largest = 0;
    for (size_t i = 0; i < means_.size(); ++i) {
      values.push_back(weighted_means(samples_.valuations[i], counts));
      for (size_t k = 0; k < divergences_.size(); ++k) {
        value_draws_[i][k].push_back(values[i][k]);
        largest = std::max(largest, std::abs(values[i][k] - means_[i][k]));
      }
    }
    largest_errors_.push_back(largest);
    const std::vector<double> divergences = weighted_means(samples_.divergences, counts);
    double largest_divergence = 0;
    for (size_t k = 0; k < divergences.size(); ++k) {
      divergence_draws_[k].push_back(divergences[k]);
      largest_divergence = std::max(largest_divergence, std::abs(divergences[k] - divergences_[k]));
    }
    divergence_errors_.push_back(largest_divergence);
    for (size_t s = 0; s < sizes_.size(); ++s) {
      settlement_draws_[s].add(settle_doubles(values, divergences, sizes_[s]));
    }
  }

  [[nodiscard]] std::vector<double> weighted_means(const std::vector<double>& row,
                                                   const std::vector<double>& counts) const {
    std::vector<double> out(divergences_.size(), 0.0);
    for (size_t k = 0; k < out.size(); ++k) {
      const std::span<const double> cells(row.data() + k * counts.size(), counts.size());
      for (size_t q = 0; q < counts.size(); ++q) out[k] += counts[q] * cells[q];
      out[k] /= static_cast<double>(counts.size());
    }
    return out;
  }

  [[nodiscard]] SettlementEstimate settlement_of(size_t s) const {
    const DoubleSettlement truth = settle_doubles(means_, divergences_, sizes_[s]);
    const SettlementDraws& draws = settlement_draws_[s];
    const double confidence = options_.confidence;
    SettlementEstimate out;
    out.sizes = sizes_[s];
    out.welfare = interval_of(truth.welfare, draws.welfare, confidence);
    for (size_t i = 0; i < means_.size(); ++i) {
      out.groups.push_back(
          {.valuation = interval_of(truth.valuations[i], draws.valuations[i], confidence),
           .payment = interval_of(truth.payments[i], draws.payments[i], confidence),
           .utility = interval_of(truth.valuations[i] - truth.payments[i], draws.utilities[i],
                                  confidence)});
    }
    for (const double wins : draws.wins) out.win_share.push_back(wins / options_.resamples);
    return out;
  }

  const TableSamples& samples_;
  const std::vector<std::vector<int64_t>>& sizes_;
  const TableEstimateOptions& options_;
  std::vector<std::vector<double>> means_;                     // [n][K]
  std::vector<double> divergences_;                            // [K]
  std::vector<std::vector<std::vector<double>>> value_draws_;  // [n][K][B]
  std::vector<std::vector<double>> divergence_draws_;          // [K][B]
  std::vector<double> largest_errors_, divergence_errors_;     // [B]
  std::vector<SettlementDraws> settlement_draws_;              // [sizes]
};

// The Bernstein epsilon and the variances that forecast it.
void add_variances(const TableSamples& samples, const TableEstimateOptions& options,
                   TableEstimate& out) {
  const size_t candidates = samples.candidates.size();
  const auto prompts = static_cast<int64_t>(samples.prompts);
  const double delta =
      (1 - options.confidence) / static_cast<double>(candidates * samples.groups.size());
  for (size_t i = 0; i < samples.groups.size(); ++i) {
    for (size_t k = 0; k < candidates; ++k) {
      Series series;
      for (size_t q = 0; q < samples.prompts; ++q) {
        series.add(samples.valuations[i][k * samples.prompts + q]);
      }
      out.epsilon_bernstein =
          std::max(out.epsilon_bernstein, empirical_half_width(prompts, series.variance(), delta));
      const double within = samples.reply_variances.empty() ? 0 : samples.reply_variances[i][k];
      out.within = std::max(out.within, within);
      out.between = std::max(out.between, series.variance() - within / options.replies);
    }
  }
}

}  // namespace

Result<Table> make_table(const TableSamples& samples, const std::vector<int64_t>& sizes,
                         int64_t max_size) {
  CANDOR_RETURN_IF_ERROR(check_samples(samples));
  if (sizes.size() != samples.groups.size()) {
    return invalid_argument(str_cat("sizes: found ", sizes.size(), "; expected one for each of ",
                                    samples.groups.size(), " groups"));
  }
  Table table;
  table.max_size = max_size;
  const std::vector<double> divergences = means_of(samples.divergences, samples.prompts);
  for (size_t k = 0; k < samples.candidates.size(); ++k) {
    const Result<int64_t> units = to_fixed_point(divergences[k]);
    if (!units.ok()) {
      return invalid_argument(str_cat("candidate ", quote(samples.candidates[k]),
                                      ": its divergence is ", divergences[k], ": ",
                                      units.error().message));
    }
    table.candidates.push_back({.name = samples.candidates[k], .divergence = *units});
  }
  for (size_t i = 0; i < samples.groups.size(); ++i) {
    Table::Group group{.name = samples.groups[i], .group_size = sizes[i], .valuations = {}};
    for (const double mean : means_of(samples.valuations[i], samples.prompts)) {
      CANDOR_TRY(const int64_t units, to_fixed_point(std::min(mean, 1.0)));
      group.valuations.push_back(units);
    }
    table.groups.push_back(std::move(group));
  }
  CANDOR_RETURN_IF_ERROR(check_table(table));
  return table;
}

DoubleSettlement settle_doubles(const std::vector<std::vector<double>>& valuations,
                                const std::vector<double>& divergences,
                                const std::vector<int64_t>& sizes) {
  std::vector<double> totals(divergences.size());
  for (size_t k = 0; k < totals.size(); ++k) {
    totals[k] = -divergences[k];
    for (size_t i = 0; i < sizes.size(); ++i) {
      totals[k] += static_cast<double>(sizes[i]) * valuations[i][k];
    }
  }
  DoubleSettlement out;
  out.winner = static_cast<size_t>(std::ranges::max_element(totals) - totals.begin());
  out.welfare = totals[out.winner];
  for (size_t i = 0; i < sizes.size(); ++i) {
    const auto size = static_cast<double>(sizes[i]);
    const double others = totals[out.winner] - size * valuations[i][out.winner];
    double best = others;
    for (size_t k = 0; k < totals.size(); ++k) {
      best = std::max(best, totals[k] - size * valuations[i][k]);
    }
    out.valuations.push_back(size * valuations[i][out.winner]);
    out.payments.push_back(best - others);
  }
  return out;
}

Result<TableEstimate> estimate_table(const TableSamples& samples,
                                     const std::vector<std::vector<int64_t>>& sizes,
                                     const TableEstimateOptions& options) {
  CANDOR_RETURN_IF_ERROR(check_samples(samples));
  if (samples.prompts < 2) {
    return invalid_argument("intervals need at least 2 prompts to resample; found 1");
  }
  for (const std::vector<int64_t>& vector : sizes) {
    const Result<Table> table = make_table(samples, vector, INT64_MAX);
    if (!table.ok()) return table.error();
  }
  TableEstimate out = Bootstrap(samples, sizes, options).run();
  add_variances(samples, options, out);
  return out;
}

}  // namespace candor
