#include "study/menu_candidates.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/check.h"
#include "base/strings.h"
#include "study/divergence_spec.h"

namespace candor {

namespace {

using Role = ExpertRun::Role;

// What group `group` is trained for under the reports: its row over the true rewards.
std::vector<double> reported_row(const std::vector<double>& sizes, size_t group,
                                 const TrainingReports& reports) {
  std::vector<double> row(sizes.size(), 0.0);
  row[group] = 1;
  if (group != reports.group || reports.preference_mix == 1) return row;
  const double others = std::accumulate(sizes.begin(), sizes.end(), 0.0) - sizes[group];
  for (size_t j = 0; j < row.size(); ++j) {
    row[j] = j == group ? reports.preference_mix
                        : (1 - reports.preference_mix) * sizes[j] / others;  // b rm + (1-b) rm_-i
  }
  return row;
}

class RunList {
 public:
  RunList(const Study& study, const TrainingReports& reports)
      : study_(study), reports_(reports), experts_(*study.menu->experts) {
    for (const StudyGroup& group : study.groups) sizes_.push_back(static_cast<double>(group.size));
  }

  // The run that maximises the reported sum of sizes_j rm_j, for `sizes` in place of the true ones
  // (0: left out).
  [[nodiscard]] ExpertRun run(Role role, std::string name, const std::vector<double>& sizes,
                              double share) const {
    ExpertRun out{.role = role, .name = std::move(name), .weights = {}, .share = share};
    out.weights.assign(sizes.size(), 0.0);
    double agents = 0;
    for (size_t j = 0; j < sizes.size(); ++j) {
      const double size = sizes[j] * (j == reports_.group ? reports_.size_inflation : 1);
      const std::vector<double> row = reported_row(sizes_, j, reports_);
      for (size_t l = 0; l < row.size(); ++l) out.weights[l] += size * row[l];
      agents += size;
    }
    for (double& weight : out.weights) weight /= agents;
    out.kl_coefficient =
        experts_.kl_coefficient.value_or(study_.divergence.regularization / agents);
    out.steps = std::max<int64_t>(1, std::llround(share * static_cast<double>(experts_.steps)));
    return out;
  }

  [[nodiscard]] std::vector<double> only(size_t group) const {
    std::vector<double> out(sizes_.size(), 0.0);
    out[group] = sizes_[group];
    return out;
  }

 private:
  const Study& study_;
  const TrainingReports& reports_;
  const ExpertChoice& experts_;
  std::vector<double> sizes_;
};

void add_trained(const Study& study, const RunList& list, size_t row, std::vector<ExpertRun>& out) {
  const MenuChoice& menu = study.menu->menu;
  const std::vector<double>& weights = menu.trained[row];
  const std::string name = "trained-" + dashed(weights);
  const auto add = [&](Role role, const std::string& suffix, const std::vector<double>& sizes,
                       double share, size_t group) {
    ExpertRun run = list.run(role, name + suffix, sizes, share);
    run.trained = row;
    run.group = group;
    out.push_back(std::move(run));
  };
  add(Role::kTrained, "", weights, 1, 0);
  const auto percent = [](double share) { return format_short(100 * share, 3) + "%"; };
  for (const double share : menu.shortcuts) {
    add(Role::kCheckpoint, "-at-" + percent(share), weights, share, 0);
  }
  for (size_t i = 0; i < study.groups.size() && study.groups.size() > 1; ++i) {
    std::vector<double> without = weights;
    without[i] = 0;
    const std::string suffix = "-without-" + study.groups[i].name;
    if (menu.leave_one_out) add(Role::kLeaveOneOut, suffix, without, 1, i);
    for (const double share : menu.shortcuts) {
      add(Role::kEarlyStop, suffix + "-at-" + percent(share), without, share, i);
    }
  }
}

template <typename Value>
std::string dashed_values(const std::vector<Value>& values) {
  std::string out;
  for (const Value value : values) {
    out += (out.empty() ? "" : "-") + format_short(static_cast<double>(value), 4);
  }
  return out;
}

void add_grid(const Study& study, int64_t points, bool mixtures, std::vector<MenuCandidate>& out) {
  if (points < 2) return;
  const double power = mixtures ? study.menu->menu.mixture_power : 1;
  for (std::vector<double>& point : simplex_grid(points, study.groups.size())) {
    const bool corner = std::ranges::count(point, 0.0) + 1 == std::ssize(point);
    if (corner && power == 1) continue;  // an expert
    std::string name = (mixtures ? "mixture-" : "soup-") + dashed(point);
    for (double& weight : point) weight *= power;
    out.push_back({.name = std::move(name),
                   .kind = mixtures ? MenuCandidate::Kind::kMixture : MenuCandidate::Kind::kSoup,
                   .weights = std::move(point)});
  }
}

}  // namespace

std::string dashed(const std::vector<double>& values) { return dashed_values(values); }
std::string dashed(const std::vector<int64_t>& values) { return dashed_values(values); }

std::vector<ExpertRun> expert_runs(const Study& study, const TrainingReports& reports) {
  std::vector<ExpertRun> out;
  if (!study.menu->experts.has_value()) return out;
  const RunList list(study, reports);
  for (size_t i = 0; i < study.groups.size(); ++i) {
    if (!study.groups[i].adapter.empty()) continue;
    ExpertRun run = list.run(Role::kExpert, "expert-" + study.groups[i].name, list.only(i), 1);
    run.group = i;
    out.push_back(std::move(run));
  }
  for (size_t row = 0; row < study.menu->menu.trained.size(); ++row) {
    add_trained(study, list, row, out);
  }
  return out;
}

std::vector<MenuCandidate> menu_candidates(const Study& study) {
  const MenuChoice& menu = study.menu->menu;
  const size_t groups = study.groups.size();
  std::vector<MenuCandidate> out;
  if (menu.initial) out.push_back({.name = "initial", .weights = {}});
  for (size_t i = 0; i < groups; ++i) {
    std::vector<double> weights(groups, 0.0);
    weights[i] = 1;
    out.push_back({.name = "expert-" + study.groups[i].name,
                   .kind = MenuCandidate::Kind::kSoup,
                   .weights = std::move(weights)});
  }
  add_grid(study, menu.soups, false, out);
  const bool uniform_is_there = groups == 1 || (menu.soups - 1) % static_cast<int64_t>(groups) == 0;
  if (menu.soups > 0 && !uniform_is_there) {  // a baseline that every menu of soups has
    const auto share = 1 / static_cast<double>(groups);
    out.push_back({.name = "soup-uniform",
                   .kind = MenuCandidate::Kind::kSoup,
                   .weights = std::vector<double>(groups, share)});
  }
  add_grid(study, menu.mixtures, true, out);
  return out;
}

Json candidate_json(const MenuCandidate& candidate, const Divergence& divergence) {
  Json out = {{"name", candidate.name}};
  switch (candidate.kind) {
    case MenuCandidate::Kind::kInitial:
      out["kind"] = "initial";
      break;
    case MenuCandidate::Kind::kSoup:
      out["kind"] = "soup";
      out["weights"] = candidate.weights;
      break;
    case MenuCandidate::Kind::kMixture:
      out["kind"] = "mixture";
      out["weights"] = candidate.weights;
      out["divergence"] = divergence_json(divergence);
      out["divergence"]["lambda"] = 1.0;  // of no effect on a mixture; one lambda, one bank
      break;
    case MenuCandidate::Kind::kAdapter:
      out["kind"] = "adapter";
      out["index"] = candidate.adapter;
      break;
  }
  return out;
}

}  // namespace candor
