#include "lm/rlhf_rollout.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/check.h"
#include "base/rng.h"
#include "base/strings.h"

namespace candor {

namespace {

constexpr uint32_t kOrderStream = 0x726c6f72;   // "rlor"
constexpr uint32_t kStepStream = 0x726c7374;    // "rlst"
constexpr uint32_t kSampleStream = 0x726c7361;  // "rlsa"

// The prompts in the order of one epoch.
std::vector<size_t> order_of_epoch(size_t count, uint64_t seed, size_t epoch) {
  std::vector<std::pair<uint64_t, size_t>> keyed;
  keyed.reserve(count);
  for (size_t prompt = 0; prompt < count; ++prompt) {
    keyed.emplace_back(random_bits({.seed = seed,
                                    .stream = kOrderStream,
                                    .prompt = static_cast<uint32_t>(prompt),
                                    .sample = static_cast<uint32_t>(epoch)}),
                       prompt);
  }
  std::ranges::sort(keyed);
  std::vector<size_t> order;
  order.reserve(count);
  for (const auto& [key, prompt] : keyed) order.push_back(prompt);
  return order;
}

Result<std::vector<double>> scores_of(const RlhfReward& reward,
                                      std::span<const RlhfRewardRequest> requests) {
  CANDOR_TRY(std::vector<double> scores, reward.score(requests));
  if (scores.size() != requests.size()) {
    return Error{ErrorCode::kInternal, str_cat("reward ", quote(reward.name), ": ", scores.size(),
                                               " scores for ", requests.size(), " replies")};
  }
  for (const double score : scores) {
    if (!std::isfinite(score)) {
      return invalid_argument(str_cat("reward ", quote(reward.name), ": returned ", score,
                                      "; expected a finite number for every reply"));
    }
  }
  return scores;
}

}  // namespace

Result<Scores> score_replies(std::span<const RlhfReward> rewards,
                             std::span<const RlhfRewardRequest> requests) {
  Scores out;
  out.totals.assign(requests.size(), 0);
  double weights = 0;
  for (const RlhfReward& reward : rewards) weights += reward.weight;
  for (const RlhfReward& reward : rewards) {
    CANDOR_TRY(const std::vector<double> scores, scores_of(reward, requests));
    RewardMeans means{.name = reward.name};
    const auto count = static_cast<double>(std::max<size_t>(scores.size(), 1));
    for (size_t i = 0; i < scores.size(); ++i) {
      const double value = normalised_reward(scores[i], reward.low, reward.high);
      out.totals[i] += reward.weight / weights * value;
      means.mean += value / count;
      means.clipped_share += scores[i] < reward.low || scores[i] > reward.high ? 1 / count : 0;
    }
    out.per_reward.push_back(std::move(means));
  }
  return out;
}

Status check_rewards(std::span<const RlhfReward> rewards) {
  if (rewards.empty()) return invalid_argument("rewards: there is none; expected one or more");
  double weights = 0;
  for (const RlhfReward& reward : rewards) {
    if (!std::isfinite(reward.weight)) {
      return invalid_argument(str_cat("reward ", quote(reward.name), ": weight: found ",
                                      reward.weight, "; expected a finite number"));
    }
    if (!(std::isfinite(reward.low) && std::isfinite(reward.high) && reward.low < reward.high)) {
      return invalid_argument(str_cat("reward ", quote(reward.name), ": low and high: found ",
                                      reward.low, " and ", reward.high,
                                      "; expected finite numbers with low < high"));
    }
    weights += reward.weight;
  }
  if (weights > 0) return {};
  return invalid_argument(
      str_cat("rewards: the weights sum to ", weights,
              "; expected a sum above 0, without which the initial model is the optimum"));
}

std::vector<size_t> prompts_of_step(size_t prompt_count, int64_t per_step, int64_t step,
                                    uint64_t seed) {
  CANDOR_CHECK(prompt_count > 0 && per_step > 0 && step >= 0);
  std::vector<size_t> out;
  std::vector<size_t> order;
  size_t epoch_of_order = SIZE_MAX;
  const size_t begin = static_cast<size_t>(step) * static_cast<size_t>(per_step);
  for (size_t place = begin; place < begin + static_cast<size_t>(per_step); ++place) {
    const size_t epoch = place / prompt_count;
    if (epoch != epoch_of_order) order = order_of_epoch(prompt_count, seed, epoch);
    epoch_of_order = epoch;
    out.push_back(order[place % prompt_count]);
  }
  return out;
}

Result<std::vector<RlhfReply>> sample_replies(const LanguageModel& sampler,
                                              std::span<const RlhfPrompt> prompts,
                                              const RlhfSettings& settings, const RolloutKey& key) {
  const std::vector<size_t> chosen =
      prompts_of_step(prompts.size(), settings.prompts_per_step(), key.step, key.seed);
  std::vector<GenerateRequest> requests;
  for (size_t place = 0; place < chosen.size(); ++place) {
    for (int64_t generation = 0; generation < settings.num_generations; ++generation) {
      GenerateRequest request;
      request.prompt_ids = prompts[chosen[place]].token_ids;
      request.prompt_index = static_cast<uint32_t>(place);
      request.sample = static_cast<uint32_t>(generation);
      request.adapter_weights.assign(static_cast<size_t>(sampler.row_adapters().count), 1.0F);
      requests.push_back(std::move(request));
    }
  }
  GenerateOptions options;
  options.max_new_tokens = settings.max_new_tokens;
  options.temperature = settings.temperature;
  options.seed = random_bits(
      {.seed = key.seed, .stream = kStepStream, .prompt = static_cast<uint32_t>(key.step)});
  options.stream = kSampleStream;
  options.batch = std::min<int64_t>(static_cast<int64_t>(requests.size()), 64);
  CANDOR_TRY(const std::vector<Generation> generations, generate(sampler, requests, options));
  std::vector<RlhfReply> replies;
  for (size_t i = 0; i < generations.size(); ++i) {
    const Generation& generation = generations[i];
    RlhfReply reply;
    reply.prompt = chosen[requests[i].prompt_index];
    reply.token_ids = generation.token_ids;
    reply.sampler_logprobs.assign(generation.token_logprobs.begin(),
                                  generation.token_logprobs.end());
    reply.stopped = generation.finish_reason == FinishReason::kStop;
    CANDOR_TRY(reply.text, sampler.tokenizer().decode(reply.token_ids));
    replies.push_back(std::move(reply));
  }
  return replies;
}

}  // namespace candor
