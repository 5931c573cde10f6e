#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "lm/bert_encoder.h"
#include "lm/reward_head.h"
#include "lm/trainable_reward.h"

namespace candor {

struct EncoderRewardOptions {
  int threads = 0;
  // Absent: every weight is trained. target_modules: query, key, value, dense (the other three of a
  // layer), or all-linear.
  std::optional<LoraSettings> lora = {};
  uint64_t seed = 1;

  static constexpr auto fields() {
    using S = EncoderRewardOptions;
    return std::tuple(field(&S::threads, {.name = "threads", .of_run = true}),
                      field(&S::lora, {.name = "lora"}),
                      field(&S::seed, {.name = "seed", .of_run = true}));
  }
};
static_assert(lists_every_member<EncoderRewardOptions>());

// A sentence encoder (BERT, mean pooling, unit length) and a head on it, trained together. It
// starts from a head that was fitted on the frozen encoder (Kumar et al. 2022: fitted first, the
// features change less where they were right), and its reward is that head's logit of the reply's
// embedding. What it writes is again an encoder and a head: nothing else is needed to use it.
class EncoderReward final : public TrainableReward {
 public:
  // Errors: as TextEncoder::load; a head of another width or layout than kCompletion; LoRA settings
  // out of range or of unknown modules.
  static Result<EncoderReward> start(const std::filesystem::path& encoder, const RewardHead& head,
                                     const EncoderRewardOptions& options);

  [[nodiscard]] std::vector<NamedTensor> parameters() const override;
  [[nodiscard]] at::Tensor rewards(const PackedSequences& sequences,
                                   const ForwardOptions& options) const override;
  // Cut to max_tokens(), as the frozen encoder cuts.
  [[nodiscard]] Result<std::vector<int32_t>> encode(const PromptedText& text) const override;
  [[nodiscard]] int64_t max_tokens() const override { return encoder_.max_tokens; }
  [[nodiscard]] RewardLayout layout() const override { return RewardLayout::kCompletion; }
  [[nodiscard]] Json settings() const override { return fields_json(options_); }
  [[nodiscard]] int threads() const override { return options_.threads; }

  [[nodiscard]] RewardHead head() const;
  // The encoder's folder as it is now, factors merged, into `folder`, which exists: the files of
  // the source, tensors that were not trained unchanged. TextEncoder::load and transformers'
  // BertModel read it.
  Status write_encoder(const std::filesystem::path& folder) const;

 private:
  EncoderReward() = default;
  Status attach_factors(const LoraSettings& lora);

  std::filesystem::path source_;
  EncoderRewardOptions options_;
  BertEncoder encoder_;
  at::Tensor weight_;  // [1, D]
  at::Tensor bias_;    // [1]
};

}  // namespace candor
