#include "worker/reward_function.h"

#include <cmath>
#include <map>

#include "base/strings.h"
#include "formats/preferences.h"
#include "worker/generation_records.h"
#include "worker/reward_models.h"

namespace candor {

namespace {

using Loader = LoadedReward (*)(JsonReader&, const RewardPaths&, int);

const std::map<std::string, Loader>& loaders() {
  static const std::map<std::string, Loader> kLoaders = {
      {"head", load_head_reward},
      {"brevity",
       [](JsonReader& spec, const RewardPaths&, int) { return load_brevity_reward(spec); }},
      {"lexicon", [](JsonReader& spec, const RewardPaths& paths,
                     int) { return load_lexicon_reward(spec, paths); }},
      {"linear_ngrams", [](JsonReader& spec, const RewardPaths& paths,
                           int) { return load_linear_ngrams_reward(spec, paths); }},
      {"checkpoint", load_checkpoint_reward},
      {"remote",
       [](JsonReader& spec, const RewardPaths&, int) { return load_remote_reward(spec); }}};
  return kLoaders;
}

}  // namespace

const std::vector<std::string>& RewardFunction::kinds() {
  static const std::vector<std::string> kNames = [] {
    std::vector<std::string> names;
    for (const auto& entry : loaders()) names.push_back(entry.first);
    return names;
  }();
  return kNames;
}

Result<RewardFunction> RewardFunction::load(JsonReader& spec, const RewardPaths& paths,
                                            int threads) {
  const std::string kind = spec.choice("kind", kinds());
  CANDOR_RETURN_IF_ERROR(spec.status());
  CANDOR_TRY(std::shared_ptr<const Model> model, loaders().at(kind)(spec, paths, threads));
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
