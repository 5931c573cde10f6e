#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/progress.h"
#include "base/result.h"
#include "formats/chat_template.h"
#include "lm/reward_features.h"
#include "lm/trainable_decoder.h"

namespace candor {

// A reward model under LibTorch's autograd: a text's tokens in, one number out. What trains one
// (reward_tuning.h) and what asks one need no more.
class TrainableReward {
 public:
  virtual ~TrainableReward() = default;

  // The leaves of training, in a fixed order, the head last.
  [[nodiscard]] virtual std::vector<NamedTensor> parameters() const = 0;
  // [S] f32, with gradient: of every sequence its reward (a logit: of pairs the margin, of labelled
  // texts the probability's).
  // REQUIRES: sequences of this model's tokens, none longer than max_tokens().
  [[nodiscard]] virtual at::Tensor rewards(const PackedSequences& sequences,
                                           const ForwardOptions& options) const = 0;
  // The text as tokens, of any length. What a text spells of special tokens stays text, so a reply
  // cannot steer its own reward. Errors: not UTF-8.
  [[nodiscard]] virtual Result<std::vector<int32_t>> encode(const PromptedText& text) const = 0;
  [[nodiscard]] virtual int64_t max_tokens() const = 0;
  [[nodiscard]] virtual RewardLayout layout() const = 0;
  // How it was loaded and what it reads: its part of a checkpoint's identity.
  [[nodiscard]] virtual Json settings() const = 0;
  [[nodiscard]] virtual int threads() const = 0;

  // Rewards without gradient, in the order of the texts.
  // Errors: encode's, and a text longer than max_tokens(), naming which.
  Result<std::vector<double>> score(std::span<const PromptedText> texts,
                                    const ProgressSink& progress = {}) const;
};

// What a decoder reads of a text, kept in reward.json ("reward-model/1") beside the weights. A
// folder without that file reads prompt and reply, under the chat template where there is one.
struct RewardReading {
  // kCompletion: the reply alone. kPromptCompletion: prompt and reply.
  RewardLayout layout = RewardLayout::kPromptCompletion;
  // Turns of user and assistant; else the texts one after the other and the end token, as TRL.
  bool chat_template = false;
  // The head stands on the last token that is not this one (transformers' rule); nothing: the last.
  std::optional<int32_t> pad_token_id;

  [[nodiscard]] Json json() const;
};

// A Llama-family decoder with one number on the last token's hidden state (Ouyang et al. 2022):
// transformers' LlamaForSequenceClassification with one label, as TRL's RewardTrainer trains it.
class DecoderReward final : public TrainableReward {
 public:
  // A language model with a new head, normal with transformers' initializer_range of 0.02, keyed by
  // the seed. pad_token_id is config.json's, else the end token (TRL's rule).
  // Errors: as TrainableDecoder::load; a tokenizer without an end token.
  static Result<DecoderReward> start(const std::filesystem::path& model,
                                     const TrainableOptions& options, RewardLayout layout);

  // One that was trained: a folder of a LlamaForSequenceClassification with one label, or a PEFT
  // adapter of one (SEQ_CLS, merged) over the language model `base`; without it over the one that
  // the adapter names. Nothing is trained on it: weights have no use for a gradient.
  // Errors: more than one label, a base that is missing, a reward.json that is not one.
  static Result<DecoderReward> load(const std::filesystem::path& folder,
                                    const std::optional<std::filesystem::path>& base, int threads);

  [[nodiscard]] std::vector<NamedTensor> parameters() const override;
  [[nodiscard]] at::Tensor rewards(const PackedSequences& sequences,
                                   const ForwardOptions& options) const override;
  [[nodiscard]] Result<std::vector<int32_t>> encode(const PromptedText& text) const override;
  [[nodiscard]] int64_t max_tokens() const override { return decoder_.config().context_length; }
  [[nodiscard]] RewardLayout layout() const override { return reading_.layout; }
  [[nodiscard]] Json settings() const override;
  [[nodiscard]] int threads() const override { return decoder_.options().threads; }
  [[nodiscard]] const RewardReading& reading() const { return reading_; }

  // Into `folder`, which exists: a LlamaForSequenceClassification (f32), or with LoRA a PEFT
  // adapter, and reward.json. The adapter names its base as the user did, or else by its path.
  Status write(const std::filesystem::path& folder, const std::string& base_model = {}) const;

 private:
  DecoderReward(TrainableDecoder decoder, at::Tensor score)
      : decoder_(std::move(decoder)), score_(std::move(score)) {}
  Status read_chat_template();
  Status read_reading(const std::filesystem::path& folder);
  [[nodiscard]] Result<std::vector<int32_t>> encode_plain(const PromptedText& text) const;
  [[nodiscard]] Result<std::vector<int32_t>> encode_chat(const PromptedText& text) const;

  TrainableDecoder decoder_;
  at::Tensor score_;  // [1, D]
  RewardReading reading_;
  std::optional<ChatTemplate> chat_;
};

}  // namespace candor
