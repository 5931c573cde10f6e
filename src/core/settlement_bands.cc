#include "core/settlement_bands.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace candor {

namespace {

// Of the error probability, for saying which candidates may be the best: of T, and of a B_i.
constexpr double kSelectionShare = 0.05;

// K figures, of which one is the best, with their errors.
struct Scores {
  std::vector<double> values;      // [K]
  std::vector<ErrorDraws> errors;  // [K]
};

void add(const std::vector<double>& values, const std::vector<ErrorDraws>& errors, double factor,
         Scores& to) {
  for (size_t k = 0; k < values.size(); ++k) {
    to.values[k] += factor * values[k];
    for (size_t b = 0; b < errors[k].size(); ++b) to.errors[k][b] += factor * errors[k][b];
  }
}

class Bands {
 public:
  Bands(const TableMeans& means, const TableErrors& errors, const SettlementBandsOptions& options)
      : means_(means), errors_(errors), options_(options), winner_(options.winner) {
    const size_t candidates = means.divergences.size();
    CANDOR_CHECK(winner_ < candidates && !errors.divergences[0].empty());
    draws_ = errors.divergences[0].size();
    totals_ = {std::vector<double>(candidates, 0.0),
               std::vector<ErrorDraws>(candidates, ErrorDraws(draws_, 0.0))};
    add(means.divergences, errors.divergences, -1, totals_);
    for (const double divergence : means.divergences) {
      scale_ = std::max(scale_, std::abs(divergence));
    }
    for (size_t i = 0; i < options.sizes.size(); ++i) {
      const auto size = static_cast<double>(options.sizes[i]);
      add(means.valuations[i], errors.valuations[i], size, totals_);
      scale_ += size;
    }
    const double error = 1 - options.confidence;
    selection_ = 1 - kSelectionShare * error;
    both_ = 1 - (1 - 2 * kSelectionShare) * error;
    one_side_ = 1 - (1 - 2 * kSelectionShare) * error / 2;
    plausible_ = best_of(totals_, selection_);
    // k^ has the largest total up to rounding, so that nothing excludes it but a tie of integers.
    if (!std::ranges::binary_search(plausible_, winner_)) {
      plausible_.insert(std::ranges::lower_bound(plausible_, winner_), winner_);
    }
  }

  SettlementBands all() const {
    SettlementBands out;
    out.welfare = welfare();
    for (size_t i = 0; i < options_.sizes.size(); ++i) {
      Scores others = totals_;
      add(means_.valuations[i], errors_.valuations[i], -static_cast<double>(options_.sizes[i]),
          others);
      const std::vector<size_t> best = best_of(others, selection_);
      out.groups.push_back({valuation(i), payment(others, best), utility(others, best)});
    }
    for (const size_t k : best_of(totals_, options_.confidence)) {
      if (k == winner_ || !equals_winner(k)) out.contenders.push_back(k);
    }
    if (!std::ranges::binary_search(out.contenders, winner_)) {
      out.contenders.insert(std::ranges::lower_bound(out.contenders, winner_), winner_);
    }
    return out;
  }

 private:
  [[nodiscard]] LargestErrors family() const { return {draws_, scale_}; }

  // The candidates that no other is above by more than its errors explain: the truly best one is
  // among them with probability `level`.
  [[nodiscard]] std::vector<size_t> best_of(const Scores& scores, double level) const {
    std::vector<size_t> out;
    std::vector<double> spreads(scores.values.size());
    for (size_t k = 0; k < scores.values.size(); ++k) {
      LargestErrors largest = family();
      for (size_t j = 0; j < scores.values.size(); ++j) {
        const ErrorDraws errors = difference(scores.errors[j], scores.errors[k]);
        spreads[j] = spread_of(errors);
        largest.add(errors, spreads[j], ErrorSide::kAbove);
      }
      const double critical = largest.critical_value(level);
      bool beaten = false;
      for (size_t j = 0; j < scores.values.size(); ++j) {
        beaten = beaten || scores.values[j] - scores.values[k] >
                               critical * spreads[j] + kRoundingShare * scale_;
      }
      if (!beaten) out.push_back(k);
    }
    return out;
  }

  [[nodiscard]] bool equals_winner(size_t k) const {
    const auto equal = [&](const std::vector<double>& values,
                           const std::vector<ErrorDraws>& errors) {
      return std::abs(values[k] - values[winner_]) <= kRoundingShare &&
             spread_of(difference(errors[k], errors[winner_])) <= kRoundingShare;
    };
    bool out = equal(means_.divergences, errors_.divergences);
    for (size_t i = 0; i < means_.valuations.size(); ++i) {
      out = out && equal(means_.valuations[i], errors_.valuations[i]);
    }
    return out;
  }

  // Low: T_k^ for any k^ among the plausible. High: max T is T of one fixed candidate, whose own
  // upper end is enough.
  [[nodiscard]] Band welfare() const {
    LargestErrors above = family();
    Band out{.low = 0, .high = -HUGE_VAL};
    for (const size_t k : plausible_) {
      const ErrorDraws& errors = totals_.errors[k];
      const double spread = spread_of(errors);
      above.add(errors, spread, ErrorSide::kAbove);
      LargestErrors below = family();
      below.add(errors, spread, ErrorSide::kBelow);
      out.high = std::max(out.high, totals_.values[k] + below.critical_value(one_side_) * spread);
    }
    out.low = totals_.values[winner_] -
              above.critical_value(one_side_) * spread_of(totals_.errors[winner_]);
    return out;
  }

  [[nodiscard]] Band valuation(size_t i) const {
    LargestErrors largest = family();
    for (const size_t k : plausible_) {
      const ErrorDraws& errors = errors_.valuations[i][k];
      largest.add(errors, spread_of(errors), ErrorSide::kBoth);
    }
    const auto size = static_cast<double>(options_.sizes[i]);
    const double half =
        largest.critical_value(both_) * size * spread_of(errors_.valuations[i][winner_]);
    const double middle = size * means_.valuations[i][winner_];
    return {.low = middle - half, .high = middle + half};
  }

  // max_j E(j), E(j) = B(j) - B(k^). The true maximum is at one fixed j, so the upper end pays for
  // the choice of k^ alone; the lower end, a maximum of lower ends, for all pairs.
  [[nodiscard]] Band payment(const Scores& others, const std::vector<size_t>& best) const {
    LargestErrors pairs = family();
    double upper = 0;
    std::vector<double> spreads;  // [best], at k^
    for (const size_t j : best) {
      LargestErrors below = family();
      spreads.push_back(0);
      for (const size_t k : plausible_) {
        const ErrorDraws errors = difference(others.errors[j], others.errors[k]);
        const double spread = spread_of(errors);
        pairs.add(errors, spread, ErrorSide::kAbove);
        below.add(errors, spread, ErrorSide::kBelow);
        if (k == winner_) spreads.back() = spread;
      }
      upper = std::max(upper, below.critical_value(one_side_));
    }
    const double lower = pairs.critical_value(one_side_);
    Band out;  // no payment of a true table is below 0
    for (size_t j = 0; j < best.size(); ++j) {
      const double value = others.values[best[j]] - others.values[winner_];
      out.low = std::max(out.low, value - lower * spreads[j]);
      out.high = std::max(out.high, value + upper * spreads[j]);
    }
    return out;
  }

  // F(k, j) = T_k - B(j). Low: min_j F(k^, j) is at one fixed j, so it pays for the choice of k^.
  // High: max_k min_j F is at one fixed k and below every F(k, j) there, so it pays for all j.
  [[nodiscard]] Band utility(const Scores& others, const std::vector<size_t>& best) const {
    std::vector<LargestErrors> below(plausible_.size(), family());
    std::vector<std::vector<double>> spreads(plausible_.size());
    double lower = 0;
    for (const size_t j : best) {
      LargestErrors above = family();
      for (size_t p = 0; p < plausible_.size(); ++p) {
        const ErrorDraws errors = difference(totals_.errors[plausible_[p]], others.errors[j]);
        spreads[p].push_back(spread_of(errors));
        above.add(errors, spreads[p].back(), ErrorSide::kAbove);
        below[p].add(errors, spreads[p].back(), ErrorSide::kBelow);
      }
      lower = std::max(lower, above.critical_value(one_side_));
    }
    double upper = 0;
    for (const LargestErrors& one : below) upper = std::max(upper, one.critical_value(one_side_));
    Band out{.low = HUGE_VAL, .high = -HUGE_VAL};
    for (size_t p = 0; p < plausible_.size(); ++p) {
      double least = HUGE_VAL;
      for (size_t j = 0; j < best.size(); ++j) {
        const double value = totals_.values[plausible_[p]] - others.values[best[j]];
        least = std::min(least, value + upper * spreads[p][j]);
        if (plausible_[p] == winner_) out.low = std::min(out.low, value - lower * spreads[p][j]);
      }
      out.high = std::max(out.high, least);
    }
    return out;
  }

  const TableMeans& means_;
  const TableErrors& errors_;
  const SettlementBandsOptions& options_;
  size_t winner_;
  size_t draws_ = 0;
  double scale_ = 0;
  double selection_ = 0, both_ = 0, one_side_ = 0;  // levels
  Scores totals_;
  std::vector<size_t> plausible_;  // may be the best of T
};

}  // namespace

SettlementBands settlement_bands(const TableMeans& means, const TableErrors& errors,
                                 const SettlementBandsOptions& options) {
  return Bands(means, errors, options).all();
}

}  // namespace candor
