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

namespace {

// The text of tokens as they come, in pieces that are never taken back.
class TextPieces {
 public:
  explicit TextPieces(const LanguageModel& model) : model_(model) {}

  // What the token adds: nothing while a character is incomplete, or blanks may be the last.
  std::string add(int32_t token) {
    if (std::ranges::find(model_.stop_ids(), token) != model_.stop_ids().end()) return {};
    token_ids_.push_back(token);
    const Result<std::string> text = model_.tokenizer().decode(token_ids_);
    if (!text.ok()) return {};
    static constexpr std::string_view kIncomplete = "\xEF\xBF\xBD";  // U+FFFD
    const std::string_view shown = trim(*text);
    if (shown.ends_with(kIncomplete) || !shown.starts_with(told_)) return {};
    std::string piece(shown.substr(told_.size()));
    told_ = shown;
    return piece;
  }

 private:
  const LanguageModel& model_;
  std::vector<int32_t> token_ids_;
  std::string told_;
};

}  // namespace

Result<std::vector<ChatReply>> ChatSession::say(const std::string& text, const Listener& listener) {
  std::vector<std::vector<ChatMessage>> histories = histories_;
  std::vector<ChatReply> replies;
  for (size_t k = 0; k < candidates_.size(); ++k) {
    histories[k].push_back({"user", text});
    CANDOR_TRY(const MenuPrompt prompt, prompt_of(histories[k], turn_));
    TextPieces pieces(*model_);
    const auto on_token = [&](size_t, int32_t token) {
      if (const std::string piece = pieces.add(token); listener.on_text && !piece.empty()) {
        listener.on_text(candidates_[k].name, piece);
      }
    };
    CANDOR_TRY(const std::vector<Generation> generations,
               generate_menu(LanguageSlotModel(*model_), std::span(&candidates_[k], 1),
                             std::span(&prompt, 1), 1, options_.generate, {}, on_token));
    const Generation& generation = generations[0];
    std::vector<int32_t> spoken = generation.token_ids;
    if (generation.finish_reason == FinishReason::kStop) spoken.pop_back();
    CANDOR_TRY(std::string answer, model_->tokenizer().decode(spoken));
    histories[k].push_back({"assistant", answer});
    replies.push_back(
        {candidates_[k].name, std::move(answer), generation.logprob, generation.finish_reason});
    if (listener.on_reply) listener.on_reply(replies.back());
  }
  histories_ = std::move(histories);
  ++turn_;
  return replies;
}

}  // namespace candor
