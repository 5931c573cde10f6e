#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace candor {

struct ChatMessage {
  std::string role;  // "system", "user", "assistant"
  std::string content;
};

// A chat template that Candor knows, recognised from the Jinja text that a model carries. Templates
// are recognised by their exact text, not interpreted: one that is not known is an error, never a
// guess.
class ChatTemplate {
 public:
  // Errors: kInvalidArgument, naming the template's beginning and the known ones.
  static Result<ChatTemplate> recognise(std::string_view jinja);

  // The prompt text; `add_generation_prompt` opens the assistant's turn.
  // Errors: an unknown role, no message.
  [[nodiscard]] Result<std::string> render(const std::vector<ChatMessage>& messages,
                                           bool add_generation_prompt) const;

  [[nodiscard]] const std::string& name() const { return name_; }  // "chatml-smollm2", ...
  // The text that ends an assistant's turn ("<|im_end|>").
  [[nodiscard]] const std::string& turn_end() const { return turn_end_; }

 private:
  std::string name_;
  std::string default_system_;
  std::string turn_end_;
};

}  // namespace candor
