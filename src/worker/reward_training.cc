#include "worker/reward_training.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/rng.h"
#include "base/strings.h"

namespace candor {

namespace {

constexpr uint32_t kOrderStream = 0x6f726465;  // "orde"
constexpr int64_t kLengthWidth = 2;
constexpr double kLengthL2 = 1e-6;

enum KeyPurpose : uint32_t { kOrder = 0, kSplit = 1, kOrientation = 2 };

// A number in [0, 1) that depends on the seed and the text alone, so equal texts share their side
// of the split and their place in the order.
double text_key(const std::string& text, uint64_t seed, KeyPurpose purpose) {
  uint64_t hash = 0xcbf29ce484222325;  // FNV-1a: only has to spread
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return random_uniform({.seed = seed,
                         .stream = kOrderStream,
                         .prompt = static_cast<uint32_t>(hash),
                         .sample = static_cast<uint32_t>(hash >> 32),
                         .position = purpose});
}

// One row of the objective: a labelled text, or a pair.
struct Example {
  std::string prompt, text, rejected, source;
  int label = 1;
  bool is_pair = false;
  // Examples of one prompt stay together; without a prompt, equal texts do.
  [[nodiscard]] const std::string& split_text() const { return prompt.empty() ? text : prompt; }
};

template <typename T, typename Text>
std::vector<size_t> keyed_order(const std::vector<T>& items, uint64_t seed, const Text& text) {
  std::vector<std::pair<double, size_t>> order;
  for (size_t i = 0; i < items.size(); ++i) {
    order.emplace_back(text_key(text(items[i]), seed, kOrder), i);
  }
  std::sort(order.begin(), order.end());
  std::vector<size_t> places;
  places.reserve(order.size());
  for (const auto& [key, place] : order) places.push_back(place);
  return places;
}

// At most max_texts of them in a keyed order, both classes alike where `balance` is set.
void add_labelled(std::vector<LabelledText> texts, const RewardTraining& training,
                  std::vector<Example>& out) {
  const size_t limit =
      training.max_texts == 0 ? texts.size() : static_cast<size_t>(training.max_texts);
  std::array<size_t, 2> room = {limit, limit};
  if (training.balance) {
    const auto positives = static_cast<size_t>(std::ranges::count(texts, 1, &LabelledText::label));
    room.fill(std::min({limit / 2, positives, texts.size() - positives}));
  }
  size_t chosen = 0;
  for (const size_t i :
       keyed_order(texts, training.seed, [](const LabelledText& t) { return t.text; })) {
    LabelledText& text = texts[i];
    size_t& left = room[static_cast<size_t>(text.label)];
    if (left == 0 || chosen == limit) continue;
    --left;
    ++chosen;
    out.push_back({.prompt = std::move(text.prompt),
                   .text = std::move(text.text),
                   .rejected = {},
                   .source = std::move(text.source),
                   .label = text.label,
                   .is_pair = false});
  }
}

void add_pairs(std::vector<PreferencePair> pairs, const RewardTraining& training,
               std::vector<Example>& out) {
  size_t left = training.max_texts == 0 ? pairs.size() : static_cast<size_t>(training.max_texts);
  for (const size_t i : keyed_order(pairs, training.seed, [](const PreferencePair& p) {
         return str_cat(p.prompt, p.chosen);
       })) {
    if (left-- == 0) break;
    PreferencePair& pair = pairs[i];
    out.push_back({.prompt = std::move(pair.prompt),
                   .text = std::move(pair.chosen),
                   .rejected = std::move(pair.rejected),
                   .source = std::move(pair.source),
                   .label = 1,
                   .is_pair = true});
  }
}

// A blank text has nothing to learn from; real data sets hold some.
int64_t erase_blank(RewardData& data) {
  const auto blank = [](const std::string& text) { return trim(text).empty(); };
  const size_t texts =
      std::erase_if(data.labelled, [&](const LabelledText& text) { return blank(text.text); });
  const size_t pairs = std::erase_if(data.pairs, [&](const PreferencePair& pair) {
    return blank(pair.chosen) || blank(pair.rejected);
  });
  return static_cast<int64_t>(texts + pairs);
}

std::vector<Example> examples_of(RewardData data, const RewardTraining& training) {
  std::vector<Example> examples;
  add_labelled(std::move(data.labelled), training, examples);
  add_pairs(std::move(data.pairs), training, examples);
  return examples;
}

int64_t word_count(const std::string& text) { return 1 + std::ranges::count(text, ' '); }

// Characters and words, on a scale of about one: what a judge that cannot read would go by.
std::array<float, kLengthWidth> length_features(const std::string& text) {
  return {static_cast<float>(std::log1p(static_cast<double>(text.size()))),
          static_cast<float>(std::log1p(static_cast<double>(word_count(text))))};
}

// Features of one side of the split: of every example its text's and, of a pair, both texts'.
struct Side {
  std::vector<Example> examples;
  std::vector<size_t> first_row;  // of an example in `texts`; a pair's rejected text is the next
  std::vector<float> texts;       // [rows, width]
  std::vector<float> lengths;     // [rows, 2]
  int64_t width = 0;

  [[nodiscard]] std::span<const float> row(const std::vector<float>& rows, size_t place,
                                           int64_t columns) const {
    const auto size = static_cast<size_t>(columns);
    return std::span(rows).subspan(place * size, size);
  }
};

std::vector<PromptedText> rows_of(const std::vector<Example>& examples,
                                  std::vector<size_t>& first_row) {
  std::vector<PromptedText> rows;
  for (const Example& example : examples) {
    first_row.push_back(rows.size());
    rows.push_back({example.prompt, example.text});
    if (example.is_pair) rows.push_back({example.prompt, example.rejected});
  }
  return rows;
}

Result<Side> features_of(const TextEncoder& encoder, RewardLayout layout,
                         std::vector<Example> examples, const ProgressSink& progress) {
  Side side;
  side.width = reward_feature_count(layout, encoder.width());
  const std::vector<PromptedText> rows = rows_of(examples, side.first_row);
  CANDOR_TRY(side.texts, reward_features(encoder, layout, rows, progress));
  for (const PromptedText& row : rows) {
    for (const float value : length_features(row.completion)) side.lengths.push_back(value);
  }
  side.examples = std::move(examples);
  return side;
}

// The rows of the objective: features of a text, or chosen minus rejected.
struct ObjectiveRows {
  std::vector<float> features;
  std::vector<int> labels;
  std::vector<uint8_t> is_difference;
};
ObjectiveRows objective_rows(const Side& side, const std::vector<float>& rows, int64_t width) {
  ObjectiveRows out;
  for (size_t i = 0; i < side.examples.size(); ++i) {
    const std::span<const float> text = side.row(rows, side.first_row[i], width);
    const bool pair = side.examples[i].is_pair;
    for (size_t j = 0; j < text.size(); ++j) {
      const float other = pair ? side.row(rows, side.first_row[i] + 1, width)[j] : 0.0F;
      out.features.push_back(text[j] - other);
    }
    out.labels.push_back(side.examples[i].label);
    out.is_difference.push_back(pair ? 1 : 0);
  }
  return out;
}

Result<RewardHead> fit(const Side& side, const std::vector<float>& rows, int64_t width, double l2) {
  const ObjectiveRows objective = objective_rows(side, rows, width);
  CANDOR_TRY(RewardHead head, train_reward_head({.features = objective.features,
                                                 .labels = objective.labels,
                                                 .is_difference = objective.is_difference},
                                                width, {.l2 = l2}));
  if (std::ranges::any_of(side.examples, [](const Example& e) { return !e.is_pair; })) return head;
  const auto size = static_cast<size_t>(width);
  double sum = 0;
  const size_t count = rows.size() / size;
  for (size_t row = 0; row < count; ++row) sum += head.logit(side.row(rows, row, width));
  head.bias = -sum / static_cast<double>(count);
  return head;
}

double sigmoid(double x) {
  return x >= 0 ? 1 / (1 + std::exp(-x)) : std::exp(x) / (1 + std::exp(x));
}

// What a head says of held-out examples of one kind: labels and probabilities.
struct Verdicts {
  std::vector<double> probabilities;
  std::vector<int> labels;
  std::vector<double> margins;     // of pairs
  std::vector<double> rewards;     // of all texts of pairs
  std::vector<int> reward_labels;  // 1: the chosen text
  double longer_wins = 0;
};

double longer_score(const Example& pair) {
  const int64_t difference = word_count(pair.text) - word_count(pair.rejected);
  return difference > 0 ? 1 : difference == 0 ? 0.5 : 0;
}

template <typename Filter>
Verdicts verdicts(const Side& side, const std::vector<float>& rows, const RewardHead& head,
                  const Filter& wanted) {
  const auto width = static_cast<int64_t>(head.weight.size());
  Verdicts out;
  for (size_t i = 0; i < side.examples.size(); ++i) {
    const Example& example = side.examples[i];
    if (!wanted(example)) continue;
    const double reward = head.logit(side.row(rows, side.first_row[i], width));
    if (!example.is_pair) {
      out.probabilities.push_back(sigmoid(reward));
      out.labels.push_back(example.label);
      continue;
    }
    const double other = head.logit(side.row(rows, side.first_row[i] + 1, width));
    const bool swapped = text_key(str_cat(example.text, example.rejected), 0, kOrientation) < 0.5;
    out.probabilities.push_back(sigmoid(swapped ? other - reward : reward - other));
    out.labels.push_back(swapped ? 0 : 1);
    out.margins.push_back(reward - other);
    out.rewards.insert(out.rewards.end(), {reward, other});
    out.reward_labels.insert(out.reward_labels.end(), {1, 0});
    out.longer_wins += longer_score(example);
  }
  return out;
}

PairJudgement judge_pairs(Verdicts& verdict) {
  PairJudgement out;
  out.judgement = judge(verdict.probabilities, verdict.labels);
  out.reward_auc = area_under_roc(verdict.rewards, verdict.reward_labels);
  std::vector<double>& margins = verdict.margins;
  const auto count = static_cast<double>(margins.size());
  out.longer_wins = verdict.longer_wins / count;
  for (const double margin : margins) out.margin_mean += margin / count;
  for (const double margin : margins) {
    out.margin_sd += (margin - out.margin_mean) * (margin - out.margin_mean) / count;
  }
  out.margin_sd = std::sqrt(out.margin_sd);
  std::sort(margins.begin(), margins.end());
  const auto quantile = [&](double share) {
    return margins[static_cast<size_t>(share * (count - 1))];
  };
  out.margin_p10 = quantile(0.1);
  out.margin_p50 = quantile(0.5);
  out.margin_p90 = quantile(0.9);
  return out;
}

// Judges both heads on everything that is held out, kind by kind and source by source.
void judge_held_out(const Side& held_out, const RewardHead& by_length,
                    RewardTrainingResult& result) {
  const auto of = [&](const auto& wanted) {
    return verdicts(held_out, held_out.texts, result.head, wanted);
  };
  const auto length_of = [&](const auto& wanted) {
    const Verdicts verdict = verdicts(held_out, held_out.lengths, by_length, wanted);
    return judge(verdict.probabilities, verdict.labels);
  };
  const auto is_pair = [](const Example& example) { return example.is_pair; };
  const auto is_text = [](const Example& example) { return !example.is_pair; };
  const bool has_pairs = std::ranges::any_of(held_out.examples, is_pair);
  const bool has_texts = std::ranges::any_of(held_out.examples, is_text);
  if (has_pairs) {
    Verdicts verdict = of(is_pair);
    result.pairs = judge_pairs(verdict);
    result.pair_length_baseline = length_of(is_pair);
  }
  const Verdicts main = has_texts ? of(is_text) : of(is_pair);
  result.held_out = judge(main.probabilities, main.labels);
  result.length_baseline = has_texts ? length_of(is_text) : length_of(is_pair);
  result.calibration = calibration_bins(main.probabilities, main.labels);
  for (const Example& example : held_out.examples) {
    if (example.source.empty() || result.by_source.contains(example.source)) continue;
    const auto same = [&](const Example& other) { return other.source == example.source; };
    const Verdicts verdict = of(same);
    result.by_source[example.source] = {.kind = example.is_pair ? "pairs" : "labelled",
                                        .model = judge(verdict.probabilities, verdict.labels),
                                        .length_baseline = length_of(same)};
  }
}

}  // namespace

Result<RewardTrainingResult> train_reward(const TextEncoder& encoder, RewardData data,
                                          std::optional<RewardData> evaluation,
                                          const RewardTraining& training,
                                          const ProgressSink& progress) {
  RewardTrainingResult result;
  result.blank_count = erase_blank(data);
  result.equal_count = data.equal_count;
  std::array<std::vector<Example>, 2> split;  // train, held out
  for (Example& example : examples_of(std::move(data), training)) {
    const bool held_out = !evaluation.has_value() && text_key(example.split_text(), training.seed,
                                                              kSplit) < training.held_out_share;
    split[held_out ? 1 : 0].push_back(std::move(example));
  }
  if (evaluation.has_value()) {
    erase_blank(*evaluation);
    split[1] = examples_of(std::move(*evaluation), {.balance = false, .seed = training.seed});
  }
  if (split[0].empty() || split[1].empty()) {
    return invalid_argument(str_cat("too few texts: ", split[0].size(), " to train on and ",
                                    split[1].size(), " held out"));
  }
  CANDOR_TRY(const Side train,
             features_of(encoder, training.layout, std::move(split[0]), progress));
  CANDOR_TRY(const Side held_out,
             features_of(encoder, training.layout, std::move(split[1]), progress));
  CANDOR_TRY(result.head, fit(train, train.texts, train.width, training.l2));
  result.head.layout = training.layout;
  CANDOR_TRY(const RewardHead by_length, fit(train, train.lengths, kLengthWidth, kLengthL2));
  result.train_pair_count = std::ranges::count(train.examples, true, &Example::is_pair);
  result.train_count = static_cast<int64_t>(train.examples.size()) - result.train_pair_count;
  judge_held_out(held_out, by_length, result);
  return result;
}

Result<RewardTrainingResult> judge_reward(const TextEncoder& encoder, const RewardHead& head,
                                          RewardData data, const ProgressSink& progress) {
  RewardTrainingResult result;
  result.head = head;
  result.blank_count = erase_blank(data);
  result.equal_count = data.equal_count;
  std::vector<Example> examples = examples_of(std::move(data), {.balance = false});
  if (examples.empty()) return invalid_argument("there is no example to judge the reward on");
  CANDOR_TRY(const Side side, features_of(encoder, head.layout, std::move(examples), progress));
  // The best that length can do here, fitted on these very examples: an upper baseline.
  CANDOR_TRY(const RewardHead by_length, fit(side, side.lengths, kLengthWidth, kLengthL2));
  judge_held_out(side, by_length, result);
  return result;
}

}  // namespace candor
