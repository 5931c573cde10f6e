#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "lm/rlhf.h"
#include "lm/trainable_decoder.h"
#include "worker/reward_function.h"

namespace candor {

// What the rlhf stage and `candor lm rlhf` share: inputs in, files out.

// The prompts of a JSONL file ({"prompt"} or {"messages"}), as tokens for the model and as text for
// the rewards. Errors: file and line of a record that does not fit, an empty file.
Result<std::vector<RlhfPrompt>> read_rlhf_prompts(const LanguageModel& model,
                                                  const std::filesystem::path& file);

// A reward of RLHF from its JSON: the keys of its kind (reward_function.h) and
//   name? (reward_0, reward_1, ...), weight, low, high.
// Errors: the reader's and RewardFunction's; the caller finishes the reader.
Result<RlhfReward> read_rlhf_reward(JsonReader& in, const std::string& default_name,
                                    const RewardPaths& paths, int threads);

// How the settings want the model loaded.
[[nodiscard]] TrainableOptions trainable_options(const RlhfSettings& settings, int threads,
                                                 uint64_t seed);

// summary.json of a finished run.
struct RlhfSummary {
  const RlhfJob* job = nullptr;
  const RlhfResult* result = nullptr;
  std::string base_model = {};  // of adapter/ (TrainedFiles)
};
[[nodiscard]] Json rlhf_summary_json(const RlhfSummary& summary);

// The scalars of metrics.jsonl as a TensorBoard event file; step s at `start_s` + s seconds unless
// `wall_times_s` says when.
[[nodiscard]] std::string rlhf_tensorboard(const std::vector<Json>& metrics, double start_s,
                                           const std::vector<double>& wall_times_s = {});

// Every file of a result, into a folder that exists: adapter/ (PEFT) or model/ (Hugging Face, full
// fine-tuning), metrics.jsonl, warnings.json, summary.json, events.out.tfevents.candor.
Status write_rlhf_result(const TrainableDecoder& policy, const RlhfSummary& summary,
                         const std::filesystem::path& folder);

}  // namespace candor
