#include "worker/rlhf_files.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "base/file.h"
#include "base/strings.h"
#include "formats/records.h"
#include "formats/tensorboard.h"
#include "worker/generation_records.h"
#include "worker/sft_files.h"

namespace candor {

namespace {

namespace fs = std::filesystem;

// The mean of a metric over the first or last steps of a run.
double mean_of(const std::vector<Json>& metrics, const std::string& name, bool last) {
  const size_t count = std::min<size_t>(metrics.size(), 5);
  double sum = 0;
  for (size_t i = 0; i < count; ++i) {
    const Json& line = metrics[last ? metrics.size() - 1 - i : i];
    sum += line.value(name, 0.0) / static_cast<double>(count);
  }
  return sum;
}

Json first_and_last(const std::vector<Json>& metrics) {
  Json out = Json::object();
  if (metrics.empty()) return out;
  for (const auto& item : metrics.back().items()) {
    const std::string& name = item.key();
    const bool wanted = name == "objective/scores" || name == "objective/kl" ||
                        name == "objective/rlhf_reward" || name == "policy/entropy_avg" ||
                        name == "completions/mean_length" || name == "judge" ||
                        name.ends_with("/mean") || name == "sampler/logprob_mean_abs";
    if (!wanted) continue;
    out[name] = {{"first", mean_of(metrics, name, false)}, {"last", mean_of(metrics, name, true)}};
  }
  return out;
}

}  // namespace

Result<std::vector<RlhfPrompt>> read_rlhf_prompts(const LanguageModel& model,
                                                  const fs::path& file) {
  CANDOR_TRY(const std::vector<Json> records, read_jsonl(file));
  if (records.empty()) return invalid_argument(str_cat(file.string(), ": holds no prompt"));
  std::vector<RlhfPrompt> prompts;
  for (size_t i = 0; i < records.size(); ++i) {
    const std::string where = str_cat(file.string(), ":", i + 1);
    RlhfPrompt prompt;
    CANDOR_TRY(const std::string text, prompt_text(model, records[i], where));
    Result<std::vector<int32_t>> ids = model.tokenizer().encode(text);
    if (!ids.ok()) return invalid_argument(str_cat(where, ": ", ids.error().message));
    if (ids->empty()) return invalid_argument(str_cat(where, ": the prompt has no token"));
    prompt.token_ids = std::move(ids).value();
    CANDOR_TRY(prompt.text, reward_prompt_text(records[i], where));
    prompts.push_back(std::move(prompt));
  }
  return prompts;
}

Result<RlhfReward> read_rlhf_reward(JsonReader& in, const std::string& default_name,
                                    const RewardPaths& paths, int threads) {
  RlhfReward reward;
  reward.name = in.text_or("name", default_name);
  reward.weight = in.number("weight", -1e12, 1e12);  // below 0: a preference reported past its own
  reward.low = in.number("low");
  reward.high = in.number("high");
  CANDOR_RETURN_IF_ERROR(in.status());
  CANDOR_TRY(RewardFunction loaded, RewardFunction::load(in, paths, threads));
  const auto function = std::make_shared<const RewardFunction>(std::move(loaded));
  reward.score =
      [function](std::span<const RlhfRewardRequest> asked) -> Result<std::vector<double>> {
    std::vector<RewardRequest> requests;
    requests.reserve(asked.size());
    for (const RlhfRewardRequest& request : asked) {
      requests.push_back({.prompt = request.prompt->text, .completion = request.reply->text});
    }
    return function->score(requests);
  };
  return reward;
}

TrainableOptions trainable_options(const RlhfSettings& settings, int threads, uint64_t seed) {
  TrainableOptions options;
  options.arithmetic = settings.bf16 ? Dtype::kBf16 : Dtype::kF32;
  options.threads = threads;
  options.gradient_checkpointing = settings.gradient_checkpointing;
  options.seed = seed;
  if (settings.use_peft) {
    options.lora = LoraSettings{.rank = settings.lora_r,
                                .lora_alpha = settings.lora_alpha,
                                .dropout = settings.lora_dropout,
                                .target_modules = settings.lora_target_modules};
  }
  return options;
}

Json rlhf_summary_json(const RlhfSummary& summary) {
  Json rewards = Json::array();
  for (const RlhfReward& reward : summary.job->rewards) {
    rewards.push_back({{"name", reward.name},
                       {"weight", reward.weight},
                       {"low", reward.low},
                       {"high", reward.high}});
  }
  return {{"candor", "rlhf-summary/1"},
          {"settings", fields_json(summary.job->settings)},
          {"seed", summary.job->seed},
          {"prompts", summary.job->prompts.size()},
          {"rewards", rewards},
          {"judge", summary.job->judge.has_value() ? Json(summary.job->judge->name) : Json()},
          {"steps", summary.result->metrics.size()},
          {"kl_coefficient", summary.result->kl_coefficient},
          {"metrics", first_and_last(summary.result->metrics)},
          {"warnings", summary.result->warnings.size()}};
}

std::string rlhf_tensorboard(const std::vector<Json>& metrics, double start_s,
                             const std::vector<double>& wall_times_s) {
  std::string out = tensorboard_header(start_s);
  for (size_t i = 0; i < metrics.size(); ++i) {
    ScalarEvent event;
    event.step = metrics[i].value("step", static_cast<int64_t>(i) + 1);
    event.wall_time_s =
        i < wall_times_s.size() ? wall_times_s[i] : start_s + static_cast<double>(event.step);
    for (const auto& item : metrics[i].items()) {
      if (item.key() == "step" || !item.value().is_number()) continue;
      event.scalars.push_back({item.key(), item.value().get<double>()});
    }
    out += tensorboard_event(event);
  }
  return out;
}

Status write_rlhf_result(const TrainableDecoder& policy, const RlhfSummary& summary,
                         const fs::path& folder) {
  CANDOR_RETURN_IF_ERROR(write_trained(policy, {.base_model = summary.base_model}, folder));
  const std::vector<Json>& metrics = summary.result->metrics;
  CANDOR_RETURN_IF_ERROR(write_new_file(folder / "metrics.jsonl", metrics_lines(metrics)));
  CANDOR_RETURN_IF_ERROR(
      write_new_file(folder / "warnings.json", to_text(warnings_json(summary.result->warnings))));
  CANDOR_RETURN_IF_ERROR(
      write_new_file(folder / "events.out.tfevents.candor", rlhf_tensorboard(metrics, 0)));
  return write_new_file(folder / "summary.json", to_text(rlhf_summary_json(summary)));
}

}  // namespace candor
