#include "core/sweep.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "base/strings.h"
#include "core/solution.h"

namespace candor {

std::vector<double> others_mean_reward(const Game& game, size_t group) {
  std::vector<double> mean(game.outcome_count(), 0.0);
  double total_size = 0;
  for (size_t other = 0; other < game.groups.size(); ++other) {
    if (other != group) total_size += game.groups[other].group_size;
  }
  for (size_t other = 0; other < game.groups.size(); ++other) {
    if (other == group) continue;
    const double share = game.groups[other].group_size / total_size;
    for (size_t x = 0; x < mean.size(); ++x) mean[x] += share * game.groups[other].reward[x];
  }
  return mean;
}

Report mixed_report(const Report& truth, const std::vector<double>& others, double preference_mix,
                    bool clip, size_t* clipped) {
  Report report = truth;
  report.reward_rest.clear();
  for (size_t x = 0; x < report.reward.size(); ++x) {
    const double mixed = preference_mix * truth.reward[x] + (1 - preference_mix) * others[x];
    const double value = clip ? std::clamp(mixed, 0.0, 1.0) : mixed;
    if (clipped != nullptr && value != mixed) ++*clipped;
    report.reward[x] = value;
  }
  return report;
}

Result<std::vector<SweepPoint>> sweep(const Game& game, size_t group, Misreport kind,
                                      const std::vector<double>& parameters) {
  CANDOR_CHECK(group < game.groups.size());
  const bool mix = kind != Misreport::kSizeInflation;
  if (mix && game.groups.size() < 2) {
    return invalid_argument("a preference mix needs another group to mix with");
  }
  const Report& truth = game.groups[group];
  const std::vector<double> others = mix ? others_mean_reward(game, group) : std::vector<double>();
  std::vector<SweepPoint> points;
  for (const double parameter : parameters) {
    if (!std::isfinite(parameter) || (!mix && parameter <= 0)) {
      return invalid_argument(str_cat("sweep parameter: found ", parameter, "; expected a finite ",
                                      mix ? "number" : "number above 0"));
    }
    SweepPoint point{.parameter = parameter};
    Report report = truth;
    if (mix) {
      report = mixed_report(truth, others, parameter, kind == Misreport::kPreferenceMixClipped,
                            &point.clipped);
    } else {
      report.group_size = parameter * truth.group_size;
    }
    const Game lied = with_report(game, group, report.group_size, std::move(report.reward));
    CANDOR_TRY(const Solution solution, solve(lied));
    point.valuation = group_valuation(game, truth, solution.allocation);
    point.payment = solution.groups[group].payment;
    point.utility = point.valuation - point.payment;
    points.push_back(point);
  }
  return points;
}

}  // namespace candor
