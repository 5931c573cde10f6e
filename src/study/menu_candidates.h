#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/json.h"
#include "study/study.h"

namespace candor {

// One RLHF run of a menu study: maximise sum_j weights[j] rm_j - kl_coefficient KL.
struct ExpertRun {
  enum class Role { kExpert, kTrained, kLeaveOneOut, kCheckpoint, kEarlyStop };
  Role role = Role::kExpert;
  std::string name;             // "expert-harmless", "trained-3-7", "trained-3-7-without-humor"
  std::vector<double> weights;  // [n], sum 1; below 0 only under a misreported preference mix
  double kl_coefficient = 0;
  int64_t steps = 0;
  size_t group = 0;    // kExpert: whose; kLeaveOneOut, kEarlyStop: who is left out
  size_t trained = 0;  // the others: the row of menu.trained
  double share = 1;    // kCheckpoint, kEarlyStop: of the steps
};

// A lie of one group as the runs see it; neither field set is the truth.
struct TrainingReports {
  size_t group = 0;
  double size_inflation = 1;
  double preference_mix = 1;
};

// The runs of a study in order: experts that are not given, trained models, then what prices them
// (leave-one-out, checkpoints, early stops). REQUIRES: study.menu->experts where there are any.
[[nodiscard]] std::vector<ExpertRun> expert_runs(const Study& study,
                                                 const TrainingReports& reports = {});

// A model whose replies are sampled. Adapters are numbered: the experts [n], then what else was
// trained.
struct MenuCandidate {
  enum class Kind { kInitial, kSoup, kMixture, kAdapter };
  std::string name;
  Kind kind = Kind::kInitial;
  std::vector<double> weights;  // kSoup: c_i; kMixture: a_i (MATH 8)
  size_t adapter = 0;           // kAdapter
  bool on_menu = true;          // false: measured to price a shortcut, never chosen
};

// initial, the experts (soups of one), soups (the uniform one always), mixtures; the runner appends
// one per further adapter. Corners of the grids are the experts and appear once.
[[nodiscard]] std::vector<MenuCandidate> menu_candidates(const Study& study);

[[nodiscard]] Json candidate_json(const MenuCandidate& candidate, const Divergence& divergence);

// "3-7": how a vector of sizes or weights is written in names.
[[nodiscard]] std::string dashed(const std::vector<double>& values);
[[nodiscard]] std::string dashed(const std::vector<int64_t>& values);

}  // namespace candor
