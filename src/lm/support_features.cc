#include "lm/support_features.h"

#include <algorithm>
#include <set>
#include <span>
#include <utility>

#include "base/strings.h"

namespace candor {

namespace {

bool is_word_byte(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return (byte >= '0' && byte <= '9') || (byte >= 'A' && byte <= 'Z') ||
         (byte >= 'a' && byte <= 'z') || byte >= 0x80;
}
bool is_upper(char c) { return c >= 'A' && c <= 'Z'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
char lower(char c) { return is_upper(c) ? static_cast<char>(c - 'A' + 'a') : c; }

struct Word {
  std::string text;  // lower case, without a plural s
  bool capital = false;
  bool digit = false;
  bool first = false;  // of a sentence
};

Word word_of(std::string_view text, bool first) {
  Word word;
  word.capital = is_upper(text[0]);
  word.digit = std::ranges::any_of(text, is_digit);
  word.first = first;
  for (const char c : text) word.text += lower(c);
  if (word.text.size() > 3 && word.text.back() == 's') word.text.pop_back();
  return word;
}

std::vector<Word> words_of(std::string_view text) {
  std::vector<Word> words;
  bool first = true;
  for (size_t i = 0; i < text.size();) {
    if (!is_word_byte(text[i])) {
      first = first || text[i] == '.' || text[i] == '!' || text[i] == '?' || text[i] == '\n';
      ++i;
      continue;
    }
    size_t end = i;
    while (end < text.size() && is_word_byte(text[end])) ++end;
    const std::string_view run = text.substr(i, end - i);
    if (run != "s") words.push_back(word_of(run, first));  // a possessive's rest
    first = false;
    i = end;
  }
  return words;
}

bool is_content(const Word& word) {
  static const std::set<std::string, std::less<>> kFunction = {
      "about", "after", "also",    "been",  "before", "between", "could",  "during", "from",
      "have",  "into",  "more",    "most",  "other",  "over",    "said",   "says",   "should",
      "some",  "than",  "that",    "their", "them",   "then",    "there",  "these",  "they",
      "thi",   "those", "through", "until", "were",   "what",    "when",   "where",  "which",
      "while", "will",  "with",    "would", "your",   "being",   "because"};
  return word.digit || (word.text.size() >= 4 && !kFunction.contains(word.text));
}

float share(size_t part, size_t whole) {
  return whole == 0 ? 1.0F : static_cast<float>(part) / static_cast<float>(whole);
}

// The longest run of reply words that the prompt has too, and where it begins there.
struct Run {
  size_t length = 0;
  size_t prompt_begin = 0;
};
Run longest_run(const std::vector<Word>& prompt, const std::vector<Word>& reply) {
  Run best;
  std::vector<size_t> previous(prompt.size() + 1, 0);
  std::vector<size_t> current(prompt.size() + 1, 0);
  for (const Word& word : reply) {
    for (size_t j = 0; j < prompt.size(); ++j) {
      current[j + 1] = word.text == prompt[j].text ? previous[j] + 1 : 0;
      if (current[j + 1] > best.length) best = {current[j + 1], j + 1 - current[j + 1]};
    }
    std::swap(previous, current);
  }
  return best;
}

bool is_whole(std::string_view text) {
  const std::string_view body = trim(text);
  if (body.empty()) return false;
  const char first = body.front();
  const char last = body.back();
  return (is_upper(first) || is_digit(first) || first == '"' || first == '\'') &&
         (last == '.' || last == '!' || last == '?' || last == '"' || last == '\'');
}

// Counts the words of one kind, and those of them that the prompt has.
template <typename Kind>
float supported_share(const std::vector<Word>& reply, const std::set<std::string>& known,
                      const Kind& kind) {
  size_t all = 0;
  size_t supported = 0;
  for (const Word& word : reply) {
    if (!kind(word)) continue;
    ++all;
    supported += known.contains(word.text) ? 1 : 0;
  }
  return share(supported, all);
}

float bigram_share(const std::vector<Word>& prompt, const std::vector<Word>& reply) {
  std::set<std::pair<std::string, std::string>> known;
  for (size_t i = 1; i < prompt.size(); ++i) known.emplace(prompt[i - 1].text, prompt[i].text);
  size_t supported = 0;
  for (size_t i = 1; i < reply.size(); ++i) {
    supported += known.contains({reply[i - 1].text, reply[i].text}) ? 1 : 0;
  }
  return share(supported, reply.empty() ? 0 : reply.size() - 1);
}

}  // namespace

std::array<float, kSupportFeatures> support_features(std::string_view prompt,
                                                     std::string_view completion) {
  const std::vector<Word> source = words_of(prompt);
  const std::vector<Word> reply = words_of(completion);
  std::set<std::string> known;
  for (const Word& word : source) known.insert(word.text);
  std::array<float, kSupportFeatures> out{};
  const auto set = [&](SupportFeature feature, float value) {
    out[static_cast<size_t>(feature)] = value;
  };
  set(SupportFeature::kContentShare, supported_share(reply, known, is_content));
  set(SupportFeature::kBigramShare, bigram_share(source, reply));
  set(SupportFeature::kNameShare,
      supported_share(reply, known, [](const Word& word) { return word.capital && !word.first; }));
  set(SupportFeature::kNumberShare,
      supported_share(reply, known, [](const Word& word) { return word.digit; }));
  const Run run = longest_run(source, reply);
  const float copied = reply.empty() ? 0 : share(run.length, reply.size());
  set(SupportFeature::kCopiedRun, copied);
  set(SupportFeature::kCopiedFromStart, 5 * run.prompt_begin < source.size() ? copied : 0);
  set(SupportFeature::kWhole, is_whole(completion) ? 1.0F : 0.0F);
  const auto content = static_cast<size_t>(std::ranges::count_if(reply, is_content));
  set(SupportFeature::kContentDensity, reply.empty() ? 0 : share(content, reply.size()));
  return out;
}

std::vector<std::string> sentences_of(std::string_view text) {
  std::vector<std::string> sentences;
  size_t begin = 0;
  const auto add = [&](size_t end) {
    if (const std::string_view body = trim(text.substr(begin, end - begin)); !body.empty()) {
      sentences.emplace_back(body);
    }
    begin = end;
  };
  for (size_t i = 0; i + 1 < text.size(); ++i) {
    const bool stop = text[i] == '.' || text[i] == '!' || text[i] == '?';
    const char next = text[i + 1];
    if (text[i] == '\n' || (stop && (next == ' ' || next == '\n' || next == '\t'))) add(i + 1);
  }
  add(text.size());
  return sentences;
}

std::vector<std::string> chunks_of(std::string_view text, size_t min_words, size_t max_chunks) {
  std::vector<std::string> chunks;
  size_t words = min_words;  // of the last chunk: full, so that the first sentence opens one
  for (const std::string& sentence : sentences_of(text)) {
    const auto count = 1 + static_cast<size_t>(std::ranges::count(sentence, ' '));
    if (words >= min_words) {
      if (chunks.size() == max_chunks) return chunks;
      chunks.push_back(sentence);
      words = count;
    } else {
      chunks.back() += " " + sentence;
      words += count;
    }
  }
  if (chunks.empty()) chunks.emplace_back();
  return chunks;
}

}  // namespace candor
