#include "worker/reward_function.h"

#include <cmath>

#include "base/strings.h"
#include "formats/preferences.h"
#include "worker/generation_records.h"
#include "worker/reward_models.h"

namespace candor {

Result<RewardFunction> RewardFunction::load(JsonReader& spec, const RewardPaths& paths,
                                            int threads) {
  static const std::vector<std::string> kKinds = {"head",          "brevity",    "lexicon",
                                                  "linear_ngrams", "checkpoint", "remote"};
  const std::string kind = spec.choice("kind", kKinds);
  CANDOR_RETURN_IF_ERROR(spec.status());
  const auto loaded = [&]() -> LoadedReward {
    if (kind == "head") return load_head_reward(spec, paths, threads);
    if (kind == "brevity") return load_brevity_reward(spec);
    if (kind == "lexicon") return load_lexicon_reward(spec, paths);
    if (kind == "checkpoint") return load_checkpoint_reward(spec, paths, threads);
    if (kind == "remote") return load_remote_reward(spec);
    return load_linear_ngrams_reward(spec, paths);
  };
  CANDOR_TRY(std::shared_ptr<const Model> model, loaded());
  return RewardFunction(std::move(model));
}

Result<std::vector<double>> RewardFunction::score(std::span<const RewardRequest> requests,
                                                  const ProgressSink& progress) const {
  CANDOR_TRY(std::vector<double> scores, model_->score(requests, progress));
  CANDOR_CHECK(scores.size() == requests.size());
  for (size_t i = 0; i < scores.size(); ++i) {
    if (!std::isfinite(scores[i])) {
      return invalid_argument(str_cat("reply ", i + 1, ": the reward returned ", scores[i],
                                      "; a price needs a finite reward for every reply"));
    }
  }
  return scores;
}

bool RewardFunction::needs_prompt() const { return model_->needs_prompt(); }

Result<std::string> reward_prompt_text(const Json& record, const std::string& where) {
  if (!record.is_object()) return invalid_argument(str_cat(where, ": expected an object"));
  if (record.contains("prompt")) {
    if (record["prompt"].is_string()) return record["prompt"].get<std::string>();
    return invalid_argument(str_cat(where, ": $.prompt: expected a text"));
  }
  if (!record.contains("messages")) {
    return invalid_argument(
        str_cat(where, ": has neither \"prompt\" nor \"messages\"; the reward reads the prompt"));
  }
  CANDOR_TRY(const std::vector<ChatMessage> messages, chat_messages(record["messages"], where));
  return conversation_text(messages);
}

}  // namespace candor
