#include "worker/generation_records.h"

#include "base/strings.h"
#include "formats/preferences.h"
#include "formats/prompt_encoder.h"

namespace candor {

Result<std::string> prompt_text(const LanguageModel& model, const Json& record,
                                const std::string& where) {
  return prompt_text(model.chat_template(), record, where);
}

Result<std::vector<ChatMessage>> chat_messages(const Json& json, const std::string& where) {
  return messages_of_json(json, where, "$.messages");
}

GenerateOptions read_generate_options(JsonReader& spec) {
  GenerateOptions out;
  out.max_new_tokens = spec.integer("max_new_tokens", 1, 1 << 20);
  out.temperature = spec.number("temperature", 0.0, 100.0);
  out.top_p = spec.number("top_p", 1e-6, 1.0);
  out.top_k = spec.integer("top_k", 0, 1 << 24);
  out.seed = static_cast<uint64_t>(spec.integer("seed", 0, INT64_MAX));
  out.stream = static_cast<uint32_t>(spec.integer("stream", 0, UINT32_MAX));
  out.batch = spec.integer("batch", 1, 4096);
  return out;
}

size_t read_max_prompts(JsonReader& spec) {
  if (!spec.has("max_prompts")) return SIZE_MAX;
  return static_cast<size_t>(spec.integer("max_prompts", 1, INT64_MAX));
}

Result<Json> generation_line(const LanguageModel& model, const Generation& generation) {
  CANDOR_TRY(const std::string text, model.tokenizer().decode(generation.token_ids));
  return Json{
      {"text", text},
      {"token_ids", generation.token_ids},
      {"token_logprobs", generation.token_logprobs},
      {"logprob", generation.logprob},
      {"finish_reason", generation.finish_reason == FinishReason::kStop ? "stop" : "length"}};
}

Result<std::vector<std::vector<int32_t>>> encode_prompts(const LanguageModel& model,
                                                         const std::vector<Json>& records,
                                                         const std::string& source,
                                                         const EncodeOptions& options) {
  std::vector<std::vector<int32_t>> out;
  for (size_t i = 0; i < records.size(); ++i) {
    const std::string where = str_cat(source, ":", i + 1);
    CANDOR_TRY(const std::string text, prompt_text(model, records[i], where));
    Result<std::vector<int32_t>> ids = model.tokenizer().encode(text, options);
    if (!ids.ok()) return invalid_argument(str_cat(where, ": ", ids.error().message));
    if (ids->empty()) {
      return invalid_argument(str_cat(where, ": the prompt is empty; it needs at least one token"));
    }
    out.push_back(std::move(ids).value());
  }
  return out;
}

Result<std::vector<Json>> sample_records(const LanguageModel& model,
                                         const std::vector<Json>& records,
                                         const std::string& source, const SampleOptions& options,
                                         const ProgressSink& progress) {
  CANDOR_TRY(const auto prompts, encode_prompts(model, records, source, options.encode));
  std::vector<GenerateRequest> requests;
  for (size_t i = 0; i < prompts.size(); ++i) {
    for (int64_t sample = 0; sample < options.samples; ++sample) {
      requests.push_back({prompts[i], static_cast<uint32_t>(i), static_cast<uint32_t>(sample)});
    }
  }
  CANDOR_TRY(const std::vector<Generation> generations,
             generate(model, requests, options.generate, progress));
  std::vector<Json> lines;
  for (size_t r = 0; r < requests.size(); ++r) {
    CANDOR_TRY(Json line, generation_line(model, generations[r]));
    line["prompt_index"] = requests[r].prompt_index;
    line["sample"] = requests[r].sample;
    lines.push_back(std::move(line));
  }
  return lines;
}

}  // namespace candor
