#include <cmath>
#include <optional>

#include "lm/trainable_reward.h"
#include "worker/reward_models.h"

namespace candor {

namespace {

// What a whole reward model says of a reply: sigmoid of its number, or the number.
class CheckpointReward final : public RewardModel {
 public:
  CheckpointReward(DecoderReward model, double sign, bool raw)
      : model_(std::move(model)), sign_(sign), raw_(raw) {}

  [[nodiscard]] bool needs_prompt() const override {
    return model_.layout() == RewardLayout::kPromptCompletion;
  }

  [[nodiscard]] Result<std::vector<double>> score(std::span<const RewardRequest> requests,
                                                  const ProgressSink& progress) const override {
    CANDOR_TRY(std::vector<double> scores, model_.score(requests, progress));
    for (double& score : scores) {
      score *= sign_;
      if (!raw_) score = 1 / (1 + std::exp(-score));
    }
    return scores;
  }

 private:
  DecoderReward model_;
  double sign_;
  bool raw_;
};

}  // namespace

LoadedReward load_checkpoint_reward(JsonReader& spec, const RewardPaths& paths, int threads) {
  static const std::vector<std::string> kScales = {"probability", "logit"};
  (void)spec.text("model_digest");
  const bool adapted = spec.has("adapter_digest");
  if (adapted) (void)spec.text("adapter_digest");
  const double sign = spec.boolean_or("positive_is_good", true) ? 1 : -1;
  const bool raw = spec.choice_or("scale", "probability", kScales) == "logit";
  CANDOR_RETURN_IF_ERROR(spec.status());
  CANDOR_TRY(std::filesystem::path folder, paths("model"));
  std::optional<std::filesystem::path> base;
  if (adapted) {
    base = folder;
    CANDOR_TRY(folder, paths("adapter"));
  }
  CANDOR_TRY(DecoderReward model, DecoderReward::load(folder, base, threads));
  return {std::make_shared<const CheckpointReward>(std::move(model), sign, raw)};
}

}  // namespace candor
