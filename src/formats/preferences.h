#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "formats/chat_template.h"
#include "formats/records.h"

namespace candor {

// One comparison: of two completions of a prompt, which was preferred. `prompt` is what
// conversation_text makes of the turns before the completions; it is empty where the data have
// none.
struct PreferencePair {
  std::string prompt;
  std::string chosen;
  std::string rejected;
  std::string source = {};  // the record's text "source", where it has one
};

// A completion that a human wrote, with its prompt.
struct PromptCompletion {
  std::string prompt;
  std::string completion;
};

// Preference pairs of a file *.jsonl, *.jsonl.gz, *.csv or *.csv.gz, in file order. Every record is
// one of
//   HH-RLHF          {"chosen":"\n\nHuman: ..\n\nAssistant: ..","rejected":..}: the turns that both
//                    dialogues begin with are the prompt, the rest are the completions
//   TRL standard     {"prompt":"..","chosen":"..","rejected":".."}; the prompt may be absent
//   TRL conversation {"prompt":[{"role","content"}..],"chosen":[..],"rejected":[..]}; without
//                    "prompt" the turns that both begin with are it
//   TL;DR comparison {"info":{"post"|"article",..},"summaries":[{"text"},{"text"}],"choice":0|1}
// and, in CSV, columns prompt (optional), chosen, rejected. Other fields are not read. Pairs whose
// two texts are equal say nothing and are left out, counted.
// Errors: kInvalidArgument with file and line, the value found and what is allowed; no pair at all.
struct PreferenceData {
  std::vector<PreferencePair> pairs;
  int64_t equal_count = 0;
};
Result<PreferenceData> read_preferences(const std::filesystem::path& path);

// What a reward model is trained on: pairs, labelled texts, or both. A JSONL file may mix the two;
// a record with "chosen" or "summaries" is a pair, every other one a labelled text under `source`.
// A CSV file with a column "chosen" holds pairs, else labelled texts.
struct RewardData {
  std::vector<PreferencePair> pairs;
  std::vector<LabelledText> labelled;
  int64_t equal_count = 0;
};
Result<RewardData> read_reward_data(const LabelledTextSource& source);

// The pair of one record (equal texts included); `where` names file and line.
Result<PreferencePair> preference_of_record(const Json& record, const std::string& where);

// Demonstrations of a file *.jsonl or *.jsonl.gz: {"prompt","completion"}, {"messages"} (the last
// turn, an assistant's, is the completion), Reddit TL;DR {"post","title"?,"subreddit"?,"summary"},
// or
// {"prompt","summary"}. Errors: as above.
Result<std::vector<PromptCompletion>> read_prompt_completions(const std::filesystem::path& path);
Result<PromptCompletion> prompt_completion_of_record(const Json& record, const std::string& where);

// Whether a record carries a comparison ("chosen" or "summaries"): tells the kind of a file.
[[nodiscard]] bool is_preference_record(const Json& record);

// The turns of an HH dialogue. Errors: it does not begin with "\n\nHuman: " or "\n\nAssistant: ".
Result<std::vector<ChatMessage>> parse_hh_dialogue(std::string_view text, const std::string& where);

// The contents of the turns that are not a system's, joined by a blank line: the prompt as reward
// models read it, alike for every format.
[[nodiscard]] std::string conversation_text(const std::vector<ChatMessage>& messages);

// Messages out of JSON. Errors: not a list of {"role", "content"}, or an empty one; `path` names
// the place ("$.chosen").
Result<std::vector<ChatMessage>> messages_of_json(const Json& json, const std::string& where,
                                                  const std::string& path);

}  // namespace candor
