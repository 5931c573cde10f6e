// train_rlhf as a whole, on the tiny Llama.
#include "lm/rlhf.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "lm/trainable_decoder.h"

namespace candor {
namespace {

namespace fs = std::filesystem;

const fs::path kModel = fs::path(CANDOR_SOURCE_DIR) / "tests" / "golden" / "tiny_llama";

// The share of even tokens: a reward that quickly moves a policy.
Result<std::vector<double>> even_share(std::span<const RlhfRewardRequest> requests) {
  std::vector<double> out;
  for (const RlhfRewardRequest& request : requests) {
    double even = 0;
    for (const int32_t id : request.reply->token_ids) even += id % 2 == 0 ? 1 : 0;
    out.push_back(even / static_cast<double>(request.reply->token_ids.size()));
  }
  return out;
}

// Replies are drawn from the policy as it is at every step: what the sampler reports is what the
// training engine computes, also after the policy has left the initial model behind.
TEST(Rlhf, SamplesFromThePolicyAsItIs) {
  for (const bool lora : {true, false}) {
    TrainableOptions options = {.threads = 1};
    const TrainableDecoder reference = *TrainableDecoder::load(kModel, options);
    if (lora) options.lora = LoraSettings{.rank = 4, .lora_alpha = 16, .dropout = 0};
    TrainableDecoder policy = *TrainableDecoder::load(kModel, options);
    RlhfJob job;
    job.prompts = {{{1, 5, 9}, ""}, {{1, 7}, ""}};
    job.rewards.push_back({.name = "even", .score = even_share});
    job.settings.use_peft = lora;
    job.settings.bf16 = false;
    job.settings.sampler_bf16 = false;
    job.settings.total_steps = 6;
    job.settings.learning_rate = lora ? 3e-2 : 1e-2;
    job.settings.max_new_tokens = 8;
    job.settings.gradient_accumulation_steps = 1;
    if (!lora) job.reference = &reference;
    const auto result = train_rlhf(policy, job);
    ASSERT_TRUE(result.ok()) << result.error().message;
    for (const Json& line : result->metrics) {
      EXPECT_LT(line["sampler/logprob_max_abs"].get<double>(), 1e-3) << line;
    }
    EXPECT_GT(result->metrics.back()["objective/kl"].get<double>(), 0.05)
        << "the policy is still the initial model";
  }
}

}  // namespace
}  // namespace candor
