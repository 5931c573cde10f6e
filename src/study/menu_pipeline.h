#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "core/sampling_plan.h"
#include "study/menu_candidates.h"
#include "study/pipeline.h"

namespace candor {

// A study at the menu level, its sources found and hashed; nothing computed yet (DESIGN 6):
//
//   [sft] -> reward models -> reference bank -> normalisers -> one RLHF run per expert
//   [-> trained and leave-one-out runs] -> menu bank -> scores -> divergences
//   [-> the same again under each misreport]
struct MenuPipeline {
  // With a target epsilon, only as many prompts as it takes.
  static Result<MenuPipeline> plan(const Study& study, const Machine& machine);

  Pipeline base;
  std::filesystem::path sft_path, train_prompts_path;
  std::string sft_digest, train_prompts_digest;
  size_t trained_on = 0;  // prompts that price and are among the training prompts
  std::vector<std::filesystem::path> given_adapters;  // [n], empty where the expert is trained here
  std::vector<std::string> given_digests;             // [n]
  std::vector<std::optional<RewardFiles>> judges;     // [n]
  std::vector<ExpertRun> runs;
  std::vector<MenuCandidate> candidates;  // without those of the runs that no grid holds

  // As Pipeline::warnings, and of prompts that are priced and trained on.
  [[nodiscard]] std::vector<std::string> warnings() const;
  // As Pipeline::sources.
  [[nodiscard]] Json sources() const;
  [[nodiscard]] const Study& study() const { return base.study; }
  // Groups whose reports went into an adapter of the menu's bank, in order: of an expert that is
  // trained here its group; of one that is given its maker, where that is a group; of a trained
  // model all whose rewards it was trained on.
  [[nodiscard]] std::vector<size_t> makers_of_adapter(size_t adapter) const;
  // And into a candidate: those of the adapters that it combines.
  [[nodiscard]] std::vector<size_t> makers_of(const MenuCandidate& candidate) const;
  // Whether any candidate was made from a report.
  [[nodiscard]] bool depends_on_reports() const;
};

// A misreport as training sees it, and what its stages' labels end in.
[[nodiscard]] TrainingReports reports_under(const Study& study, const MisreportChoice& lie);
[[nodiscard]] std::string misreport_suffix(const MisreportChoice& lie);

// What the study's target epsilon asks of a plan before any reward is known: no variance assumed,
// all groups and candidates together; forecast_own_bound of it says from how many prompts on a
// run's own bound is at most the target, whatever the rewards are.
// REQUIRES: study.target_epsilon > 0.
[[nodiscard]] PlanRequest target_request(const Study& study);

// One adapter of the menu's bank.
struct AdapterArtifact {
  std::string name;
  std::filesystem::path path;  // a PEFT folder
  std::string digest;
  std::filesystem::path artifact;  // of the run that made it; empty where it was given
};

// A bank of every candidate's replies to every prompt, scored. Replies are ordered by candidate,
// prompt, sample.
struct MenuBank {
  std::vector<AdapterArtifact> adapters;
  std::vector<MenuCandidate> candidates;  // K, those off the menu last
  std::vector<size_t> run_candidates;     // [runs], the candidate that is each run's model
  std::vector<Json> replies;              // K Q S
  Json metrics;
  std::string digest;
  std::vector<std::vector<double>> scores;        // [n], raw
  std::vector<std::vector<double>> judge_scores;  // [n], raw; empty where nobody judges
  std::vector<double> divergences;                // at unit strength
};

struct MenuRun {
  MenuBank bank;
  std::vector<MenuBank> misreports;                   // [study.menu->misreports]
  std::vector<Normalizer> normalizers;                // [n]
  std::vector<Json> reward_metrics;                   // [n], null where nothing was trained
  std::vector<Json> judge_metrics;                    // [n]
  std::vector<std::vector<double>> reference_scores;  // [n], raw
  std::vector<Json> run_metrics;  // [runs], {"steps": [...], "summary": .., "warnings": ..}
  std::vector<Json> self_tests;   // what menu_check stages found
  Json sft_metrics;               // null where there was none
  Json reference_metrics;
  std::string model_digest;   // of the initial model, after sft
  Json seal;                  // seal/1, before any reward was read
  Json menu_seal;             // menu-seal/1, before any reply of the menu was scored
  Json stages;                // as RunStages lists them
  std::string stages_digest;  // of those that are settled on
};

// Runs what the store does not hold yet. Errors: a stage's; a normaliser's, naming the group; a
// bank that is not what was asked for.
Result<MenuRun> run_menu_pipeline(const MenuPipeline& pipeline, const Store& store,
                                  const StageSink& sink);

}  // namespace candor
