#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"

namespace candor {

// The low-rank change of one linear weight [outputs, inputs]: scale x b a.
struct LoraFactors {
  int64_t inputs = 0;
  int64_t outputs = 0;
  std::vector<float> a;  // [rank, inputs]
  std::vector<float> b;  // [outputs, rank]
};

// A LoRA adapter (Hu et al. 2021) as a PEFT folder holds it: adapter_config.json and
// adapter_model.safetensors.
struct LoraAdapter {
  int64_t rank = 0;
  double scale = 1;        // alpha / rank, or alpha / sqrt(rank) where rank-stabilised
  std::string base_model;  // as the folder names it; may be empty
  double dropout = 0;      // of the training that made it; 0: none was used
  std::map<std::string, LoraFactors> modules;  // by the weight's name: "model.layers.0.mlp.up_proj"
};

// Errors   kInvalidArgument, naming file and key or tensor: not LoRA; a variant that changes the
//          computation or the base model (DoRA, biases, saved modules, per-module ranks or alphas,
//          fan-in/fan-out weights, PiSSA and its kin); a factor missing, misshapen, or not finite.
Result<LoraAdapter> load_lora_adapter(const std::filesystem::path& folder);

// The base model that the folder's adapter_config.json names; may be empty. Errors: that file's.
Result<std::string> adapter_base_model(const std::filesystem::path& folder);

// Writes both files into `folder`, which exists, with alpha = scale x rank. F32; `target_modules`
// are the last parts of the modules' names, `lora_dropout` is the training's.
Status write_lora_adapter(const LoraAdapter& adapter, const std::filesystem::path& folder);

// An adapter of a sequence classifier with one label (PEFT's task_type SEQ_CLS), as a reward model
// is one: the factors, and the classifier's own head, which is saved whole (modules_to_save).
struct ClassifierAdapter {
  LoraAdapter lora;
  std::vector<float> score;  // [width], "score.weight"
};
// Errors: as load_lora_adapter; kInvalidArgument: no score.weight [1, width], other saved modules.
Result<ClassifierAdapter> load_classifier_adapter(const std::filesystem::path& folder);
Status write_classifier_adapter(const ClassifierAdapter& adapter,
                                const std::filesystem::path& folder);

// A rewarded soup as one adapter: theta = theta_init + sum_i c_i (theta_i - theta_init), exactly
// (MATH 8). Ranks add up: the factors lie side by side. Averaging a and b would be another model.
struct WeightedAdapter {
  LoraAdapter adapter;
  double weight = 1;
};
// Errors: a weight that is not finite; two adapters that disagree about a weight's shape.
Result<LoraAdapter> soup_of(const std::vector<WeightedAdapter>& parts);

}  // namespace candor
