#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "base/result.h"
#include "formats/lora_adapter.h"
#include "lm/language_model.h"
#include "lm/model_file.h"

namespace candor {

// A weight's values by its Hugging Face name, in the rotate-half order. Called once per weight.
using WeightSource = std::function<Result<std::vector<float>>(const std::string& name,
                                                              const std::vector<int64_t>& shape)>;

// A model as a Hugging Face folder that transformers loads: config.json, model.safetensors (f32 or
// bf16), generation_config.json, tokenizer files and chat template (those of a folder unchanged,
// those of a GGUF file written anew). `folder` exists.
// Errors: of `weights`; kInvalidArgument: a GGUF tokenizer that tokenizer.json cannot say (named);
// kResource.
Status write_model_folder(const ModelFile& file, const WeightSource& weights, Dtype dtype,
                          const std::filesystem::path& folder);

// The same as a LlamaForSequenceClassification with one label: the reward of a text is `weight`
// times the hidden state of its last token that is not `pad_token_id`.
// REQUIRES: a file opened with ModelHead::kScore, a weight per width.
struct ScoreHead {
  std::vector<float> weight;  // [width]
  int32_t pad_token_id = 0;
};
Status write_classifier_folder(const ModelFile& file, const WeightSource& weights,
                               const ScoreHead& score, const std::filesystem::path& folder);

// The file's weights with `adapter` (rank 0: none) added in f32. Both outlive the source.
// Errors: check_adapter's, once per weight.
[[nodiscard]] WeightSource merged_weights(const ModelFile& file, const LoraAdapter& adapter);

}  // namespace candor
