#pragma once

#include <string>
#include <vector>

#include "base/json.h"
#include "core/noise.h"
#include "core/sampling_plan.h"

namespace candor {

// noise/1 of a game, of a table with half-widths, and the sampling plan in either.
[[nodiscard]] Json noise_json(const NoiseOptions& options, const NoiseStudy& study);
[[nodiscard]] Json table_noise_json(const std::vector<TableNoiseGroup>& groups);
// `no_pilot`: why a game with prompts is no pilot; empty where it is one or there was no question.
[[nodiscard]] Json plan_json(const PlanRequest& request, const SamplingPlan& plan,
                             const std::string& no_pilot);
// The same for people, from plan_json.
[[nodiscard]] std::string plan_text(const Json& plan);

}  // namespace candor
