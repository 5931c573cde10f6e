#include "apps/plan_command.h"

#include <algorithm>
#include <cstdio>

#include "apps/commands.h"
#include "base/strings.h"
#include "core/sampling_plan.h"
#include "study/cost_model.h"
#include "study/menu_pipeline.h"

namespace candor {

namespace {

// Prompts for the target before any reward is known: from so many on, the bound that a run computes
// of its own rewards is at most the target whatever they are. Null where there is no target.
Result<Json> sampling_json(const MenuPipeline& pipeline) {
  const Study& study = pipeline.study();
  if (study.target_epsilon <= 0) return Json();
  const PlanRequest request = target_request(study);
  CANDOR_TRY(const SampleSize needed, forecast_own_bound(request));
  const auto prompts = static_cast<int64_t>(pipeline.base.prompts.size());
  const double delta =
      (1 - request.confidence) / static_cast<double>(request.groups * request.candidates);
  static constexpr double kAnyVariance = 0.25;
  return Json{{"target_epsilon", study.target_epsilon},
              {"confidence", request.confidence},
              {"prompts", needed.prompts},
              {"prompts_in_file", pipeline.base.prompts_in_file},
              {"prompts_used", pipeline.base.prompts.size()},
              {"replies", study.bank.samples},
              {"samples", needed.samples * study.bank.samples},
              {"epsilon", empirical_half_width(prompts, kAnyVariance, delta)}};
}

void print_sampling(const Json& sampling) {
  if (sampling.is_null()) return;
  std::printf(
      "\nA run of %s prompts bounds the error of every valuation by %s with %s %% confidence, "
      "whatever the rewards are.\nOf the file's %s a run uses %s, which bound it by %s; %s\n",
      sampling["prompts"].dump().c_str(), sampling["target_epsilon"].dump().c_str(),
      format_short(100 * sampling["confidence"].get<double>(), 4).c_str(),
      sampling["prompts_in_file"].dump().c_str(), sampling["prompts_used"].dump().c_str(),
      format_short(sampling["epsilon"].get<double>(), 3).c_str(),
      sampling["prompts_used"] < sampling["prompts"]
          ? "it measures the variances and forecasts what they ask for."
          : "the same as max_prompts.");
}

}  // namespace

Result<Machine> machine_for(const Study& study, const CommonOptions& options) {
  return this_machine(options.threads, study.instruction_set, worker_program());
}

CommandResult run_plan(const std::string& path, const StudyOptions& choice,
                       const CommonOptions& options) {
  CANDOR_TRY(const Study study, load_study(path, choice));
  PlanSizes sizes;
  Json sampling;
  std::vector<std::string> warnings;
  CANDOR_TRY(const Machine machine, machine_for(study, options));
  if (study.menu.has_value()) {
    CANDOR_TRY(const MenuPipeline pipeline, MenuPipeline::plan(study, machine));
    CANDOR_TRY(sizes, plan_sizes(pipeline));
    CANDOR_TRY(sampling, sampling_json(pipeline));
    warnings = pipeline.warnings();
  } else {
    CANDOR_TRY(const Pipeline pipeline, Pipeline::plan(study, machine));
    CANDOR_TRY(sizes, plan_sizes(pipeline));
    warnings = pipeline.warnings();
  }
  const std::vector<StageCost> costs = plan_costs(study, sizes);
  Json stages = Json::array();
  double seconds = 0;
  double memory = 0;
  double disk = 0;
  std::vector<std::vector<std::string>> rows = {{"stage", "about", "memory", "disk"}};
  for (const StageCost& cost : costs) {
    stages.push_back({{"stage", cost.stage},
                      {"seconds", cost.seconds},
                      {"memory_bytes", cost.memory_bytes},
                      {"disk_bytes", cost.disk_bytes}});
    rows.push_back({cost.stage, format_duration(cost.seconds), format_bytes(cost.memory_bytes),
                    format_bytes(cost.disk_bytes)});
    seconds += cost.seconds;
    memory = std::max(memory, cost.memory_bytes);
    disk += cost.disk_bytes;
  }
  if (options.json()) {
    const Json plan = {
        {"candor", "plan/1"}, {"study", study.resolved}, {"sizes", plan_sizes_json(sizes)},
        {"stages", stages},   {"seconds", seconds},      {"memory_bytes", memory},
        {"disk_bytes", disk}, {"sampling", sampling},    {"warnings", warnings}};
    std::printf("%s", to_text(plan).c_str());
    return 0;
  }
  print_table(rows);
  std::printf(
      "\nat most about %s with %d thread%s, when every reply runs to its limit; %s of memory, "
      "%s of disk.\nEverything named in %s was found; nothing was trained.\n",
      format_duration(seconds).c_str(), machine.threads, machine.threads == 1 ? "" : "s",
      format_bytes(memory).c_str(), format_bytes(disk).c_str(), path.c_str());
  print_sampling(sampling);
  for (const std::string& warning : warnings) std::printf("warning: %s\n", warning.c_str());
  return 0;
}

}  // namespace candor
