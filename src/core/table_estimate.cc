#include "core/table_estimate.h"

#include <algorithm>
#include <cmath>

#include "base/strings.h"
#include "core/sampling_plan.h"
#include "core/series.h"
#include "core/settlement_bands.h"
#include "core/table_resampling.h"

namespace candor {

namespace {

// Percentiles of resamples settled anew take this part of the error probability: they are there for
// other winners, the band for the noise of this one.
constexpr double kPercentileShare = 0.5;

// Valuations and payments of one vector of sizes in every resample.
struct ResettledDraws {
  std::vector<std::vector<double>> valuations, payments;  // [n][B]
  std::vector<double> wins;                               // [K]

  ResettledDraws(size_t groups, size_t candidates)
      : valuations(groups), payments(groups), wins(candidates, 0.0) {}

  void add(const DoubleSettlement& settlement) {
    wins[settlement.winner] += 1;
    for (size_t i = 0; i < valuations.size(); ++i) {
      valuations[i].push_back(settlement.valuations[i]);
      payments[i].push_back(settlement.payments[i]);
    }
  }
};

double largest_difference(const std::vector<double>& a, const std::vector<double>& b) {
  double out = 0;
  for (size_t k = 0; k < a.size(); ++k) out = std::max(out, std::abs(a[k] - b[k]));
  return out;
}

Interval around(double estimate, const Band& band) {
  return {.estimate = estimate, .low = band.low, .high = band.high};
}

class Estimator {
 public:
  Estimator(const TableSamples& samples, const std::vector<std::vector<int64_t>>& sizes,
            const std::vector<size_t>& winners, const TableEstimateOptions& options)
      : samples_(samples),
        sizes_(sizes),
        winners_(winners),
        options_(options),
        resampling_{.seed = options.seed, .draws = options.resamples},
        means_(means_of_samples(samples)),
        errors_(draw_errors(samples, resampling_)),
        bias_(choice_bias(samples, sizes, resampling_)),
        draws_(sizes.size(), ResettledDraws(samples.groups.size(), samples.candidates.size())) {}

  TableEstimate run() {
    TableEstimate out;
    out.confidence = options_.confidence;
    out.resamples = options_.resamples;
    out.redrawn_banks = samples_.redrawn_valuations.size();
    resample(out);
    for (size_t i = 0; i < means_.valuations.size(); ++i) {
      std::vector<Interval>& row = out.valuations.emplace_back();
      for (size_t k = 0; k < means_.divergences.size(); ++k) {
        row.push_back(interval_of(means_.valuations[i][k], errors_.valuations[i][k]));
        row.back().low = std::max(row.back().low, 0.0);
        row.back().high = std::min(row.back().high, 1.0);
      }
    }
    for (size_t k = 0; k < means_.divergences.size(); ++k) {
      out.divergences.push_back(interval_of(means_.divergences[k], errors_.divergences[k]));
    }
    for (size_t s = 0; s < sizes_.size(); ++s) out.settlements.push_back(settlement_of(s));
    return out;
  }

 private:
  void resample(TableEstimate& out) {
    std::vector<double> errors;
    std::vector<double> divergence_errors;
    resample_prompts(
        samples_, resampling_, [&](const TableMeans& sealed, const TableMeans& redrawn) {
          double largest = 0;
          for (size_t i = 0; i < means_.valuations.size(); ++i) {
            largest =
                std::max(largest, largest_difference(sealed.valuations[i], means_.valuations[i]));
          }
          errors.push_back(largest);
          divergence_errors.push_back(largest_difference(sealed.divergences, means_.divergences));
          for (size_t s = 0; s < sizes_.size(); ++s) {
            draws_[s].add(settle_doubles(redrawn, sizes_[s]));
          }
        });
    const auto q = static_cast<double>(samples_.prompts);
    // A resample's spread is that of Q - 1 degrees of freedom.
    const double correction = std::sqrt(q / (q - 1));
    out.epsilon_bootstrap = correction * quantile(errors, options_.confidence);
    out.divergence_epsilon = correction * quantile(divergence_errors, options_.confidence);
  }

  // Of one mean for itself: Student's interval, the reference bank's part included.
  [[nodiscard]] Interval interval_of(double estimate, const ErrorDraws& errors) const {
    std::vector<double> sizes;
    for (const double error : errors) sizes.push_back(std::abs(error));
    const double half = quantile(std::move(sizes), options_.confidence);
    return {.estimate = estimate, .low = estimate - half, .high = estimate + half};
  }

  [[nodiscard]] Band with_percentiles(Band band, const std::vector<double>& draws) const {
    const double tail = kPercentileShare * (1 - options_.confidence) / 2;
    return {.low = std::min(band.low, quantile(draws, tail)),
            .high = std::max(band.high, quantile(draws, 1 - tail))};
  }

  [[nodiscard]] SettlementEstimate settlement_of(size_t s) const {
    const size_t winner = winners_[s];
    const SettlementBands bands = settlement_bands(
        means_, errors_, {.sizes = sizes_[s], .winner = winner, .confidence = options_.confidence});
    const DoubleSettlement settled = settle_doubles(means_, sizes_[s]);
    const ChoiceBias& bias = bias_[s];
    SettlementEstimate out;
    out.sizes = sizes_[s];
    out.winner = winner;
    out.contenders = bands.contenders;
    out.welfare = {around(settled.welfare, bands.welfare), bias.welfare};
    for (size_t i = 0; i < sizes_[s].size(); ++i) {
      const SettlementBands::Group& group = bands.groups[i];
      const auto size = static_cast<double>(sizes_[s][i]);
      const double valuation = size * means_.valuations[i][winner];
      const double utility = settled.valuations[i] - settled.payments[i];  // whoever wins a tie
      Band worth = with_percentiles(group.valuation, draws_[s].valuations[i]);
      worth = {.low = std::max(worth.low, 0.0), .high = std::min(worth.high, size)};
      out.groups.push_back(
          {.valuation = {around(valuation, worth), bias.valuations[i]},
           .payment = {around(valuation - utility,
                              with_percentiles(group.payment, draws_[s].payments[i])),
                       bias.payments[i]},
           .utility = {around(utility, group.utility), bias.valuations[i] - bias.payments[i]}});
    }
    for (const double wins : draws_[s].wins) out.win_share.push_back(wins / options_.resamples);
    return out;
  }

  const TableSamples& samples_;
  const std::vector<std::vector<int64_t>>& sizes_;
  const std::vector<size_t>& winners_;
  const TableEstimateOptions& options_;
  ResamplingOptions resampling_;
  TableMeans means_;
  TableErrors errors_;
  std::vector<ChoiceBias> bias_;       // [sizes]
  std::vector<ResettledDraws> draws_;  // [sizes]
};

// The certain epsilon and the variances that forecast it.
void add_variances(const TableSamples& samples, const TableEstimateOptions& options,
                   TableEstimate& out) {
  const size_t candidates = samples.candidates.size();
  const auto prompts = static_cast<int64_t>(samples.prompts);
  const double delta =
      (1 - options.confidence) / static_cast<double>(candidates * samples.groups.size());
  out.epsilon_by_variance = uses_variance(prompts, delta);
  for (size_t i = 0; i < samples.groups.size(); ++i) {
    for (size_t k = 0; k < candidates; ++k) {
      Series series;
      for (size_t q = 0; q < samples.prompts; ++q) {
        series.add(samples.valuations[i][k * samples.prompts + q]);
      }
      out.epsilon_bound =
          std::max(out.epsilon_bound, empirical_half_width(prompts, series.variance(), delta));
      const double within = samples.reply_variances.empty() ? 0 : samples.reply_variances[i][k];
      out.within = std::max(out.within, within);
      out.between = std::max(out.between, series.variance() - within / options.replies);
    }
  }
}

}  // namespace

bool SettlementEstimate::close_call() const {
  return contenders.size() > 1 || win_share[winner] < kClearWinShare;
}

Result<TableEstimate> estimate_table(const TableSamples& samples,
                                     const std::vector<std::vector<int64_t>>& sizes,
                                     const TableEstimateOptions& options) {
  CANDOR_RETURN_IF_ERROR(check_samples(samples));
  if (samples.prompts < 2) {
    return invalid_argument("intervals need at least 2 prompts to resample; found 1");
  }
  std::vector<size_t> winners;
  for (const std::vector<int64_t>& vector : sizes) {
    CANDOR_TRY(const Table table, make_table(samples, vector, INT64_MAX));
    winners.push_back(settle(table, {.prices = false}).winner);
  }
  TableEstimate out = Estimator(samples, sizes, winners, options).run();
  add_variances(samples, options, out);
  return out;
}

}  // namespace candor
