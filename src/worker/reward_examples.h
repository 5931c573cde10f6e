#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/fields.h"
#include "base/result.h"
#include "formats/preferences.h"
#include "lm/reward_features.h"
#include "lm/reward_head.h"

namespace candor {

// Which examples a reward model learns from, and which it is judged by.
struct ExampleChoice {
  int64_t max_texts = 0;        // labelled texts, and pairs: at most so many of either; 0: all
  bool balance = true;          // as many labelled texts of either class
  double held_out_share = 0.2;  // split by prompt, else by text: neither straddles it
  uint64_t seed = 1;

  static constexpr auto fields() {
    using S = ExampleChoice;
    return std::tuple(field(&S::max_texts, {.name = "max_texts", .range = {0, kLargestCount}}),
                      field(&S::balance, {.name = "balance"}),
                      field(&S::held_out_share, {.name = "held_out_share", .range = {0.01, 0.9}}),
                      field(&S::seed, {.name = "seed", .of_run = true}));
  }
};
static_assert(lists_every_member<ExampleChoice>());

// A labelled text, or a pair with `text` the chosen one.
struct Example {
  std::string prompt, text, rejected, source;
  int label = 1;
  bool is_pair = false;
  // Examples of one prompt stay together; without a prompt, equal texts do.
  [[nodiscard]] const std::string& split_text() const { return prompt.empty() ? text : prompt; }
};

// A blank text has nothing to learn from; real data sets hold some. Returns how many are left out.
int64_t erase_blank(RewardData& data);
// At most max_texts labelled texts and pairs, in an order keyed by seed and text.
[[nodiscard]] std::vector<Example> examples_of(RewardData data, const ExampleChoice& choice);
// Whether an example is on the smaller side of a split: keyed by seed, purpose and split_text, so
// every example of one prompt is on one side. Splits of different purposes are independent.
enum class SplitPurpose : uint32_t { kHeldOut = 1, kValidation = 3 };
[[nodiscard]] bool is_split_off(const Example& example, uint64_t seed, double share,
                                SplitPurpose purpose);

// Train, held out. With `evaluation` that is what is held out, and all of `data` is trained on.
// Errors: a side that is empty.
struct ExampleSplit {
  std::vector<Example> train, held_out;
  int64_t blank_count = 0;
  int64_t equal_count = 0;
};
Result<ExampleSplit> split_examples(RewardData data, std::optional<RewardData> evaluation,
                                    const ExampleChoice& choice);

// The texts of examples in a row: of a pair both.
struct TextRows {
  std::vector<PromptedText> texts;
  std::vector<size_t> first;  // of an example; a pair's rejected text is the next
};
[[nodiscard]] TextRows rows_of(const std::vector<Example>& examples);

// Held-out pairs. Each is shown to the judge in one of two keyed orders, so that calibration and
// AUC mean what they do for labels; `accuracy` is the share of pairs whose chosen text wins.
struct PairJudgement {
  Judgement judgement;
  std::optional<double> reward_auc;  // chosen against rejected texts, whatever their prompt
  double longer_wins = 0;            // share of pairs whose chosen text has more words; ties half
  double margin_mean = 0,
         margin_sd = 0;  // of reward(chosen) - reward(rejected), before the sigmoid
  double margin_p10 = 0, margin_p50 = 0, margin_p90 = 0;
};

// One side of the evaluation: all held-out examples of a kind, or those of one source.
struct SourceJudgement {
  std::string kind;  // "labelled" or "pairs"
  Judgement model;
  Judgement length_baseline;
};

// How good a reward is on held-out examples, beside one that sees lengths only.
struct HeldOutJudgement {
  Judgement held_out;         // of labelled texts; of pairs where there are pairs alone
  Judgement length_baseline;  // two features: log characters, log words
  std::vector<CalibrationBin> calibration;
  std::optional<PairJudgement> pairs;
  std::optional<Judgement> pair_length_baseline;
  std::map<std::string, SourceJudgement> by_source;
};
// `logits`: of the rows of rows_of(examples) what the reward says, and what a head on lengths does.
struct RowLogits {
  std::span<const double> reward;
  std::span<const double> by_length;
};
// REQUIRES: an example.
[[nodiscard]] HeldOutJudgement judge_examples(const std::vector<Example>& examples,
                                              const RowLogits& logits);

// Features of one text's length, on a scale of about one: log characters, log words.
inline constexpr int64_t kLengthWidth = 2;
[[nodiscard]] std::array<float, kLengthWidth> length_features(const std::string& text);

// The head that minimises the loss of the examples on `rows` [texts, width]: train_reward_head on
// texts and on differences. Trained on pairs alone, its mean logit over the rows is 0.
Result<RewardHead> fit_head(const std::vector<Example>& examples, std::span<const float> rows,
                            int64_t width, double l2);
// The logits of a head fitted on the lengths of `train`, of the texts of `judged`.
// Errors: one class only.
Result<std::vector<double>> length_logits(const std::vector<Example>& train,
                                          const std::vector<Example>& judged);
[[nodiscard]] std::vector<double> head_logits(const RewardHead& head, std::span<const float> rows);

}  // namespace candor
