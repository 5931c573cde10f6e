#include "worker/chat_session.h"

#include <algorithm>

#include "base/check.h"
#include "base/strings.h"

namespace candor {

ChatSession::ChatSession(const LanguageModel& model, std::vector<CandidateModel> candidates,
                         const ChatOptions& options)
    : model_(&model), candidates_(std::move(candidates)), options_(options) {
  reset();
}

Result<ChatSession> ChatSession::create(const LanguageModel& model,
                                        std::vector<CandidateModel> candidates,
                                        const ChatOptions& options) {
  CANDOR_CHECK(!candidates.empty());
  if (!options.plain) {
    if (const Result<ChatTemplate> chat = model.chat_template(); !chat.ok()) {
      return invalid_argument(str_cat(chat.error().message, " (--plain goes without)"));
    }
  }
  return ChatSession(model, std::move(candidates), options);
}

void ChatSession::reset() {
  std::vector<ChatMessage> start;
  if (!options_.system.empty()) start.push_back({"system", options_.system});
  histories_.assign(candidates_.size(), start);
}

void ChatSession::set_system(std::string system) {
  options_.system = std::move(system);
  reset();
}

Result<MenuPrompt> ChatSession::prompt_of(const std::vector<ChatMessage>& history,
                                          uint32_t turn) const {
  std::string text;
  if (options_.plain) {
    for (const ChatMessage& message : history) text += message.content;
  } else {
    CANDOR_TRY(const ChatTemplate chat, model_->chat_template());
    CANDOR_TRY(text, chat.render(history, true));
  }
  // A plain text starts as texts do for this model; a template writes its own special tokens.
  CANDOR_TRY(std::vector<int32_t> ids,
             model_->tokenizer().encode(text, {.add_special_tokens = options_.plain}));
  return MenuPrompt{std::move(ids), turn};
}

Result<std::vector<ChatReply>> ChatSession::say(
    const std::string& text, const std::function<void(const ChatReply&)>& on_reply) {
  std::vector<std::vector<ChatMessage>> histories = histories_;
  std::vector<ChatReply> replies;
  for (size_t k = 0; k < candidates_.size(); ++k) {
    histories[k].push_back({"user", text});
    CANDOR_TRY(const MenuPrompt prompt, prompt_of(histories[k], turn_));
    CANDOR_TRY(const std::vector<Generation> generations,
               generate_menu(LanguageSlotModel(*model_), std::span(&candidates_[k], 1),
                             std::span(&prompt, 1), 1, options_.generate));
    const Generation& generation = generations[0];
    std::vector<int32_t> spoken = generation.token_ids;
    if (generation.finish_reason == FinishReason::kStop) spoken.pop_back();
    CANDOR_TRY(std::string answer, model_->tokenizer().decode(spoken));
    histories[k].push_back({"assistant", answer});
    replies.push_back(
        {candidates_[k].name, std::move(answer), generation.logprob, generation.finish_reason});
    if (on_reply) on_reply(replies.back());
  }
  histories_ = std::move(histories);
  ++turn_;
  return replies;
}

}  // namespace candor
