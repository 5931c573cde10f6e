#include <algorithm>
#include <cmath>
#include <map>

#include "base/number.h"
#include "base/strings.h"
#include "formats/gzip.h"
#include "worker/reward_models.h"

// The rewards that need no model: statistics of the reply's text.
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

// 1 / (1 + words / scale): 1 for an empty reply, one half at `scale` words.
class BrevityReward final : public RewardModel {
 public:
  explicit BrevityReward(double scale_words) : scale_words_(scale_words) {}

  [[nodiscard]] Result<std::vector<double>> score(std::span<const RewardRequest> requests,
                                                  const ProgressSink& /*progress*/) const override {
    std::vector<double> scores;
    scores.reserve(requests.size());
    for (const RewardRequest& request : requests) {
      const auto words = static_cast<double>(word_count(request.completion));
      scores.push_back(1 / (1 + words / scale_words_));
    }
    return scores;
  }

 private:
  double scale_words_;
};

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
    const Result<double> valence = parse_number(number);
    if (!valence.ok()) {
      return invalid_argument(str_cat(where, ":", i + 1, ": found ", quote(lines[i]),
                                      "; expected a word, a tab and its valence"));
    }
    lexicon[lower_case(columns[0])] = *valence;
  }
  return lexicon;
}

Result<Lexicon> read_lexicon(const std::filesystem::path& file) {
  CANDOR_TRY(const std::string bytes, read_record_file(file));
  const std::string where = file.string();
  CANDOR_TRY(Lexicon lexicon, record_extension(file) == ".txt" ? lexicon_of_text(bytes, where)
                                                               : lexicon_of_json(bytes, where));
  if (lexicon.empty()) return invalid_argument(str_cat(where, ": holds no word"));
  return lexicon;
}

// The mean valence of a reply's known words, mapped from [-m, m] to [0, 1], m the lexicon's largest
// magnitude; a reply with no known word, so an empty one too, gets the middle. Words are runs of
// ASCII letters, apostrophes and hyphens in any case: entries of other shapes (phrases, emoticons)
// never match.
class LexiconReward final : public RewardModel {
 public:
  LexiconReward(Lexicon lexicon, double largest)
      : lexicon_(std::move(lexicon)), largest_(largest) {}

  [[nodiscard]] Result<std::vector<double>> score(std::span<const RewardRequest> requests,
                                                  const ProgressSink& /*progress*/) const override {
    std::vector<double> scores;
    scores.reserve(requests.size());
    for (const RewardRequest& request : requests) scores.push_back(score_of(request.completion));
    return scores;
  }

 private:
  [[nodiscard]] double score_of(const std::string& text) const {
    double sum = 0;
    int known = 0;
    std::string word;
    for (size_t i = 0; i <= text.size(); ++i) {
      const char c = i < text.size() ? text[i] : ' ';
      const bool part = std::isalpha(static_cast<unsigned char>(c)) != 0 || c == '\'' || c == '-';
      if (part) word += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      if (!part && !word.empty()) {
        if (const auto found = lexicon_.find(word); found != lexicon_.end()) {
          sum += found->second;
          ++known;
        }
        word.clear();
      }
    }
    return known == 0 ? 0.5 : 0.5 + 0.5 * sum / (known * largest_);
  }

  Lexicon lexicon_;
  double largest_;
};

}  // namespace

LoadedReward load_brevity_reward(JsonReader& spec) {
  const double scale = spec.number("scale_words", 1e-3, 1e9);
  CANDOR_RETURN_IF_ERROR(spec.status());
  return {std::make_shared<const BrevityReward>(scale)};
}

LoadedReward load_lexicon_reward(JsonReader& spec, const RewardPaths& paths) {
  (void)spec.text("digest");
  CANDOR_RETURN_IF_ERROR(spec.status());
  CANDOR_TRY(const std::filesystem::path file, paths("lexicon"));
  CANDOR_TRY(Lexicon lexicon, read_lexicon(file));
  double largest = 0;
  for (const auto& [word, valence] : lexicon) largest = std::max(largest, std::abs(valence));
  if (!(largest > 0)) return invalid_argument(str_cat(file.string(), ": every valence is 0"));
  return {std::make_shared<const LexiconReward>(std::move(lexicon), largest)};
}

}  // namespace candor
