#include "core/utility_rounding.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "core/concave_rule.h"

namespace candor {

namespace {

constexpr double kUnit = std::numeric_limits<double>::epsilon();

double top(const Report& report) { return report.group_size * std::ranges::max(report.reward); }

// The rounding of a total reward that is measured from each group's top, in one block.
double total_rounding(const Game& game, size_t begin, size_t end) {
  double spread = 0;
  for (const Report& report : game.groups) {
    const auto first = report.reward.begin();
    const auto [low, high] = std::minmax_element(first + static_cast<ptrdiff_t>(begin),
                                                 first + static_cast<ptrdiff_t>(end));
    spread += report.group_size * (*high - *low);
  }
  return (16 + static_cast<double>(game.groups.size())) * kUnit * spread;
}

// What the rounding of the totals does to <e, p> by way of p.
double rounding_of_model(const UtilityReading& reading) {
  const Game& game = reading.reported;
  if (!game.candidates.empty() || game.divergence.kind == DivergenceKind::kTv) return 0;
  const Report& report = game.groups[reading.group];
  const std::vector<double> sensitivity = mass_sensitivity(game, reading.solution.allocation);
  const auto worth = [&](size_t x) {
    const double own = reading.type.group_size * reading.type.reward[x];
    if (reading.payments != PaymentRule::kPayReport) return own;
    return own - report.group_size * report.reward[x];
  };
  double sum = 0;
  for (size_t block = 0; block < game.block_count(); ++block) {
    const size_t begin = game.block_begin[block];
    const size_t end = game.block_begin[block + 1];
    double mass = 0;
    double mean = 0;
    double low = worth(begin);
    double high = low;
    for (size_t x = begin; x < end; ++x) {
      mass += sensitivity[x];
      mean += sensitivity[x] * worth(x);
      low = std::min(low, worth(x));
      high = std::max(high, worth(x));
    }
    if (!(mass > 0)) continue;
    double moved = 0;
    for (size_t x = begin; x < end; ++x) moved += sensitivity[x] * std::abs(worth(x) - mean / mass);
    moved *= total_rounding(game, begin, end);
    sum += moved < high - low ? moved : high - low;  // a curvature may vanish: s is infinite there
  }
  return sum / static_cast<double>(game.block_count());
}

// Candidates' prices are sums over the others of whole valuations.
double rounding_of_candidate_payment(const UtilityReading& reading) {
  const Game& game = reading.reported;
  double others = reading.solution.divergence +
                  std::abs(reading.solution.groups[reading.group].welfare_without);
  for (size_t group = 0; group < game.groups.size(); ++group) {
    if (group != reading.group) others += top(game.groups[group]);
  }
  return (8 + static_cast<double>(game.groups.size())) * kUnit * others;
}

}  // namespace

double utility_rounding(const UtilityReading& reading) {
  static constexpr double kRounding = 16 * kUnit;
  double sum = kRounding * top(reading.type) + rounding_of_model(reading);
  const GroupOutcome& outcome = reading.solution.groups[reading.group];
  switch (reading.payments) {
    case PaymentRule::kAffine:
      sum += outcome.payment_error + kRounding * std::abs(outcome.payment);
      if (!reading.reported.candidates.empty()) sum += rounding_of_candidate_payment(reading);
      break;
    case PaymentRule::kPayReport:
      sum += kRounding * top(reading.reported.groups[reading.group]);
      break;
    case PaymentRule::kGiven:
      sum += kRounding * std::abs(reading.price);
      break;
    case PaymentRule::kZero:
      break;
  }
  return sum;
}

}  // namespace candor
