#pragma once

#include <filesystem>
#include <string>

#include "base/json.h"
#include "base/result.h"
#include "lm/sft.h"

namespace candor {

// The settings of a stage's spec ("settings", and "lora" where there is one), read strictly.
// Errors: kInvalidArgument, with the JSON path.
Result<SftSettings> read_sft_settings(JsonReader settings);
Result<LoraSettings> read_lora_settings(JsonReader lora);

// What training made: `folder`/adapter (PEFT) for LoRA, else `folder`/model (Hugging Face); with
// kMerged always the model, LoRA's factors added to its weights. The new folder appears by one
// rename.
enum class TrainedForm { kAsTrained, kMerged };
struct TrainedFiles {
  Dtype dtype = Dtype::kF32;  // of model/
  TrainedForm form = TrainedForm::kAsTrained;
  // What adapter_config.json names as its base: the model as the user named it, as PEFT does. Empty
  // in a stage, whose artifact depends on no path.
  std::string base_model = {};
};
Status write_trained(const TrainableDecoder& model, const TrainedFiles& files,
                     const std::filesystem::path& folder);

}  // namespace candor
