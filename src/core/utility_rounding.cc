#include "core/utility_rounding.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace candor {

namespace {

constexpr double kUnit = std::numeric_limits<double>::epsilon();

double top(const Report& report) { return report.group_size * std::ranges::max(report.reward); }

// What the model may be off by does to <e, p>, e the worth of each outcome to the group.
double rounding_of_model(const UtilityReading& reading) {
  const Game& game = reading.reported;
  if (!game.candidates.empty() || game.divergence.kind == DivergenceKind::kTv) return 0;
  const Report& report = game.groups[reading.group];
  double low = std::numeric_limits<double>::infinity();
  double high = -low;
  for (size_t x = 0; x < report.reward.size(); ++x) {
    double worth = reading.type.group_size * reading.type.reward[x];
    if (reading.payments == PaymentRule::kPayReport) worth -= report.group_size * report.reward[x];
    low = std::min(low, worth);
    high = std::max(high, worth);
  }
  return (high - low) * reading.solution.model_error;
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
      sum += kRounding * std::abs(outcome.payment);
      sum += reading.reported.candidates.empty() ? outcome.payment_error()
                                                 : rounding_of_candidate_payment(reading);
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
