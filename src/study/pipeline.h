#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/result.h"
#include "study/bank_game.h"
#include "study/machine.h"
#include "study/reward_stages.h"
#include "study/run_stages.h"
#include "study/store.h"
#include "study/study.h"

namespace candor {

// The stages of a study at the sampled level (DESIGN 6):
//   reward models -> bank, reference bank -> scores of each group on both -> game.
struct Pipeline {
  // Sources found and hashed; nothing computed yet. Errors: a missing source, an empty prompt file,
  // prompts that are no prompts.
  static Result<Pipeline> plan(const Study& study, const Machine& machine);

  Study study;
  Machine machine;
  std::vector<Json> prompts;  // that price: the first of the file
  size_t prompts_in_file = 0;
  std::filesystem::path model_path, prompts_path;
  std::string model_digest, prompts_digest;
  std::vector<RewardFiles> groups;  // [n]

  // Keeps the first `count` prompts where there are more. REQUIRES: count >= 2.
  void limit_prompts(int64_t count);
  // Says so in the spec of a stage that samples; nothing where every prompt is used, since a spec
  // is an identity.
  void add_prompt_limit(Json& spec) const;

  [[nodiscard]] StageInput model_input() const { return {model_path, model_digest}; }
  [[nodiscard]] StageInput prompts_input() const { return {prompts_path, prompts_digest}; }
  // Every source with its digest, {NAME: {"source","digest"}}: what a run's folder is bound to.
  [[nodiscard]] Json sources() const;

  // What of the prompts makes prices less than they look, in sentences.
  [[nodiscard]] std::vector<std::string> warnings() const;

  [[nodiscard]] Stage bank_stage(bool reference) const;
  [[nodiscard]] Stage reward_stage(size_t group) const;  // REQUIRES: its reward is trained
  // A bank's artifact folder as a score stage takes it.
  [[nodiscard]] ScoredBank scored_bank(const std::filesystem::path& folder,
                                       const std::string& digest, const std::string& label) const;
  // Weights of the language model, from its file's own list of tensors.
  [[nodiscard]] Result<int64_t> model_parameters() const;
  // What is hashed before any report is read (DESIGN 6): seal/1.
  [[nodiscard]] Json seal(const std::string& bank_digest,
                          const std::string& reference_digest) const;
};

struct PipelineResult {
  BankGame bank_game;
  std::vector<Json> bank;                   // one record per reply
  std::vector<Json> bank_metrics;           // pricing bank, reference bank
  std::vector<Json> reward_metrics;         // [n], null where nothing was trained
  std::vector<std::vector<double>> scores;  // [n], raw, on the pricing bank
  Json seal;
  Json stages;                // as RunStages lists them
  std::string stages_digest;  // of those that are settled on
};

// What a model is asked, without what else a record holds: equal for equal prompts. REQUIRES: as
// check_prompts.
[[nodiscard]] std::string prompt_identity(const Json& prompt);

// Errors: no line at all; a line without "prompt" or "messages", with its place.
Status check_prompts(const std::vector<Json>& prompts, const std::filesystem::path& path);

// Runs what the store does not hold yet.
Result<PipelineResult> run_pipeline(const Pipeline& pipeline, const Store& store,
                                    const StageSink& sink);

}  // namespace candor
