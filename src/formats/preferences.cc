#include "formats/preferences.h"

#include <algorithm>
#include <array>

#include "base/strings.h"
#include "formats/gzip.h"
#include "formats/records.h"

namespace candor {

namespace {

constexpr std::string_view kHuman = "\n\nHuman:";
constexpr std::string_view kAssistant = "\n\nAssistant:";

std::string shown(const Json& value) { return value.dump().substr(0, 60); }

Result<std::string> text_at(const Json& record, const char* key, const std::string& where) {
  if (!record.contains(key)) return invalid_argument(str_cat(where, ": $.", key, ": is missing"));
  const Json& value = record[key];
  if (value.is_string()) return value.get<std::string>();
  return invalid_argument(
      str_cat(where, ": $.", key, ": found ", shown(value), "; expected a text"));
}

std::string text_or_empty(const Json& record, const char* key) {
  return record.contains(key) && record[key].is_string() ? record[key].get<std::string>()
                                                         : std::string();
}

bool is_hh_dialogue(std::string_view text) {
  return text.starts_with(kHuman) || text.starts_with(kAssistant);
}

bool same_turn(const ChatMessage& a, const ChatMessage& b) {
  return a.role == b.role && a.content == b.content;
}

std::vector<ChatMessage> turns_from(const std::vector<ChatMessage>& turns, size_t first) {
  return {turns.begin() + static_cast<std::ptrdiff_t>(first), turns.end()};
}

// The turns that both begin with, except that each keeps one of its own, are the prompt.
PreferencePair pair_of_dialogues(const std::vector<ChatMessage>& prompt,
                                 const std::vector<ChatMessage>& chosen,
                                 const std::vector<ChatMessage>& rejected) {
  size_t common = 0;
  const size_t limit = std::min(chosen.size(), rejected.size()) - 1;
  while (common < limit && same_turn(chosen[common], rejected[common])) ++common;
  std::vector<ChatMessage> before = prompt;
  before.insert(before.end(), chosen.begin(), chosen.begin() + static_cast<std::ptrdiff_t>(common));
  return {.prompt = conversation_text(before),
          .chosen = conversation_text(turns_from(chosen, common)),
          .rejected = conversation_text(turns_from(rejected, common)),
          .source = {}};
}

Result<PreferencePair> hh_pair(const std::string& chosen, const std::string& rejected,
                               const std::string& where) {
  CANDOR_TRY(const std::vector<ChatMessage> good,
             parse_hh_dialogue(chosen, str_cat(where, ": $.chosen")));
  CANDOR_TRY(const std::vector<ChatMessage> bad,
             parse_hh_dialogue(rejected, str_cat(where, ": $.rejected")));
  return pair_of_dialogues({}, good, bad);
}

Result<PreferencePair> conversational_pair(const Json& record, const std::string& where) {
  std::vector<ChatMessage> prompt;
  if (record.contains("prompt")) {
    CANDOR_TRY(prompt, messages_of_json(record["prompt"], where, "$.prompt"));
  }
  CANDOR_TRY(const std::vector<ChatMessage> chosen,
             messages_of_json(record["chosen"], where, "$.chosen"));
  CANDOR_TRY(const std::vector<ChatMessage> rejected,
             messages_of_json(record["rejected"], where, "$.rejected"));
  return pair_of_dialogues(prompt, chosen, rejected);
}

// The post as OpenAI's summarize-from-feedback shows it to a model.
std::string tldr_prompt(const Json& record) {
  std::string prompt;
  if (const std::string name = text_or_empty(record, "subreddit"); !name.empty()) {
    prompt += str_cat("SUBREDDIT: r/", name, "\n\n");
  }
  if (const std::string title = text_or_empty(record, "title"); !title.empty()) {
    prompt += str_cat("TITLE: ", title, "\n\n");
  }
  return str_cat(prompt, "POST: ", text_or_empty(record, "post"), "\n\nTL;DR:");
}

Result<std::string> comparison_prompt(const Json& record, const std::string& where) {
  if (!record.contains("info") || !record["info"].is_object()) {
    return invalid_argument(str_cat(where, ": $.info: expected an object with \"post\""));
  }
  const Json& info = record["info"];
  const auto has_text = [&](const char* key) {
    return info.contains(key) && info[key].is_string();
  };
  if (has_text("post")) return tldr_prompt(info);
  if (has_text("article")) return info["article"].get<std::string>();
  return invalid_argument(str_cat(where, ": $.info: found ", shown(info),
                                  "; expected a text in \"post\" or \"article\""));
}

Result<PreferencePair> tldr_pair(const Json& record, const std::string& where) {
  CANDOR_TRY(std::string prompt, comparison_prompt(record, where));
  const Json& summaries = record["summaries"];
  if (!summaries.is_array() || summaries.size() != 2) {
    return invalid_argument(str_cat(where, ": $.summaries: found ", shown(summaries),
                                    "; expected a list of two summaries"));
  }
  std::array<std::string, 2> texts;
  for (size_t i = 0; i < 2; ++i) {
    const std::string place = str_cat(where, ": $.summaries[", i, "]");
    if (!summaries[i].is_object()) {
      return invalid_argument(
          str_cat(place, ": found ", shown(summaries[i]), "; expected an object with \"text\""));
    }
    CANDOR_TRY(texts[i], text_at(summaries[i], "text", place));
  }
  JsonReader in(record, where);
  const auto choice = static_cast<size_t>(in.integer("choice", 0, 1));
  CANDOR_RETURN_IF_ERROR(in.status());
  return PreferencePair{.prompt = std::move(prompt),
                        .chosen = std::move(texts[choice]),
                        .rejected = std::move(texts[1 - choice]),
                        .source = {}};
}

Result<PreferencePair> standard_pair(const Json& record, const std::string& where) {
  CANDOR_TRY(std::string chosen, text_at(record, "chosen", where));
  CANDOR_TRY(std::string rejected, text_at(record, "rejected", where));
  if (!record.contains("prompt")) {
    if (is_hh_dialogue(chosen)) return hh_pair(chosen, rejected, where);
    return PreferencePair{{}, std::move(chosen), std::move(rejected), {}};
  }
  CANDOR_TRY(std::string prompt, text_at(record, "prompt", where));
  if (is_hh_dialogue(prompt)) {  // an HH dialogue whose last turn was taken off
    CANDOR_TRY(std::vector<ChatMessage> turns,
               parse_hh_dialogue(prompt, str_cat(where, ": $.prompt")));
    if (turns.back().content.empty()) turns.pop_back();
    prompt = conversation_text(turns);
  }
  return PreferencePair{std::move(prompt), std::move(chosen), std::move(rejected), {}};
}

Result<std::vector<PreferencePair>> pairs_of_jsonl(const std::filesystem::path& path) {
  CANDOR_TRY(const std::vector<Json> records, read_jsonl(path));
  std::vector<PreferencePair> pairs;
  for (size_t i = 0; i < records.size(); ++i) {
    CANDOR_TRY(PreferencePair pair,
               preference_of_record(records[i], str_cat(path.string(), ":", i + 1)));
    pairs.push_back(std::move(pair));
  }
  return pairs;
}

Result<std::vector<PreferencePair>> pairs_of_csv(const std::filesystem::path& path) {
  CANDOR_TRY(const CsvTable table, read_csv(path));
  std::vector<PreferencePair> pairs;
  for (size_t i = 0; i < table.rows.size(); ++i) {
    Json record = Json::object();
    for (const char* key : {"prompt", "chosen", "rejected"}) {
      const auto column = std::ranges::find(table.header, key);
      if (column == table.header.end()) continue;
      record[key] = table.rows[i][static_cast<size_t>(column - table.header.begin())];
    }
    const std::string where = str_cat(path.string(), ":", table.lines[i]);
    if (!record.contains("chosen") || !record.contains("rejected")) {
      return invalid_argument(str_cat(path.string(), ":1: has the columns ",
                                      join(table.header, ", "),
                                      "; expected chosen and rejected among them"));
    }
    CANDOR_TRY(PreferencePair pair, preference_of_record(record, where));
    pairs.push_back(std::move(pair));
  }
  return pairs;
}

PreferenceData without_equal(std::vector<PreferencePair> pairs) {
  PreferenceData out;
  for (PreferencePair& pair : pairs) {
    if (pair.chosen == pair.rejected) {
      ++out.equal_count;
    } else {
      out.pairs.push_back(std::move(pair));
    }
  }
  return out;
}

}  // namespace

std::string conversation_text(const std::vector<ChatMessage>& messages) {
  std::vector<std::string> contents;
  for (const ChatMessage& message : messages) {
    if (message.role != "system") contents.push_back(message.content);
  }
  return join(contents, "\n\n");
}

Result<std::vector<ChatMessage>> messages_of_json(const Json& json, const std::string& where,
                                                  const std::string& path) {
  if (!json.is_array() || json.empty()) {
    return invalid_argument(str_cat(where, ": ", path, ": found ", shown(json),
                                    "; expected a list of {\"role\", \"content\"}, one or more"));
  }
  std::vector<ChatMessage> messages;
  for (size_t i = 0; i < json.size(); ++i) {
    JsonReader in(json[i], where, str_cat(path, "[", i, "]"));
    ChatMessage message;
    message.role = in.text("role");
    const Json& content = in.any("content");
    if (!content.is_string()) in.fail("content", "expected a text");
    CANDOR_RETURN_IF_ERROR(in.finish());
    message.content = content.get<std::string>();
    messages.push_back(std::move(message));
  }
  return messages;
}

Result<std::vector<ChatMessage>> parse_hh_dialogue(std::string_view text,
                                                   const std::string& where) {
  if (!is_hh_dialogue(text)) {
    return invalid_argument(str_cat(where, ": found ", quote(text),
                                    "; expected a dialogue that begins with \"\\n\\nHuman: \""));
  }
  std::vector<ChatMessage> turns;
  while (!text.empty()) {
    const bool human = text.starts_with(kHuman);
    text.remove_prefix(human ? kHuman.size() : kAssistant.size());
    const size_t end = std::min({text.find(kHuman), text.find(kAssistant), text.size()});
    turns.push_back({human ? "user" : "assistant", std::string(trim(text.substr(0, end)))});
    text.remove_prefix(end);
  }
  return turns;
}

bool is_preference_record(const Json& record) {
  return record.is_object() && (record.contains("chosen") || record.contains("summaries"));
}

Result<PreferencePair> preference_of_record(const Json& record, const std::string& where) {
  if (!is_preference_record(record)) {
    std::vector<std::string> names;
    if (record.is_object()) {
      for (const auto& item : record.items()) names.push_back(item.key());
    }
    return invalid_argument(str_cat(where, ": has the fields ", join(names, ", "),
                                    "; expected \"chosen\" and \"rejected\", or \"info\", "
                                    "\"summaries\" and \"choice\""));
  }
  const auto pair = [&]() -> Result<PreferencePair> {
    if (record.contains("summaries")) return tldr_pair(record, where);
    if (!record["chosen"].is_array()) return standard_pair(record, where);
    if (record.contains("rejected")) return conversational_pair(record, where);
    return invalid_argument(str_cat(where, ": $.rejected: is missing"));
  };
  CANDOR_TRY(PreferencePair found, pair());
  found.source = text_or_empty(record, "source");
  return found;
}

Result<PreferenceData> read_preferences(const std::filesystem::path& path) {
  const std::string extension = record_extension(path);
  if (extension != ".csv" && extension != ".jsonl") {
    return invalid_argument(
        str_cat(path.string(), ": expected a name ending in .jsonl, .csv or either with .gz"));
  }
  CANDOR_TRY(std::vector<PreferencePair> pairs,
             extension == ".csv" ? pairs_of_csv(path) : pairs_of_jsonl(path));
  PreferenceData out = without_equal(std::move(pairs));
  if (out.pairs.empty()) {
    return invalid_argument(str_cat(path.string(), ": holds no pair of two different texts"));
  }
  return out;
}

Result<RewardData> read_reward_data(const LabelledTextSource& source) {
  RewardData out;
  if (record_extension(source.path) == ".csv") {
    CANDOR_TRY(const CsvTable table, read_csv(source.path));
    if (std::ranges::find(table.header, "chosen") == table.header.end()) {
      CANDOR_TRY(out.labelled, read_labelled_texts(source));
      return out;
    }
    CANDOR_TRY(PreferenceData data, read_preferences(source.path));
    return RewardData{std::move(data.pairs), {}, data.equal_count};
  }
  CANDOR_TRY(std::vector<Json> records, read_jsonl(source.path));
  std::vector<PreferencePair> pairs;
  std::vector<NumberedRecord> others;
  for (size_t i = 0; i < records.size(); ++i) {
    if (!is_preference_record(records[i])) {
      others.push_back({i + 1, std::move(records[i])});
      continue;
    }
    CANDOR_TRY(PreferencePair pair,
               preference_of_record(records[i], str_cat(source.path.string(), ":", i + 1)));
    pairs.push_back(std::move(pair));
  }
  PreferenceData data = without_equal(std::move(pairs));
  out.pairs = std::move(data.pairs);
  out.equal_count = data.equal_count;
  CANDOR_TRY(out.labelled, labelled_texts_of_records(std::move(others), source));
  if (out.pairs.empty() && out.labelled.empty()) {
    return invalid_argument(str_cat(source.path.string(), ": holds no record to learn from"));
  }
  return out;
}

Result<PromptCompletion> prompt_completion_of_record(const Json& record, const std::string& where) {
  if (!record.is_object()) {
    return invalid_argument(str_cat(where, ": found ", shown(record), "; expected an object"));
  }
  if (record.contains("messages")) {
    CANDOR_TRY(std::vector<ChatMessage> messages,
               messages_of_json(record["messages"], where, "$.messages"));
    ChatMessage last = std::move(messages.back());
    messages.pop_back();
    if (last.role != "assistant") {
      return invalid_argument(str_cat(where, ": $.messages: ends with a turn of ", quote(last.role),
                                      "; expected the assistant's"));
    }
    return PromptCompletion{conversation_text(messages), std::move(last.content)};
  }
  const char* key = record.contains("summary") ? "summary" : "completion";
  CANDOR_TRY(std::string completion, text_at(record, key, where));
  if (record.contains("post")) {
    CANDOR_TRY(const std::string post, text_at(record, "post", where));
    return PromptCompletion{tldr_prompt(record), std::move(completion)};
  }
  CANDOR_TRY(std::string prompt, text_at(record, "prompt", where));
  return PromptCompletion{std::move(prompt), std::move(completion)};
}

Result<std::vector<PromptCompletion>> read_prompt_completions(const std::filesystem::path& path) {
  CANDOR_TRY(const std::vector<Json> records, read_jsonl(path));
  std::vector<PromptCompletion> out;
  for (size_t i = 0; i < records.size(); ++i) {
    CANDOR_TRY(PromptCompletion item,
               prompt_completion_of_record(records[i], str_cat(path.string(), ":", i + 1)));
    out.push_back(std::move(item));
  }
  if (out.empty()) return invalid_argument(str_cat(path.string(), ": holds no record"));
  return out;
}

}  // namespace candor
