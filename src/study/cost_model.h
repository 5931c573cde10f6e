#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "study/menu_pipeline.h"
#include "study/plan_sizes.h"

namespace candor {

// What a study's stages take, before any runs: work over speed. A token costs 2 operations for
// every weight it meets (the head's only where it is predicted), and attention with what it reads;
// a step of training costs that three times over a frozen base. Speeds and sizes of memory are
// constants at the head of cost_model.cc, fitted to two cores of a Zen 5 server with avx512_bf16;
// bf16 products follow this machine's measured rate. The test holds the plan against recorded runs.
struct StageCost {
  std::string stage;  // the stage's label in a run; one to each stage
  double seconds = 0;
  double memory_bytes = 0;  // peak of the stage's process, resident
  double disk_bytes = 0;    // of its artifact
};

// Every stage in the order of its run; replies count at their full length.
[[nodiscard]] std::vector<StageCost> plan_costs(const Study& study, const PlanSizes& sizes);

// The same of the inputs as they lie there. Errors: plan_sizes'.
Result<std::vector<StageCost>> plan_costs(const Pipeline& pipeline);
Result<std::vector<StageCost>> plan_costs(const MenuPipeline& pipeline);

}  // namespace candor
