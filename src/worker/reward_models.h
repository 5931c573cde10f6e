#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "worker/reward_function.h"

namespace candor {

// One kind of reward behind RewardFunction.
class RewardFunction::Model {
 public:
  virtual ~Model() = default;
  [[nodiscard]] virtual bool needs_prompt() const { return false; }
  [[nodiscard]] virtual Result<std::vector<double>> score(std::span<const RewardRequest> requests,
                                                          const ProgressSink& progress) const = 0;
};

using RewardModel = RewardFunction::Model;
using LoadedReward = Result<std::shared_ptr<const RewardModel>>;

// Each reads its keys out of `spec` (reward_function.h).
LoadedReward load_brevity_reward(JsonReader& spec);
LoadedReward load_lexicon_reward(JsonReader& spec, const RewardPaths& paths);
LoadedReward load_linear_ngrams_reward(JsonReader& spec, const RewardPaths& paths);
LoadedReward load_head_reward(JsonReader& spec, const RewardPaths& paths, int threads);
LoadedReward load_checkpoint_reward(JsonReader& spec, const RewardPaths& paths, int threads);
LoadedReward load_remote_reward(JsonReader& spec);

}  // namespace candor
