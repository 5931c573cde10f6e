#include "worker/reward_models.h"
#include "worker/reward_training.h"

namespace candor {

namespace {

// The probability that a logistic head on a frozen encoder gives the reply.
class HeadReward final : public RewardModel {
 public:
  HeadReward(TextEncoder encoder, RewardHead head, bool positive_is_good)
      : encoder_(std::move(encoder)), head_(std::move(head)), positive_is_good_(positive_is_good) {}

  [[nodiscard]] Result<std::vector<double>> score(std::span<const RewardRequest> requests,
                                                  const ProgressSink& progress) const override {
    std::vector<std::string> texts;
    texts.reserve(requests.size());
    for (const RewardRequest& request : requests) texts.push_back(request.completion);
    CANDOR_TRY(const std::vector<float> embeddings, encoder_.embed(texts, progress));
    std::vector<double> scores;
    const auto width = static_cast<size_t>(encoder_.width());
    for (size_t i = 0; i < texts.size(); ++i) {
      const double p = head_.probability(std::span(embeddings).subspan(i * width, width));
      scores.push_back(positive_is_good_ ? p : 1 - p);
    }
    return scores;
  }

 private:
  TextEncoder encoder_;
  RewardHead head_;
  bool positive_is_good_;
};

}  // namespace

LoadedReward load_head_reward(JsonReader& spec, const RewardPaths& paths, int threads) {
  (void)spec.text("encoder_digest");
  (void)spec.text("head_digest");
  const bool positive_is_good = spec.boolean("positive_is_good");
  CANDOR_RETURN_IF_ERROR(spec.status());
  CANDOR_TRY(const std::filesystem::path encoder_path, paths("encoder"));
  CANDOR_TRY(const std::filesystem::path head_path, paths("head"));
  CANDOR_TRY(TextEncoder encoder, TextEncoder::load(encoder_path, threads));
  CANDOR_TRY(RewardHead head, load_reward_head(head_path, encoder.width()));
  return {
      std::make_shared<const HeadReward>(std::move(encoder), std::move(head), positive_is_good)};
}

}  // namespace candor
