#include <algorithm>
#include <cmath>

#include "base/file.h"
#include "base/strings.h"
#include "formats/npy.h"
#include "formats/records.h"
#include "worker/reward_training.h"
#include "worker/stage.h"

namespace candor {

namespace {

int64_t word_count(std::string_view text) {
  int64_t words = 0;
  bool inside = false;
  for (const char c : text) {
    const bool space = c == ' ' || c == '\n' || c == '\t' || c == '\r';
    words += !space && !inside ? 1 : 0;
    inside = !space;
  }
  return words;
}

// The mean valence of a reply's known words, mapped from the lexicon's range to [0, 1]; a reply
// with no known word gets the middle.
Result<std::vector<double>> lexicon_scores(const std::filesystem::path& file,
                                           const std::vector<std::string>& texts) {
  CANDOR_TRY(const Json lexicon, read_json_file(file.string()));
  if (!lexicon.is_object() || lexicon.empty()) {
    return invalid_argument(str_cat(file.string(), ": expected an object of word to valence"));
  }
  double largest = 0;
  for (const auto& item : lexicon.items()) {
    if (!item.value().is_number()) {
      return invalid_argument(str_cat(file.string(), ": $.", item.key(), ": expected a number"));
    }
    largest = std::max(largest, std::abs(item.value().get<double>()));
  }
  if (!(largest > 0)) return invalid_argument(str_cat(file.string(), ": every valence is 0"));
  std::vector<double> scores;
  for (const std::string& text : texts) {
    double sum = 0;
    int known = 0;
    std::string word;
    for (size_t i = 0; i <= text.size(); ++i) {
      const char c = i < text.size() ? text[i] : ' ';
      const bool part = std::isalpha(static_cast<unsigned char>(c)) != 0 || c == '\'' || c == '-';
      if (part) word += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      if (!part && !word.empty()) {
        if (lexicon.contains(word)) {
          sum += lexicon[word].get<double>();
          ++known;
        }
        word.clear();
      }
    }
    scores.push_back(known == 0 ? 0.5 : 0.5 + 0.5 * sum / (known * largest));
  }
  return scores;
}

Result<std::vector<double>> head_scores(const StageRequest& request, JsonReader& reward,
                                        int threads, const std::vector<std::string>& texts,
                                        const ProgressSink& progress) {
  (void)reward.text("encoder_digest");
  (void)reward.text("head_digest");
  const bool positive_is_good = reward.boolean("positive_is_good");
  CANDOR_RETURN_IF_ERROR(reward.status());
  CANDOR_TRY(const std::filesystem::path encoder_path, request.path("encoder"));
  CANDOR_TRY(const std::filesystem::path head_path, request.path("head"));
  CANDOR_TRY(const TextEncoder encoder, TextEncoder::load(encoder_path, threads));
  CANDOR_TRY(const RewardHead head, load_reward_head(head_path, encoder.width()));
  CANDOR_TRY(const std::vector<float> embeddings, encoder.embed(texts, progress));
  std::vector<double> scores;
  const auto width = static_cast<size_t>(encoder.width());
  for (size_t i = 0; i < texts.size(); ++i) {
    const double p = head.probability(std::span(embeddings).subspan(i * width, width));
    scores.push_back(positive_is_good ? p : 1 - p);
  }
  return scores;
}

// 1 / (1 + words / scale): 1 for an empty reply, one half at `scale` words.
std::vector<double> brevity_scores(double scale_words, const std::vector<std::string>& texts) {
  std::vector<double> scores;
  for (const std::string& text : texts) {
    scores.push_back(1 / (1 + static_cast<double>(word_count(text)) / scale_words));
  }
  return scores;
}

Result<std::vector<double>> scores_of(const StageRequest& request, JsonReader& reward, int threads,
                                      const std::vector<std::string>& texts,
                                      const ProgressSink& progress) {
  static const std::vector<std::string> kKinds = {"head", "brevity", "lexicon"};
  const std::string kind = reward.choice("kind", kKinds);
  CANDOR_RETURN_IF_ERROR(reward.status());
  if (kind == "head") return head_scores(request, reward, threads, texts, progress);
  if (kind == "brevity") {
    const double scale = reward.number("scale_words", 1e-3, 1e9);
    CANDOR_RETURN_IF_ERROR(reward.status());
    return brevity_scores(scale, texts);
  }
  (void)reward.text("digest");
  CANDOR_TRY(const std::filesystem::path lexicon, request.path("lexicon"));
  return lexicon_scores(lexicon, texts);
}

}  // namespace

Status run_score_stage(const StageRequest& request, const ProgressSink& progress) {
  JsonReader spec(request.spec, request.source, "$.spec");
  (void)spec.text("bank_digest");
  const auto threads = static_cast<int>(spec.integer("threads", 1, 1024));
  JsonReader reward = spec.object("reward");
  CANDOR_RETURN_IF_ERROR(spec.status());
  CANDOR_TRY(const std::filesystem::path bank_path, request.path("bank"));
  CANDOR_TRY(const std::vector<Json> bank, read_jsonl(bank_path));
  std::vector<std::string> texts;
  for (size_t i = 0; i < bank.size(); ++i) {
    JsonReader line(bank[i], str_cat(bank_path.string(), ":", i + 1));
    const Json& text = line.any("text");
    if (!text.is_string()) return line.error_at("text", "expected a text");
    texts.push_back(text.get<std::string>());
  }
  CANDOR_TRY(const std::vector<double> scores,
             scores_of(request, reward, threads, texts, progress));
  CANDOR_RETURN_IF_ERROR(reward.finish());
  CANDOR_RETURN_IF_ERROR(spec.finish());
  for (size_t i = 0; i < scores.size(); ++i) {
    if (!std::isfinite(scores[i])) {
      return invalid_argument(str_cat(bank_path.string(), ":", i + 1, ": the reward returned ",
                                      scores[i],
                                      "; a price needs a finite reward for every reply"));
    }
  }
  return write_artifact(request, "scores.npy", npy_bytes(scores));
}

}  // namespace candor
