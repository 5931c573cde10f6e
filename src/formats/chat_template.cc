#include "formats/chat_template.h"

#include <array>

#include "base/strings.h"

namespace candor {

namespace {

// Known templates, word for word as models carry them (escapes "\n" and line breaks are one).
struct Known {
  const char* name;
  const char* jinja;
  const char* default_system;  // inserted when the first message is not the system's; or ""
};

constexpr std::array<Known, 3> kKnown = {{
    {"chatml-smollm2",
     "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ "
     "'<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging "
     "Face<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + "
     "message['content'] "
     "+ '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ "
     "'<|im_start|>assistant\n' }}{% endif %}",
     "You are a helpful AI assistant named SmolLM, trained by Hugging Face"},
    {"chatml",
     "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] "
     "+ "
     "'<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ "
     "'<|im_start|>assistant\n' }}{% endif %}",
     ""},
    {"chatml",  // the same, with the flag's default written out
     "{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif "
     "%}{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + "
     "message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ "
     "'<|im_start|>assistant\n' }}{% endif %}",
     ""},
}};

std::string unify(std::string_view jinja) {
  std::string out;
  for (size_t i = 0; i < jinja.size(); ++i) {
    const bool escape = jinja[i] == '\\' && i + 1 < jinja.size() && jinja[i + 1] == 'n';
    out += escape ? '\n' : jinja[i];
    if (escape) ++i;
  }
  return std::string(trim(out));
}

}  // namespace

Result<ChatTemplate> ChatTemplate::recognise(std::string_view jinja) {
  const std::string text = unify(jinja);
  for (const Known& known : kKnown) {
    if (text != unify(known.jinja)) continue;
    ChatTemplate out;
    out.name_ = known.name;
    out.default_system_ = known.default_system;
    out.turn_end_ = "<|im_end|>";
    return out;
  }
  return invalid_argument(str_cat("the model's chat template is not known (it begins ",
                                  quote(text, 80), "); chatml and chatml-smollm2 are"));
}

Result<std::string> ChatTemplate::render(const std::vector<ChatMessage>& messages,
                                         bool add_generation_prompt) const {
  if (messages.empty()) return invalid_argument("messages: there is none; at least one is needed");
  std::string text;
  if (messages[0].role != "system" && !default_system_.empty()) {
    text += str_cat("<|im_start|>system\n", default_system_, "<|im_end|>\n");
  }
  for (size_t i = 0; i < messages.size(); ++i) {
    const ChatMessage& message = messages[i];
    if (message.role != "system" && message.role != "user" && message.role != "assistant") {
      return invalid_argument(str_cat("messages[", i, "].role: found ", quote(message.role),
                                      "; expected system, user or assistant"));
    }
    text += str_cat("<|im_start|>", message.role, "\n", message.content, "<|im_end|>\n");
  }
  if (add_generation_prompt) text += "<|im_start|>assistant\n";
  return text;
}

}  // namespace candor
