#pragma once

#include <string>
#include <vector>

#include "study/menu_pipeline.h"

namespace candor {

// The specs of the menu's stages (docs/formats.md, stage/2). `model` is the initial model, that of
// the study or of its sft stage.

[[nodiscard]] Stage sft_stage(const MenuPipeline& pipeline);
[[nodiscard]] Stage reference_bank_stage(const MenuPipeline& pipeline, const StageInput& model);
// A reward with the constants that bring it to [0, 1].
struct ScaledReward {
  RewardSpec reward;
  Normalizer normalizer;
};
// `rewards` [n]; `judge`, where not null, is watched and never trained for.
[[nodiscard]] Stage expert_stage(const MenuPipeline& pipeline, const StageInput& model,
                                 const ExpertRun& run, const std::vector<ScaledReward>& rewards,
                                 const ScaledReward* judge);
[[nodiscard]] Stage menu_bank_stage(const MenuPipeline& pipeline, const StageInput& model,
                                    const MenuBank& bank, const std::string& suffix);
// `bank_file` is the menu bank's bank.jsonl, whose digest is bank.digest.
[[nodiscard]] Stage divergence_stage(const MenuPipeline& pipeline, const StageInput& model,
                                     const MenuBank& bank, const std::filesystem::path& bank_file,
                                     const std::string& suffix);
// Next-token distributions of soups and mixtures against experts made another way.
[[nodiscard]] Stage menu_check_stage(const MenuPipeline& pipeline, const StageInput& model,
                                     const MenuBank& bank, const std::string& suffix);

}  // namespace candor
