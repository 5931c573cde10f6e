#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "lm/generate.h"
#include "lm/rlhf_settings.h"

namespace candor {

struct RlhfPrompt {
  std::vector<int32_t> token_ids;  // one or more
  std::string text;                // what a reward reads as the prompt
};

// One sampled reply.
struct RlhfReply {
  size_t prompt = 0;               // index into the prompts
  std::vector<int32_t> token_ids;  // with the end token where it stopped
  std::vector<double> sampler_logprobs;
  std::string text;  // what a reward reads as the completion
  bool stopped = false;
};

// Rewards of some replies, in their order.
struct RlhfRewardRequest {
  const RlhfPrompt* prompt = nullptr;
  const RlhfReply* reply = nullptr;
};
using RlhfRewardCallback =
    std::function<Result<std::vector<double>>(std::span<const RlhfRewardRequest>)>;

// One reward and its place in the objective: (score - low) / (high - low) clipped to [0, 1], and
// its group's weight.
struct RlhfReward {
  std::string name;
  double weight = 1;
  double low = 0;
  double high = 1;
  RlhfRewardCallback score;
};

// What several rewards say about replies. With weights w_i the score is sum_i w_i rm_i / sum_i w_i:
// with kl_coefficient = L / sum_i w_i its maximum is SW-Max of these groups (MORLHF). A weight of
// 0 leaves the group out and still measures its reward.
struct RewardMeans {
  std::string name;
  double mean = 0;           // normalised and clipped
  double clipped_share = 0;  // replies whose score lay outside [low, high]
};
struct Scores {
  std::vector<double> totals;           // [E], in [0, 1]
  std::vector<RewardMeans> per_reward;  // in the order of the rewards
};
// Errors: the callback's; a number of scores that is not the number of replies; a score that is not
// finite, naming the reward.
Result<Scores> score_replies(std::span<const RlhfReward> rewards,
                             std::span<const RlhfRewardRequest> requests);

// Errors: kInvalidArgument: no reward, a weight or a bound that does not fit, no weight above 0.
Status check_rewards(std::span<const RlhfReward> rewards);

// Which prompt stands in which place of which step: all of them in an order of their own in every
// epoch, keyed by (seed, epoch), so step s can be had without the steps before it.
[[nodiscard]] std::vector<size_t> prompts_of_step(size_t prompt_count, int64_t per_step,
                                                  int64_t step, uint64_t seed);

struct RolloutKey {
  uint64_t seed = 1;
  int64_t step = 0;
};
// num_generations replies to each of the step's prompts, side by side, by the model with all its
// row adapters at weight 1. The draw of a token depends
// on (seed, step, place in the step, generation, position) alone.
Result<std::vector<RlhfReply>> sample_replies(const LanguageModel& sampler,
                                              std::span<const RlhfPrompt> prompts,
                                              const RlhfSettings& settings, const RolloutKey& key);

}  // namespace candor
