#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/progress.h"
#include "base/result.h"
#include "lm/generate.h"
#include "lm/language_model.h"

namespace candor {

// The JSONL of `candor lm` (docs/formats.md).

// The prompt text of a record: "prompt" as it is, or "messages" under the model's chat template
// with the assistant's turn opened. `where` names file and line in errors.
Result<std::string> prompt_text(const LanguageModel& model, const Json& record,
                                const std::string& where);

// Errors: not a list of {"role", "content"}, or an empty one.
Result<std::vector<ChatMessage>> chat_messages(const Json& json, const std::string& where);

// max_new_tokens, temperature, top_p, top_k, seed, stream and batch of a stage's spec. Records
// errors in `spec`.
[[nodiscard]] GenerateOptions read_generate_options(JsonReader& spec);

// The optional "max_prompts" of a stage's spec: the stage reads the first so many; SIZE_MAX: all.
[[nodiscard]] size_t read_max_prompts(JsonReader& spec);

// {"text","token_ids","token_logprobs","logprob","finish_reason"}
Result<Json> generation_line(const LanguageModel& model, const Generation& generation);

// The prompts of records as tokens. Errors, naming `source` and line: as prompt_text; an empty one.
Result<std::vector<std::vector<int32_t>>> encode_prompts(const LanguageModel& model,
                                                         const std::vector<Json>& records,
                                                         const std::string& source,
                                                         const EncodeOptions& options);

struct SampleOptions {
  GenerateOptions generate;
  int64_t samples = 1;
  EncodeOptions encode;
};

// Samples every record `samples` times; one line per sample, in order of prompt and sample:
// {"prompt_index","sample","text","token_ids","token_logprobs","logprob","finish_reason"}.
Result<std::vector<Json>> sample_records(const LanguageModel& model,
                                         const std::vector<Json>& records,
                                         const std::string& source, const SampleOptions& options,
                                         const ProgressSink& progress);

}  // namespace candor
