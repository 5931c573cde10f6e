#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>

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

using Lexicon = std::map<std::string, double, std::less<>>;  // lower-case word -> valence

std::string lower_case(std::string_view text) {
  std::string out;
  for (const char c : text) {
    out += static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  }
  return out;
}

// {"word": valence, ...}
Result<Lexicon> lexicon_of_json(std::string_view bytes, const std::string& where) {
  CANDOR_TRY(const Json json, parse_json(bytes, where));
  if (!json.is_object())
    return invalid_argument(str_cat(where, ": expected an object of word to valence"));
  Lexicon lexicon;
  for (const auto& item : json.items()) {
    if (!item.value().is_number()) {
      return invalid_argument(str_cat(where, ": $.", item.key(), ": found ",
                                      item.value().dump().substr(0, 60), "; expected a number"));
    }
    if (!lexicon.emplace(lower_case(item.key()), item.value().get<double>()).second) {
      return invalid_argument(
          str_cat(where, ": $.", item.key(), ": the word is there in another case"));
    }
  }
  return lexicon;
}

// VADER's text form: a line per word, "word TAB valence", further columns unread. A word that is
// listed twice counts as last listed, as VADER reads it.
Result<Lexicon> lexicon_of_text(std::string_view bytes, const std::string& where) {
  Lexicon lexicon;
  const std::vector<std::string> lines = split(bytes, '\n');
  for (size_t i = 0; i < lines.size(); ++i) {
    if (trim(lines[i]).empty()) continue;
    const std::vector<std::string> columns = split(lines[i], '\t');
    const std::string_view number = columns.size() > 1 ? trim(columns[1]) : std::string_view();
    double valence = 0;
    const auto parsed = std::from_chars(number.data(), number.data() + number.size(), valence);
    if (parsed.ec != std::errc() || parsed.ptr != number.data() + number.size() ||
        !std::isfinite(valence)) {
      return invalid_argument(str_cat(where, ":", i + 1, ": found ", quote(lines[i]),
                                      "; expected a word, a tab and its valence"));
    }
    lexicon[lower_case(columns[0])] = valence;
  }
  return lexicon;
}

Result<Lexicon> read_lexicon(const std::filesystem::path& file) {
  CANDOR_TRY(const std::string bytes, read_file(file));
  const std::string where = file.string();
  CANDOR_TRY(Lexicon lexicon, file.extension() == ".txt" ? lexicon_of_text(bytes, where)
                                                         : lexicon_of_json(bytes, where));
  if (lexicon.empty()) return invalid_argument(str_cat(where, ": holds no word"));
  return lexicon;
}

// The mean valence of a reply's known words, mapped from [-m, m] to [0, 1], m the lexicon's largest
// magnitude; a reply with no known word, so an empty one too, gets the middle. Words are runs of
// ASCII letters, apostrophes and hyphens in any case: entries of other shapes (phrases, emoticons)
// never match.
Result<std::vector<double>> lexicon_scores(const std::filesystem::path& file,
                                           const std::vector<std::string>& texts) {
  CANDOR_TRY(const Lexicon lexicon, read_lexicon(file));
  double largest = 0;
  for (const auto& [word, valence] : lexicon) largest = std::max(largest, std::abs(valence));
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
        if (const auto found = lexicon.find(word); found != lexicon.end()) {
          sum += found->second;
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
  scores.reserve(texts.size());
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
