#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "lm/candidate_model.h"
#include "lm/language_model.h"
#include "lm/mixture_generate.h"

namespace candor {

// A conversation with several candidates of one model at once. Each answers every turn and keeps a
// history of its own: what it said itself, never what another did.
struct ChatOptions {
  GenerateOptions generate;
  bool plain = false;  // no chat template: a text goes on after what was said before
  std::string system;  // empty: the template's own
};

struct ChatReply {
  std::string candidate;
  std::string text;  // without the token that ended it
  double logprob = 0;
  FinishReason finish_reason = FinishReason::kLength;
};

class ChatSession {
 public:
  // `model` holds the candidates' adapters beside its weights and outlives the session.
  // Errors: a model without a known chat template, unless plain.
  static Result<ChatSession> create(const LanguageModel& model,
                                    std::vector<CandidateModel> candidates,
                                    const ChatOptions& options);

  // Who sees a turn while it is made. `on_text` gets a reply in pieces, as its tokens come: their
  // sum is a beginning of the reply's text without blanks around it (whole characters only), and
  // usually all of it.
  struct Listener {
    std::function<void(const std::string& candidate, std::string_view piece)> on_text;
    std::function<void(const ChatReply&)> on_reply;
  };
  // Every candidate's answer, in their order. Random numbers are keyed by the turn. Errors: as
  // generate_menu; the histories are then as before.
  Result<std::vector<ChatReply>> say(const std::string& text, const Listener& listener);
  void reset();                         // forgets the histories
  void set_system(std::string system);  // and starts anew

 private:
  ChatSession(const LanguageModel& model, std::vector<CandidateModel> candidates,
              const ChatOptions& options);
  Result<MenuPrompt> prompt_of(const std::vector<ChatMessage>& history, uint32_t turn) const;

  const LanguageModel* model_;
  std::vector<CandidateModel> candidates_;
  ChatOptions options_;
  std::vector<std::vector<ChatMessage>> histories_;  // one per candidate
  uint32_t turn_ = 0;
};

}  // namespace candor
