#include "worker/reward_models.h"
#include "worker/reward_training.h"

namespace candor {

namespace {

// The probability that a head on a frozen encoder gives the reply, or its logit.
class HeadReward final : public RewardModel {
 public:
  HeadReward(TextEncoder encoder, RewardHead head, bool positive_is_good, bool raw)
      : encoder_(std::move(encoder)),
        head_(std::move(head)),
        positive_is_good_(positive_is_good),
        raw_(raw) {}

  [[nodiscard]] bool needs_prompt() const override {
    return head_.layout == RewardLayout::kPromptCompletion;
  }

  [[nodiscard]] Result<std::vector<double>> score(std::span<const RewardRequest> requests,
                                                  const ProgressSink& progress) const override {
    CANDOR_TRY(const std::vector<float> features,
               reward_features(encoder_, head_.layout, requests, progress));
    std::vector<double> scores;
    const size_t width = head_.weight.size();
    for (size_t i = 0; i < requests.size(); ++i) {
      const std::span<const float> row = std::span(features).subspan(i * width, width);
      if (raw_) {
        scores.push_back(positive_is_good_ ? head_.logit(row) : -head_.logit(row));
      } else {
        const double p = head_.probability(row);
        scores.push_back(positive_is_good_ ? p : 1 - p);
      }
    }
    return scores;
  }

 private:
  TextEncoder encoder_;
  RewardHead head_;
  bool positive_is_good_;
  bool raw_;
};

}  // namespace

LoadedReward load_head_reward(JsonReader& spec, const RewardPaths& paths, int threads) {
  static const std::vector<std::string> kScales = {"probability", "logit"};
  (void)spec.text("encoder_digest");
  (void)spec.text("head_digest");
  const bool positive_is_good = spec.boolean("positive_is_good");
  const bool raw = spec.choice_or("scale", "probability", kScales) == "logit";
  CANDOR_RETURN_IF_ERROR(spec.status());
  CANDOR_TRY(const std::filesystem::path encoder_path, paths("encoder"));
  CANDOR_TRY(const std::filesystem::path head_path, paths("head"));
  CANDOR_TRY(TextEncoder encoder, TextEncoder::load(encoder_path, threads));
  CANDOR_TRY(RewardHead head, load_reward_head(head_path, encoder.width()));
  return {std::make_shared<const HeadReward>(std::move(encoder), std::move(head), positive_is_good,
                                             raw)};
}

}  // namespace candor
