#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "apps/command.h"
#include "lm/language_model.h"
#include "worker/generation_records.h"

namespace candor {

// What the commands under `candor lm` have in common: JSONL in, models, new folders out.

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

// JSONL of a file, or of standard input for "-".
Result<Input> read_input(const std::string& source);
// "FILE:LINE" of a record, for errors.
[[nodiscard]] std::string place(const Input& input, size_t record);
[[nodiscard]] EncodeOptions encode_options(const LmOptions& own);

// FOLDER or FOLDER=WEIGHT.
Result<std::vector<AdapterChoice>> parse_adapters(const std::vector<std::string>& texts);
Result<LanguageModel> load_model(const LmOptions& own, const CommonOptions& options);
Result<std::string> text_field(const Json& record, const char* key, const std::string& where);
void print_lines(const std::vector<Json>& lines);

// The absolute path of a folder that does not exist yet or is empty.
Result<std::filesystem::path> new_folder(const std::string& name);
// What `write` puts into the folder appears together, by one rename.
Status write_folder(const std::filesystem::path& output,
                    const std::function<Status(const std::filesystem::path&)>& write);

// LibTorch's exceptions end here for commands, as they do in run_stage for stages.
CommandResult guarded(const char* name, const std::function<CommandResult()>& run);

void add_model_options(CLI::App* command, LmOptions& own);
void add_adapter_option(CLI::App* command, LmOptions& own);

}  // namespace candor
