#include "study/noise_files.h"

#include <algorithm>

namespace candor {

namespace {

Json mean_json(const Mean& mean) { return {{"mean", mean.value}, {"half_width", mean.half_width}}; }

}  // namespace

Json noise_json(const NoiseOptions& options, const NoiseStudy& study) {
  Json groups = Json::array();
  for (const NoiseGroup& group : study.groups) {
    groups.push_back({{"name", group.name},
                      {"gain_bound", group.gain_bound},
                      {"best_lie", group.best_lie},
                      {"expected_gain", mean_json(group.expected_gain)},
                      {"worst_gain_found", group.worst_gain},
                      {"truthful_utility", mean_json(group.truthful_utility)},
                      {"least_utility", group.least_utility}});
  }
  return {{"candor", "noise/1"},
          {"noise", noise_model_names()[static_cast<size_t>(options.model)]},
          {"epsilon", study.epsilon},
          {"epsilon_dsic", study.epsilon_dsic},
          {"epsilon_ir", study.epsilon_ir},
          {"draws", options.draws},
          {"beyond_epsilon", study.beyond_epsilon},
          {"loss_bound", study.loss_bound},
          {"expected_loss", mean_json(study.expected_loss)},
          {"largest_loss", study.largest_loss},
          {"worst_loss_found", study.worst_loss},
          {"closest_to_bound", study.closest_to_bound},
          {"closest_to_lemma_f_1", study.closest_to_lemma_f_1},
          {"groups", std::move(groups)}};
}

Json table_noise_json(const std::vector<TableNoiseGroup>& groups) {
  Json out = Json::array();
  double dsic = 0;
  double ir = 0;
  for (const TableNoiseGroup& group : groups) {
    dsic = std::max(dsic, group.gain_bound);
    ir = std::max(ir, -group.utility_floor);
    out.push_back({{"name", group.name},
                   {"half_width", group.half_width},
                   {"gain_bound", group.gain_bound},
                   {"utility_floor", group.utility_floor},
                   {"gain", mean_json(group.gain)},
                   {"largest_gain", group.largest_gain},
                   {"least_utility", group.least_utility}});
  }
  return {{"candor", "noise/1"},
          {"noise", "half_widths"},
          {"epsilon_dsic", dsic},
          {"epsilon_ir", ir},
          {"groups", std::move(out)}};
}

Json plan_json(const PlanRequest& request, const SamplingPlan& plan) {
  return {{"target_epsilon", request.epsilon},
          {"confidence", request.confidence},
          {"groups", request.groups},
          {"candidates", request.candidates},
          {"between_variance", request.between},
          {"within_variance", request.within},
          {"prompt_cost", request.prompt_cost},
          {"replies", plan.replies},
          {"prompts", plan.prompts},
          {"prompts_hoeffding", plan.prompts_hoeffding},
          {"samples", plan.samples},
          {"epsilon", plan.epsilon}};
}

}  // namespace candor
