#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "formats/chat_template.h"
#include "formats/tokenizer.h"

namespace candor {

// The chat template of a Hugging Face folder (chat_template.jinja, else tokenizer_config.json),
// where there is one. Errors: a file that cannot be read.
Result<std::optional<std::string>> chat_template_of_folder(const std::filesystem::path& folder);

// The template that `text` is. Errors: kInvalidArgument: absent, or not known.
Result<ChatTemplate> require_chat_template(const std::optional<std::string>& text);

// The prompt text of a record: "prompt" as it is, or "messages" under the chat template with the
// assistant's turn opened. `where` names file and line in errors; the template's own error counts
// only where a record has messages.
Result<std::string> prompt_text(const Result<ChatTemplate>& chat, const Json& record,
                                const std::string& where);

// What turns prompts into a language model's tokens, without its weights.
class PromptEncoder {
 public:
  // `model`: a GGUF file or a Hugging Face folder. Errors: as the tokenizer's.
  static Result<PromptEncoder> open(const std::filesystem::path& model);

  // Errors: as prompt_text; text that is not UTF-8.
  [[nodiscard]] Result<std::vector<int32_t>> encode(const Json& record,
                                                    const std::string& where) const;
  [[nodiscard]] const Tokenizer& tokenizer() const { return *tokenizer_; }

 private:
  PromptEncoder() = default;
  std::shared_ptr<const Tokenizer> tokenizer_;
  std::optional<std::string> chat_template_text_;
};

}  // namespace candor
