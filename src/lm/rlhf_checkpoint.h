#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "lm/rlhf_step.h"
#include "lm/train_identity.h"

namespace candor {

// Where a run of RLHF stands after some steps, besides what the trainer holds (weights and both
// optimisers). Random numbers are keyed by the step, so there is no generator to save.
struct RlhfState {
  int64_t step = 0;  // steps done
  double kl_coefficient = 0;
  std::vector<Json> metrics;  // of every step so far
};

// Writes FOLDER/rlhf.safetensors (train_checkpoint.h), making the folder where it is missing:
// killed at any moment, this checkpoint is there whole or the one before it.
Status save_rlhf_checkpoint(const std::filesystem::path& folder, const TrainIdentity& run,
                            const RlhfState& state, PolicyTrainer& trainer);

// The checkpoint in `folder`, put into the trainer; nothing where there is none.
// Errors: kInvalidArgument: of another run (TrainIdentity::check), or files that do not fit the
// trainer.
Result<std::optional<RlhfState>> load_rlhf_checkpoint(const std::filesystem::path& folder,
                                                      const TrainIdentity& run,
                                                      PolicyTrainer& trainer);

}  // namespace candor
