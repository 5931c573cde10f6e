#include "worker/reward_training.h"

#include <algorithm>
#include <iterator>

#include "base/strings.h"

namespace candor {

namespace {

void put_counts(const ExampleSplit& split, RewardTrainingResult& result) {
  result.blank_count = split.blank_count;
  result.equal_count = split.equal_count;
  result.train_pair_count = std::ranges::count(split.train, true, &Example::is_pair);
  result.train_count = static_cast<int64_t>(split.train.size()) - result.train_pair_count;
}

// Whether an example decides when training stops.
bool validates(const Example& example, const RewardTuning& tuning) {
  return tuning.early_stopping_patience > 0 &&
         is_split_off(example, tuning.seed, kValidationShare, SplitPurpose::kValidation);
}

struct Sides {
  std::vector<RewardExample> training, validation;
  int64_t too_long = 0;
};

Result<std::optional<RewardExample>> encode_example(const TrainableReward& model,
                                                    const Example& example, int64_t max_length) {
  RewardExample out{.text = {}, .rejected = {}, .label = example.label};
  CANDOR_TRY(out.text, model.encode({example.prompt, example.text}));
  if (example.is_pair) {
    CANDOR_TRY(out.rejected, model.encode({example.prompt, example.rejected}));
  }
  const auto longest = static_cast<int64_t>(std::max(out.text.size(), out.rejected.size()));
  if (longest > std::min(max_length, model.max_tokens())) return std::optional<RewardExample>();
  return std::optional(std::move(out));
}

Result<Sides> sides_of(const TrainableReward& model, const std::vector<Example>& train,
                       const RewardTuning& tuning) {
  Sides out;
  for (const Example& example : train) {
    CANDOR_TRY(std::optional<RewardExample> encoded,
               encode_example(model, example, tuning.max_length));
    if (!encoded.has_value()) {
      ++out.too_long;
      continue;
    }
    (validates(example, tuning) ? out.validation : out.training).push_back(std::move(*encoded));
  }
  const bool stops = tuning.early_stopping_patience == 0 || !out.validation.empty();
  if (!out.training.empty() && stops) return out;
  return invalid_argument(str_cat("too few examples: ", out.training.size(), " to train on and ",
                                  out.validation.size(), " to stop by (", out.too_long,
                                  " are longer than ", tuning.max_length, " tokens)"));
}

// Held-out examples that the model can read whole, and how many it cannot.
Result<int64_t> erase_too_long(const TrainableReward& model, std::vector<Example>& examples) {
  std::vector<Example> kept;
  const size_t before = examples.size();
  for (Example& example : examples) {
    CANDOR_TRY(const std::optional<RewardExample> encoded,
               encode_example(model, example, model.max_tokens()));
    if (encoded.has_value()) kept.push_back(std::move(example));
  }
  examples = std::move(kept);
  if (examples.empty()) {
    return invalid_argument(str_cat("every held-out example is longer than the ",
                                    model.max_tokens(), " tokens that the reward model reads"));
  }
  return static_cast<int64_t>(before - examples.size());
}

}  // namespace

Result<RewardTrainingResult> train_reward(const TextEncoder& encoder, RewardData data,
                                          std::optional<RewardData> evaluation,
                                          const RewardTraining& training,
                                          const ProgressSink& progress) {
  CANDOR_TRY(const ExampleSplit split,
             split_examples(std::move(data), std::move(evaluation), training.examples));
  const int64_t width = reward_feature_count(training.layout, encoder.width());
  CANDOR_TRY(const std::vector<float> train_rows,
             reward_features(encoder, training.layout, rows_of(split.train).texts, progress));
  CANDOR_TRY(const std::vector<float> held_out_rows,
             reward_features(encoder, training.layout, rows_of(split.held_out).texts, progress));
  RewardTrainingResult result;
  put_counts(split, result);
  CANDOR_TRY(RewardHead head, fit_head(split.train, train_rows, width, training.l2));
  head.layout = training.layout;
  CANDOR_TRY(const std::vector<double> by_length, length_logits(split.train, split.held_out));
  result.judged = judge_examples(
      split.held_out, {.reward = head_logits(head, held_out_rows), .by_length = by_length});
  result.head = std::move(head);
  return result;
}

namespace {

Result<RewardTrainingResult> tune_and_judge(const TrainableReward& model, ExampleSplit split,
                                            const RewardTuningJob& job,
                                            const ProgressSink& progress) {
  RewardTrainingResult result;
  put_counts(split, result);
  CANDOR_TRY(const Sides sides, sides_of(model, split.train, job.tuning));
  CANDOR_TRY(const int64_t held_out_too_long, erase_too_long(model, split.held_out));
  CANDOR_TRY(RewardTuningResult tuned, tune_reward(model, job.tuning, sides.training,
                                                   sides.validation, progress, job.checkpoints));
  result.tuning = std::move(tuned.summary);
  result.tuning["validation_examples"] = sides.validation.size();
  result.tuning["too_long"] = sides.too_long;
  result.tuning["held_out_too_long"] = held_out_too_long;
  result.log = std::move(tuned.log);
  CANDOR_TRY(const std::vector<double> by_length, length_logits(split.train, split.held_out));
  CANDOR_TRY(const std::vector<double> logits,
             model.score(rows_of(split.held_out).texts, progress));
  result.judged = judge_examples(split.held_out, {.reward = logits, .by_length = by_length});
  return result;
}

}  // namespace

Result<RewardTrainingResult> tune_reward_model(const TrainableReward& model, RewardData data,
                                               std::optional<RewardData> evaluation,
                                               const RewardTuningJob& job,
                                               const ProgressSink& progress) {
  CANDOR_TRY(ExampleSplit split,
             split_examples(std::move(data), std::move(evaluation), job.examples));
  return tune_and_judge(model, std::move(split), job, progress);
}

Result<TunedEncoder> tune_encoder_reward(RewardData data, std::optional<RewardData> evaluation,
                                         const EncoderTuningJob& job,
                                         const ProgressSink& progress) {
  const RewardTuning& tuning = job.tuning.tuning;
  CANDOR_TRY(ExampleSplit split,
             split_examples(std::move(data), std::move(evaluation), job.tuning.examples));
  std::vector<Example> learnt;
  std::ranges::copy_if(split.train, std::back_inserter(learnt),
                       [&](const Example& example) { return !validates(example, tuning); });
  CANDOR_TRY(const TextEncoder frozen, TextEncoder::load(job.folder, job.options.threads));
  CANDOR_TRY(const std::vector<float> rows,
             reward_features(frozen, RewardLayout::kCompletion, rows_of(learnt).texts, progress));
  CANDOR_TRY(const RewardHead head, fit_head(learnt, rows, frozen.width(), job.l2));
  CANDOR_TRY(EncoderReward model, EncoderReward::start(job.folder, head, job.options));
  CANDOR_TRY(RewardTrainingResult result,
             tune_and_judge(model, std::move(split), job.tuning, progress));
  return TunedEncoder{std::move(model), std::move(result)};
}

Result<RewardTrainingResult> judge_reward(const RewardScorer& scorer, RewardData data,
                                          const ProgressSink& progress) {
  RewardTrainingResult result;
  result.blank_count = erase_blank(data);
  result.equal_count = data.equal_count;
  const std::vector<Example> examples = examples_of(std::move(data), {.balance = false});
  if (examples.empty()) return invalid_argument("there is no example to judge the reward on");
  CANDOR_TRY(const std::vector<double> logits, scorer(rows_of(examples).texts, progress));
  // The best that length can do here, fitted on these very examples: an upper baseline.
  CANDOR_TRY(const std::vector<double> by_length, length_logits(examples, examples));
  result.judged = judge_examples(examples, {.reward = logits, .by_length = by_length});
  return result;
}

}  // namespace candor
