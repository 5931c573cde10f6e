#include <algorithm>
#include <array>
#include <cmath>

#include "base/rng.h"
#include "base/strings.h"
#include "formats/records.h"
#include "formats/safetensors.h"
#include "worker/reward_training.h"
#include "worker/stage.h"

namespace candor {

namespace {

constexpr uint32_t kOrderStream = 0x6f726465;  // "orde"

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

// At most max_texts of them in a keyed order, both classes alike where `balance` is set.
std::vector<LabelledText> choose(std::vector<LabelledText> texts, const RewardTraining& training) {
  std::vector<std::pair<double, size_t>> order;
  for (size_t i = 0; i < texts.size(); ++i) {
    order.emplace_back(text_key(texts[i].text, training.seed, 0), i);
  }
  std::sort(order.begin(), order.end());
  const size_t limit =
      training.max_texts == 0 ? texts.size() : static_cast<size_t>(training.max_texts);
  std::array<size_t, 2> room = {limit, limit};
  if (training.balance) {
    const auto positives = static_cast<size_t>(std::ranges::count(texts, 1, &LabelledText::label));
    room.fill(std::min({limit / 2, positives, texts.size() - positives}));
  }
  std::vector<LabelledText> chosen;
  for (const auto& [key, i] : order) {
    size_t& left = room[static_cast<size_t>(texts[i].label)];
    if (left == 0 || chosen.size() == limit) continue;
    --left;
    chosen.push_back(std::move(texts[i]));
  }
  return chosen;
}

// Characters and words, on a scale of about one: what a judge that cannot read would go by.
std::vector<float> length_features(const std::vector<LabelledText>& texts) {
  std::vector<float> features;
  for (const LabelledText& text : texts) {
    const auto words = 1 + std::ranges::count(text.text, ' ');
    features.push_back(static_cast<float>(std::log1p(static_cast<double>(text.text.size()))));
    features.push_back(static_cast<float>(std::log1p(static_cast<double>(words))));
  }
  return features;
}

Json judgement_json(const Judgement& judgement) {
  return {{"count", judgement.count},       {"positive_share", judgement.positive_share},
          {"accuracy", judgement.accuracy}, {"auc", judgement.auc ? Json(*judgement.auc) : Json()},
          {"log_loss", judgement.log_loss}, {"calibration_error", judgement.calibration_error}};
}

std::vector<double> predict(const RewardHead& head, std::span<const float> features) {
  std::vector<double> probabilities;
  const size_t width = head.weight.size();
  for (size_t row = 0; row < features.size() / width; ++row) {
    probabilities.push_back(head.probability(features.subspan(row * width, width)));
  }
  return probabilities;
}

struct Split {
  std::vector<LabelledText> texts;
  std::vector<int> labels;
};

}  // namespace

Result<RewardTrainingResult> train_reward(const TextEncoder& encoder,
                                          std::vector<LabelledText> texts,
                                          const RewardTraining& training,
                                          const ProgressSink& progress) {
  // A blank text has nothing to learn from; real data sets hold some.
  const size_t read = texts.size();
  std::erase_if(texts, [](const LabelledText& text) { return trim(text.text).empty(); });
  const auto blank = static_cast<int64_t>(read - texts.size());
  std::array<Split, 2> split;  // train, held out
  for (LabelledText& text : choose(std::move(texts), training)) {
    Split& side = split[text_key(text.text, training.seed, 1) < training.held_out_share ? 1 : 0];
    side.labels.push_back(text.label);
    side.texts.push_back(std::move(text));
  }
  if (split[0].texts.empty() || split[1].texts.empty()) {
    return invalid_argument(str_cat("too few texts: ", split[0].texts.size(), " to train on and ",
                                    split[1].texts.size(), " held out"));
  }
  std::vector<std::string> all;
  for (const Split& side : split) {
    for (const LabelledText& text : side.texts) all.push_back(text.text);
  }
  CANDOR_TRY(const std::vector<float> embeddings, encoder.embed(all, progress));
  const size_t cut = split[0].texts.size() * static_cast<size_t>(encoder.width());
  const std::span<const float> train = std::span(embeddings).first(cut);
  const std::span<const float> held_out = std::span(embeddings).subspan(cut);
  RewardTrainingResult result;
  CANDOR_TRY(result.head,
             train_reward_head(train, split[0].labels, encoder.width(), {.l2 = training.l2}));
  CANDOR_TRY(const RewardHead by_length,
             train_reward_head(length_features(split[0].texts), split[0].labels, 2, {.l2 = 1e-6}));
  const std::vector<double> probabilities = predict(result.head, held_out);
  result.blank_count = blank;
  result.train_count = static_cast<int64_t>(split[0].texts.size());
  result.held_out = judge(probabilities, split[1].labels);
  result.length_baseline =
      judge(predict(by_length, length_features(split[1].texts)), split[1].labels);
  result.calibration = calibration_bins(probabilities, split[1].labels);
  return result;
}

Json reward_metrics_json(const RewardTrainingResult& result) {
  Json calibration = Json::array();
  for (size_t bin = 0; bin < result.calibration.size(); ++bin) {
    const CalibrationBin& entry = result.calibration[bin];
    calibration.push_back({{"bin", bin},
                           {"count", entry.count},
                           {"mean_probability", entry.mean_probability},
                           {"positive_share", entry.positive_share}});
  }
  return {{"candor", "reward-metrics/1"},
          {"train_count", result.train_count},
          {"blank_count", result.blank_count},
          {"held_out", judgement_json(result.held_out)},
          {"length_baseline", judgement_json(result.length_baseline)},
          {"calibration", std::move(calibration)}};
}

std::string reward_head_bytes(const RewardHead& head) {
  return safetensors_bytes({{"weight", head.weight}, {"bias", {head.bias}}});
}

Result<RewardHead> load_reward_head(const std::filesystem::path& file, int64_t width) {
  CANDOR_TRY(const SafeTensors tensors, SafeTensors::open(file));
  RewardHead head;
  CANDOR_TRY(head.weight, tensors.doubles("weight"));
  CANDOR_TRY(const std::vector<double> bias, tensors.doubles("bias"));
  const bool finite = std::ranges::all_of(head.weight, [](double w) { return std::isfinite(w); });
  if (static_cast<int64_t>(head.weight.size()) != width || bias.size() != 1 || !finite ||
      !std::isfinite(bias[0])) {
    return invalid_argument(
        str_cat(file.string(), ": not a finite head for an encoder of width ", width));
  }
  head.bias = bias[0];
  return head;
}

Status run_reward_stage(const StageRequest& request, const ProgressSink& progress) {
  JsonReader spec(request.spec, request.source, "$.spec");
  RewardTraining training;
  LabelledTextSource source;
  (void)spec.text("encoder_digest");
  (void)spec.text("data_digest");
  source.text_field = spec.text("text_field");
  source.label_field = spec.text("label_field");
  source.positive_values = spec.texts("positive_values");
  training.max_texts = spec.integer("max_texts", 0, INT64_MAX);
  training.balance = spec.boolean("balance");
  training.held_out_share = spec.number("held_out_share", 0.01, 0.9);
  training.seed = static_cast<uint64_t>(spec.integer("seed", 0, INT64_MAX));
  training.l2 = spec.number("l2", 1e-12, 1e6);
  const auto threads = static_cast<int>(spec.integer("threads", 1, 1024));
  CANDOR_RETURN_IF_ERROR(spec.finish());
  CANDOR_TRY(source.path, request.path("data"));
  CANDOR_TRY(const std::filesystem::path encoder_path, request.path("encoder"));
  CANDOR_TRY(std::vector<LabelledText> texts, read_labelled_texts(source));
  CANDOR_TRY(const TextEncoder encoder, TextEncoder::load(encoder_path, threads));
  CANDOR_TRY(const RewardTrainingResult result,
             train_reward(encoder, std::move(texts), training, progress));
  CANDOR_RETURN_IF_ERROR(
      write_artifact(request, "head.safetensors", reward_head_bytes(result.head)));
  return write_artifact(request, "metrics.json", to_text(reward_metrics_json(result)));
}

}  // namespace candor
