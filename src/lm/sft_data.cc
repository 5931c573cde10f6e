#include "lm/sft_data.h"

#include <algorithm>

#include "base/strings.h"
#include "formats/chat_template.h"
#include "formats/records.h"

namespace candor {

namespace {

// Adds text as tokens, learnt or not.
Status append(const Tokenizer& tokenizer, std::string_view text, bool learnt, SftExample& out) {
  CANDOR_TRY(const std::vector<int32_t> ids, tokenizer.encode(text));
  out.token_ids.insert(out.token_ids.end(), ids.begin(), ids.end());
  out.in_loss.resize(out.token_ids.size(), learnt ? 1 : 0);
  return {};
}

Status append_end(const Tokenizer& tokenizer, const std::string& where, SftExample& out) {
  if (!tokenizer.eos_id().has_value()) {
    return invalid_argument(str_cat(where, ": the model's tokenizer names no end-of-text token"));
  }
  out.token_ids.push_back(*tokenizer.eos_id());
  out.in_loss.push_back(1);
  return {};
}

Result<std::vector<ChatMessage>> turns_of(JsonReader& in, const std::string& key) {
  std::vector<ChatMessage> out;
  for (JsonReader& turn : in.objects(key)) {
    ChatMessage message;
    message.role = turn.text("role");
    const Json& content = turn.any("content");
    if (!content.is_string()) turn.fail("content", "expected a text");
    CANDOR_RETURN_IF_ERROR(turn.status());
    message.content = content.get<std::string>();
    out.push_back(std::move(message));
  }
  CANDOR_RETURN_IF_ERROR(in.status());
  return out;
}

// Turns from `learn_from` on are learnt where they are the assistant's.
Result<SftExample> encode_turns(const std::vector<ChatMessage>& turns, size_t learn_from,
                                const ModelFile& file, const std::string& where) {
  if (!file.chat_template_text().has_value()) {
    return invalid_argument(str_cat(
        where, ": the model's files carry no chat template; give \"prompt\" and \"completion\""));
  }
  CANDOR_TRY(const ChatTemplate chat, ChatTemplate::recognise(*file.chat_template_text()));
  SftExample out;
  std::string done;  // the text that is encoded already
  for (size_t i = 0; i < turns.size(); ++i) {
    if (turns[i].role != "assistant" || i < learn_from) continue;
    const std::vector<ChatMessage> before(turns.begin(), turns.begin() + static_cast<long>(i));
    const std::vector<ChatMessage> with(turns.begin(), turns.begin() + static_cast<long>(i) + 1);
    if (before.empty()) {
      return invalid_argument(str_cat(where, ": the first turn is the assistant's"));
    }
    Result<std::string> context = chat.render(before, true);
    Result<std::string> whole = chat.render(with, false);
    for (const auto* text : {&context, &whole}) {
      if (!text->ok()) return invalid_argument(str_cat(where, ": ", text->error().message));
    }
    const size_t end = whole->rfind(chat.turn_end());
    if (!context->starts_with(done) || !whole->starts_with(*context) || end == std::string::npos ||
        end < context->size()) {
      return invalid_argument(str_cat(where, ": the chat template does not end turns by itself"));
    }
    const size_t stop = end + chat.turn_end().size();
    const Tokenizer& tokenizer = *file.tokenizer();
    CANDOR_RETURN_IF_ERROR(append(tokenizer, context->substr(done.size()), false, out));
    CANDOR_RETURN_IF_ERROR(
        append(tokenizer, whole->substr(context->size(), stop - context->size()), true, out));
    done = whole->substr(0, stop);
  }
  if (done.empty())
    return invalid_argument(str_cat(where, ": has no turn of the assistant to learn"));
  return out;
}

Result<SftExample> encode_prompt(JsonReader& in, const ModelFile& file, const std::string& where) {
  if (in.json()["prompt"].is_array()) {
    CANDOR_TRY(std::vector<ChatMessage> turns, turns_of(in, "prompt"));
    CANDOR_TRY(const std::vector<ChatMessage> reply, turns_of(in, "completion"));
    const size_t learn_from = turns.size();
    turns.insert(turns.end(), reply.begin(), reply.end());
    return encode_turns(turns, learn_from, file, where);
  }
  const Json& prompt = in.any("prompt");
  const Json& completion = in.any("completion");
  CANDOR_RETURN_IF_ERROR(in.status());
  if (!prompt.is_string()) return in.error_at("prompt", "expected a text or turns");
  if (!completion.is_string()) return in.error_at("completion", "expected a text");
  SftExample out;
  CANDOR_RETURN_IF_ERROR(append(*file.tokenizer(), prompt.get<std::string>(), false, out));
  CANDOR_RETURN_IF_ERROR(append(*file.tokenizer(), completion.get<std::string>(), true, out));
  CANDOR_RETURN_IF_ERROR(append_end(*file.tokenizer(), where, out));
  return out;
}

}  // namespace

Result<SftExample> encode_sft_record(const Json& record, const ModelFile& file,
                                     const std::string& where) {
  JsonReader in(record, where);
  CANDOR_RETURN_IF_ERROR(in.status());
  if (in.has("prompt")) return encode_prompt(in, file, where);
  if (in.has("messages")) {
    CANDOR_TRY(const std::vector<ChatMessage> turns, turns_of(in, "messages"));
    return encode_turns(turns, 0, file, where);
  }
  if (!in.has("text")) {
    return invalid_argument(
        str_cat(where, ": expected \"prompt\" and \"completion\", \"messages\" or \"text\""));
  }
  const Json& text = in.any("text");
  if (!text.is_string()) return in.error_at("text", "expected a text");
  SftExample out;
  CANDOR_RETURN_IF_ERROR(append(*file.tokenizer(), text.get<std::string>(), true, out));
  CANDOR_RETURN_IF_ERROR(append_end(*file.tokenizer(), where, out));
  return out;
}

Result<SftData> read_sft_data(const std::filesystem::path& path, const ModelFile& file,
                              int64_t max_length) {
  CANDOR_TRY(const std::vector<Json> records, read_jsonl(path));
  SftData out;
  for (size_t i = 0; i < records.size(); ++i) {
    CANDOR_TRY(SftExample example,
               encode_sft_record(records[i], file, str_cat(path.string(), ":", i + 1)));
    if (static_cast<int64_t>(example.token_ids.size()) > max_length) {
      example.token_ids.resize(static_cast<size_t>(max_length));
      example.in_loss.resize(static_cast<size_t>(max_length));
      ++out.truncated;
    }
    if (!example.in_loss.empty()) example.in_loss[0] = 0;  // nothing comes before it
    if (std::ranges::find(example.in_loss, 1) == example.in_loss.end()) {
      ++out.dropped;
      continue;
    }
    out.examples.push_back(std::move(example));
  }
  if (out.examples.empty()) {
    return invalid_argument(str_cat(path.string(), ": holds ", records.size(),
                                    " records, none of which has a token to learn within ",
                                    max_length, " tokens"));
  }
  return out;
}

MicroBatch batch_of(const std::vector<SftExample>& examples, const std::vector<size_t>& chosen) {
  MicroBatch out;
  out.sequences.offsets.push_back(0);
  for (const size_t index : chosen) {
    const SftExample& example = examples[index];
    auto& ids = out.sequences.token_ids;
    ids.insert(ids.end(), example.token_ids.begin(), example.token_ids.end());
    out.in_loss.insert(out.in_loss.end(), example.in_loss.begin(), example.in_loss.end());
    out.sequences.offsets.push_back(static_cast<int64_t>(ids.size()));
  }
  return out;
}

}  // namespace candor
