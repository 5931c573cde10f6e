#include "worker/reward_examples.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "base/rng.h"
#include "base/strings.h"

namespace candor {

namespace {

constexpr uint32_t kOrderStream = 0x6f726465;  // "orde"
constexpr double kLengthL2 = 1e-6;

// Purposes of keys; 1 and 3 are SplitPurpose's.
constexpr uint32_t kOrder = 0;
constexpr uint32_t kOrientation = 2;

// A number in [0, 1) that depends on the seed and the text alone, so equal texts share their side
// of the split and their place in the order.
double text_key(const std::string& text, uint64_t seed, uint32_t purpose) {
  uint64_t hash = 0xcbf29ce484222325;  // FNV-1a: only has to spread
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return random_uniform({.seed = seed,
                         .stream = kOrderStream,
                         .prompt = static_cast<uint32_t>(hash),
                         .sample = static_cast<uint32_t>(hash >> 32),
                         .position = purpose});
}

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
void add_labelled(std::vector<LabelledText> texts, const ExampleChoice& choice,
                  std::vector<Example>& out) {
  const size_t limit = choice.max_texts == 0 ? texts.size() : static_cast<size_t>(choice.max_texts);
  std::array<size_t, 2> room = {limit, limit};
  if (choice.balance) {
    const auto positives = static_cast<size_t>(std::ranges::count(texts, 1, &LabelledText::label));
    room.fill(std::min({limit / 2, positives, texts.size() - positives}));
  }
  size_t chosen = 0;
  for (const size_t i :
       keyed_order(texts, choice.seed, [](const LabelledText& t) { return t.text; })) {
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

void add_pairs(std::vector<PreferencePair> pairs, const ExampleChoice& choice,
               std::vector<Example>& out) {
  size_t left = choice.max_texts == 0 ? pairs.size() : static_cast<size_t>(choice.max_texts);
  for (const size_t i : keyed_order(pairs, choice.seed, [](const PreferencePair& p) {
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

int64_t word_count(const std::string& text) { return 1 + std::ranges::count(text, ' '); }

}  // namespace

int64_t erase_blank(RewardData& data) {
  const auto blank = [](const std::string& text) { return trim(text).empty(); };
  const size_t texts =
      std::erase_if(data.labelled, [&](const LabelledText& text) { return blank(text.text); });
  const size_t pairs = std::erase_if(data.pairs, [&](const PreferencePair& pair) {
    return blank(pair.chosen) || blank(pair.rejected);
  });
  return static_cast<int64_t>(texts + pairs);
}

std::vector<Example> examples_of(RewardData data, const ExampleChoice& choice) {
  std::vector<Example> examples;
  add_labelled(std::move(data.labelled), choice, examples);
  add_pairs(std::move(data.pairs), choice, examples);
  return examples;
}

bool is_split_off(const Example& example, uint64_t seed, double share, SplitPurpose purpose) {
  return text_key(example.split_text(), seed, static_cast<uint32_t>(purpose)) < share;
}

Result<ExampleSplit> split_examples(RewardData data, std::optional<RewardData> evaluation,
                                    const ExampleChoice& choice) {
  ExampleSplit out;
  out.blank_count = erase_blank(data);
  out.equal_count = data.equal_count;
  for (Example& example : examples_of(std::move(data), choice)) {
    const bool held_out =
        !evaluation.has_value() &&
        is_split_off(example, choice.seed, choice.held_out_share, SplitPurpose::kHeldOut);
    (held_out ? out.held_out : out.train).push_back(std::move(example));
  }
  if (evaluation.has_value()) {
    erase_blank(*evaluation);
    out.held_out = examples_of(std::move(*evaluation), {.balance = false, .seed = choice.seed});
  }
  if (out.train.empty() || out.held_out.empty()) {
    return invalid_argument(str_cat("too few texts: ", out.train.size(), " to train on and ",
                                    out.held_out.size(), " held out"));
  }
  return out;
}

TextRows rows_of(const std::vector<Example>& examples) {
  TextRows out;
  for (const Example& example : examples) {
    out.first.push_back(out.texts.size());
    out.texts.push_back({example.prompt, example.text});
    if (example.is_pair) out.texts.push_back({example.prompt, example.rejected});
  }
  return out;
}

std::array<float, kLengthWidth> length_features(const std::string& text) {
  return {static_cast<float>(std::log1p(static_cast<double>(text.size()))),
          static_cast<float>(std::log1p(static_cast<double>(word_count(text))))};
}

namespace {

std::vector<float> length_rows(const std::vector<Example>& examples) {
  std::vector<float> out;
  for (const PromptedText& row : rows_of(examples).texts) {
    for (const float value : length_features(row.completion)) out.push_back(value);
  }
  return out;
}

// The rows of the objective: features of a text, or chosen minus rejected.
struct ObjectiveRows {
  std::vector<float> features;
  std::vector<int> labels;
  std::vector<uint8_t> is_difference;
};
ObjectiveRows objective_rows(const std::vector<Example>& examples, std::span<const float> rows,
                             int64_t width) {
  const auto size = static_cast<size_t>(width);
  ObjectiveRows out;
  size_t row = 0;
  for (const Example& example : examples) {
    const std::span<const float> text = rows.subspan(row++ * size, size);
    const std::span<const float> other =
        example.is_pair ? rows.subspan(row++ * size, size) : std::span<const float>();
    for (size_t j = 0; j < size; ++j) {
      out.features.push_back(text[j] - (example.is_pair ? other[j] : 0.0F));
    }
    out.labels.push_back(example.label);
    out.is_difference.push_back(example.is_pair ? 1 : 0);
  }
  return out;
}

}  // namespace

std::vector<double> head_logits(const RewardHead& head, std::span<const float> rows) {
  const size_t width = head.weight.size();
  std::vector<double> out;
  for (size_t begin = 0; begin < rows.size(); begin += width) {
    out.push_back(head.logit(rows.subspan(begin, width)));
  }
  return out;
}

Result<RewardHead> fit_head(const std::vector<Example>& examples, std::span<const float> rows,
                            int64_t width, double l2) {
  const ObjectiveRows objective = objective_rows(examples, rows, width);
  CANDOR_TRY(RewardHead head, train_reward_head({.features = objective.features,
                                                 .labels = objective.labels,
                                                 .is_difference = objective.is_difference},
                                                width, {.l2 = l2}));
  if (std::ranges::any_of(examples, [](const Example& e) { return !e.is_pair; })) return head;
  double sum = 0;
  const std::vector<double> logits = head_logits(head, rows);
  for (const double logit : logits) sum += logit;
  head.bias = -sum / static_cast<double>(logits.size());
  return head;
}

Result<std::vector<double>> length_logits(const std::vector<Example>& train,
                                          const std::vector<Example>& judged) {
  CANDOR_TRY(const RewardHead head, fit_head(train, length_rows(train), kLengthWidth, kLengthL2));
  return head_logits(head, length_rows(judged));
}

namespace {

double sigmoid(double x) {
  return x >= 0 ? 1 / (1 + std::exp(-x)) : std::exp(x) / (1 + std::exp(x));
}

// What a reward says of held-out examples of one kind: labels and probabilities.
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
Verdicts verdicts(const std::vector<Example>& examples, std::span<const double> logits,
                  const Filter& wanted) {
  Verdicts out;
  size_t row = 0;
  for (const Example& example : examples) {
    const size_t first = row;
    row += example.is_pair ? 2 : 1;
    if (!wanted(example)) continue;
    const double reward = logits[first];
    if (!example.is_pair) {
      out.probabilities.push_back(sigmoid(reward));
      out.labels.push_back(example.label);
      continue;
    }
    const double other = logits[first + 1];
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

}  // namespace

// Judges both on everything that is held out, kind by kind and source by source.
HeldOutJudgement judge_examples(const std::vector<Example>& examples, const RowLogits& logits) {
  CANDOR_CHECK(!examples.empty() && logits.reward.size() == rows_of(examples).texts.size() &&
               logits.by_length.size() == logits.reward.size());
  HeldOutJudgement result;
  const auto of = [&](const auto& wanted) { return verdicts(examples, logits.reward, wanted); };
  const auto length_of = [&](const auto& wanted) {
    const Verdicts verdict = verdicts(examples, logits.by_length, wanted);
    return judge(verdict.probabilities, verdict.labels);
  };
  const auto is_pair = [](const Example& example) { return example.is_pair; };
  const auto is_text = [](const Example& example) { return !example.is_pair; };
  const bool has_pairs = std::ranges::any_of(examples, is_pair);
  const bool has_texts = std::ranges::any_of(examples, is_text);
  if (has_pairs) {
    Verdicts verdict = of(is_pair);
    result.pairs = judge_pairs(verdict);
    result.pair_length_baseline = length_of(is_pair);
  }
  const Verdicts main = has_texts ? of(is_text) : of(is_pair);
  result.held_out = judge(main.probabilities, main.labels);
  result.length_baseline = has_texts ? length_of(is_text) : length_of(is_pair);
  result.calibration = calibration_bins(main.probabilities, main.labels);
  for (const Example& example : examples) {
    if (example.source.empty() || result.by_source.contains(example.source)) continue;
    const auto same = [&](const Example& other) { return other.source == example.source; };
    const Verdicts verdict = of(same);
    result.by_source[example.source] = {.kind = example.is_pair ? "pairs" : "labelled",
                                        .model = judge(verdict.probabilities, verdict.labels),
                                        .length_baseline = length_of(same)};
  }
  return result;
}

}  // namespace candor
