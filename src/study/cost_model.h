#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "study/menu_pipeline.h"

namespace candor {

// What a study's stages take, before any runs. Time is work over speed: a token's forward pass is
// 2 operations a parameter, a training step's token 6 with all weights and 4 with a frozen base
// (its weight gradients are the adapters' alone). Speeds are those of two cores of a Zen 5 server
// with avx512_bf16; docs/results/studies.md sets a plan beside what its run took. Other machines
// differ.
struct StageCost {
  std::string stage;
  double seconds = 0;
  double memory_bytes = 0;  // peak of the stage's process
  double disk_bytes = 0;    // of its artifact
};

struct PlannedModel {
  double parameters = 0;
  double hidden = 576;  // width
  double layers = 30;
  double vocabulary = 49152;
};
// From the model's own list of tensors. Errors: a file that cannot be read.
Result<PlannedModel> planned_model(const Pipeline& pipeline);

// Every stage in the order of its run. Nothing is read but the headers of the sources.
Result<std::vector<StageCost>> plan_costs(const Pipeline& pipeline);
Result<std::vector<StageCost>> plan_costs(const MenuPipeline& pipeline);

}  // namespace candor
