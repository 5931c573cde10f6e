#include "study/noise_files.h"

#include <algorithm>

#include "base/strings.h"

namespace candor {

namespace {

Json mean_json(const Mean& mean) { return {{"mean", mean.value}, {"half_width", mean.half_width}}; }

std::string counted(const Json& count, const char* one, const char* more) {
  return str_cat(count.dump(), " ", count == 1 ? one : more);
}

// "1908 prompts x 1 reply"
std::string size_text(const Json& size) {
  return str_cat(counted(size["prompts"], "prompt", "prompts"), " x ",
                 counted(size["replies"], "reply", "replies"));
}

std::string variances_text(const Json& between, const Json& within) {
  std::string out;
  if (between.is_number()) out = format_short(between) + " between prompts";
  if (within.is_number()) {
    out += str_cat(out.empty() ? "" : " and ", format_short(within), " within");
  }
  return out;
}

Json optional_json(const std::optional<double>& value) {
  return value.has_value() ? Json(*value) : Json();
}

// What the promise needs beside prompts drawn independently and rewards in [0, 1].
std::string condition_of(const PlanRequest& request, const SamplingPlan& plan) {
  if (plan.basis == PlanBasis::kAssumed) {
    return str_cat("the variance is at most ",
                   variances_text(optional_json(request.between), optional_json(request.within)));
  }
  if (plan.basis == PlanBasis::kPilot && request.candidates > request.pilot->candidates) {
    return "no candidate's rewards vary more than the pilot's, which are the initial model's";
  }
  return "";
}

std::string basis_note(const PlanRequest& request, const SamplingPlan& plan,
                       const std::string& no_pilot) {
  std::string hoeffding = "whatever the variances are (Hoeffding)";
  const bool assumed = request.between.has_value() || request.within.has_value();
  if (plan.basis == PlanBasis::kAssumed) {
    return str_cat("without that assumption: ", plan.prompts_hoeffding, " prompts (Hoeffding)");
  }
  if (plan.basis == PlanBasis::kPilot) {
    return str_cat(
        "by a pilot of ", request.pilot->prompts,
        " prompts, which bounds the variance of a prompt's mean by ", format_short(plan.variance),
        "; whatever the variances are: ", plan.prompts_hoeffding, " prompts (Hoeffding)");
  }
  if (assumed) return hoeffding + ": the assumed variances promise no fewer prompts";
  if (!no_pilot.empty()) return str_cat(hoeffding, ": the game is no pilot, ", no_pilot);
  if (!request.pilot.has_value()) return hoeffding;
  if (plan.pilot_used) return hoeffding + ": the pilot's variances promise no fewer prompts";
  return str_cat(hoeffding, ": a pilot of ", request.pilot->prompts,
                 " prompts is too small to promise more, ", plan.least_pilot, " are the fewest");
}

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

Json plan_json(const PlanRequest& request, const SamplingPlan& plan, const std::string& no_pilot) {
  Json between = optional_json(request.between);
  Json within = optional_json(request.within);
  Json pilot;
  if (request.pilot.has_value()) {
    pilot = {{"prompts", request.pilot->prompts},
             {"replies", request.pilot->replies},
             {"least_prompts", plan.least_pilot},
             {"used", plan.pilot_used},
             {"between_variance", request.pilot->between()},
             {"within_variance", request.pilot->within()}};
    if (plan.pilot_used) {
      between = pilot["between_variance"];
      within = pilot["within_variance"];
    }
  }
  return {{"target_epsilon", request.epsilon},
          {"confidence", request.confidence},
          {"groups", request.groups},
          {"candidates", request.candidates},
          {"between_variance", std::move(between)},
          {"within_variance", std::move(within)},
          {"prompt_cost", request.prompt_cost},
          {"basis", plan_basis_name(plan.basis)},
          {"condition", condition_of(request, plan)},
          {"note", basis_note(request, plan, no_pilot)},
          {"replies", plan.size.replies},
          {"prompts", plan.size.prompts},
          {"samples", plan.size.samples},
          {"cost", plan.size.cost},
          {"epsilon", plan.epsilon},
          {"variance_bound", plan.variance},
          {"prompts_hoeffding", plan.prompts_hoeffding},
          {"pilot", std::move(pilot)},
          {"forecast",
           {{"prompts", plan.forecast.prompts},
            {"replies", plan.forecast.replies},
            {"samples", plan.forecast.samples}}}};
}

std::string plan_text(const Json& plan) {
  const std::string condition = plan["condition"];
  const std::string target = format_short(plan["target_epsilon"].get<double>(), 4);
  return str_cat(
      "plan: every valuation within ", target, " with confidence ",
      format_short(plan["confidence"].get<double>(), 4), " takes ", size_text(plan), " for ",
      plan["candidates"] == 1 ? "the one candidate"
                              : str_cat("each of ", plan["candidates"].dump(), " candidates"),
      " (", counted(plan["samples"], "sample", "samples"), ")",
      condition.empty() ? "" : ", if " + condition, "\n", plan["note"].get<std::string>(),
      "\nforecast: ",
      plan["between_variance"].is_null()
          ? "whatever variances a run measures, it"
          : str_cat("a run that measures a variance of ",
                    variances_text(plan["between_variance"], plan["within_variance"])),
      " bounds its errors by ", target, " from its own rewards at ", size_text(plan["forecast"]),
      "\n");
}

}  // namespace candor
