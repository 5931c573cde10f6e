#pragma once

#include <optional>
#include <vector>

#include "base/json.h"
#include "core/noise.h"
#include "core/sampling_plan.h"

namespace candor {

// noise/1 of a game, of a table with half-widths, and the sampling plan in either.
[[nodiscard]] Json noise_json(const NoiseOptions& options, const NoiseStudy& study);
[[nodiscard]] Json table_noise_json(const std::vector<TableNoiseGroup>& groups);
[[nodiscard]] Json plan_json(const PlanRequest& request, const SamplingPlan& plan);

}  // namespace candor
