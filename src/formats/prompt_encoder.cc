#include "formats/prompt_encoder.h"

#include "base/file.h"
#include "base/strings.h"
#include "formats/gguf.h"
#include "formats/preferences.h"

namespace candor {

namespace fs = std::filesystem;

Result<std::optional<std::string>> chat_template_of_folder(const fs::path& folder) {
  if (fs::exists(folder / "chat_template.jinja")) {
    CANDOR_TRY(std::string text, read_file(folder / "chat_template.jinja"));
    return std::optional<std::string>(std::move(text));
  }
  if (fs::exists(folder / "tokenizer_config.json")) {
    CANDOR_TRY(const Json json, read_json_file((folder / "tokenizer_config.json").string()));
    if (json.is_object() && json.contains("chat_template") && json["chat_template"].is_string()) {
      return std::optional<std::string>(json["chat_template"].get<std::string>());
    }
  }
  return std::optional<std::string>();
}

Result<ChatTemplate> require_chat_template(const std::optional<std::string>& text) {
  if (!text.has_value()) {
    return invalid_argument("the model's files carry no chat template; give \"prompt\" as text");
  }
  return ChatTemplate::recognise(*text);
}

Result<std::string> prompt_text(const Result<ChatTemplate>& chat, const Json& record,
                                const std::string& where) {
  if (record.is_object() && record.contains("prompt")) {
    if (!record["prompt"].is_string()) {
      return invalid_argument(
          str_cat(where, ": $.prompt: found ", record["prompt"].dump(), "; expected a text"));
    }
    return record["prompt"].get<std::string>();
  }
  if (!record.is_object() || !record.contains("messages")) {
    return invalid_argument(str_cat(where, ": expected an object with \"prompt\" or \"messages\""));
  }
  CANDOR_TRY(const std::vector<ChatMessage> messages,
             messages_of_json(record["messages"], where, "$.messages"));
  if (!chat.ok()) return invalid_argument(str_cat(where, ": ", chat.error().message));
  Result<std::string> text = chat->render(messages, true);
  if (!text.ok()) return invalid_argument(str_cat(where, ": ", text.error().message));
  return text;
}

Result<PromptEncoder> PromptEncoder::open(const fs::path& model) {
  PromptEncoder out;
  if (fs::is_directory(model)) {
    CANDOR_TRY(out.tokenizer_, tokenizer_from_folder(model));
    CANDOR_TRY(out.chat_template_text_, chat_template_of_folder(model));
    return out;
  }
  CANDOR_TRY(const GgufFile file, GgufFile::open(model));
  CANDOR_TRY(out.tokenizer_, tokenizer_from_gguf(file));
  if (file.has("tokenizer.chat_template")) {
    CANDOR_TRY(out.chat_template_text_, file.text("tokenizer.chat_template"));
  }
  return out;
}

Result<std::vector<int32_t>> PromptEncoder::encode(const Json& record,
                                                   const std::string& where) const {
  CANDOR_TRY(const std::string text,
             prompt_text(require_chat_template(chat_template_text_), record, where));
  Result<std::vector<int32_t>> ids = tokenizer_->encode(text, {});
  if (!ids.ok()) return invalid_argument(str_cat(where, ": ", ids.error().message));
  return ids;
}

}  // namespace candor
