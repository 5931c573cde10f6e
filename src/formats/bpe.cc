#include "formats/bpe.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <queue>

#include "base/strings.h"
#include "formats/unicode.h"

namespace candor {

namespace {

uint64_t pair_key(int32_t left, int32_t right) {
  return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
}

std::string byte_token(unsigned char byte) {
  std::array<char, 8> text{};
  std::snprintf(text.data(), text.size(), "<0x%02X>", byte);
  return text.data();
}

}  // namespace

Result<Bpe> Bpe::from_merges(std::unordered_map<std::string, int32_t> vocabulary,
                             const std::vector<std::pair<std::string, std::string>>& merges,
                             const Options& options) {
  Bpe bpe;
  bpe.options_ = options;
  bpe.vocabulary_ = std::move(vocabulary);
  bpe.merges_.reserve(merges.size());
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const auto& [left, right] = merges[rank];
    const auto left_id = bpe.vocabulary_.find(left);
    const auto right_id = bpe.vocabulary_.find(right);
    const auto joined = bpe.vocabulary_.find(left + right);
    const auto end = bpe.vocabulary_.end();
    if (left_id == end || right_id == end || joined == end) {
      return invalid_argument(str_cat("merge ", rank, " (", quote(left), " ", quote(right),
                                      ") uses a token outside the vocabulary"));
    }
    bpe.merges_.emplace(pair_key(left_id->second, right_id->second),
                        Joined{static_cast<double>(rank), joined->second});
  }
  return bpe;
}

Bpe Bpe::from_scores(std::unordered_map<std::string, int32_t> vocabulary, std::vector<float> scores,
                     const Options& options) {
  Bpe bpe;
  bpe.options_ = options;
  bpe.tokens_.resize(scores.size());
  for (const auto& [token, id] : vocabulary) bpe.tokens_[static_cast<size_t>(id)] = token;
  bpe.vocabulary_ = std::move(vocabulary);
  bpe.scores_ = std::move(scores);
  return bpe;
}

bool Bpe::find_join(int32_t left, int32_t right, Joined& joined) const {
  if (left < 0 || right < 0) return false;
  if (scores_.empty()) {
    const auto found = merges_.find(pair_key(left, right));
    if (found == merges_.end()) return false;
    joined = found->second;
    return true;
  }
  const auto found =
      vocabulary_.find(tokens_[static_cast<size_t>(left)] + tokens_[static_cast<size_t>(right)]);
  if (found == vocabulary_.end()) return false;
  joined = {-double{scores_[static_cast<size_t>(found->second)]}, found->second};
  return true;
}

void Bpe::first_symbols(std::string_view piece, std::vector<int32_t>& symbols) const {
  bool last_unknown = false;
  for (const char32_t point : code_points(piece)) {
    std::string character;
    append_utf8(character, point);
    if (const auto found = vocabulary_.find(character); found != vocabulary_.end()) {
      symbols.push_back(found->second);
      last_unknown = false;
      continue;
    }
    std::vector<int32_t> bytes;
    for (const char byte : character) {
      const auto found = vocabulary_.find(byte_token(static_cast<unsigned char>(byte)));
      if (options_.byte_fallback && found != vocabulary_.end()) bytes.push_back(found->second);
    }
    if (bytes.size() == character.size()) {
      symbols.insert(symbols.end(), bytes.begin(), bytes.end());
      last_unknown = false;
      continue;
    }
    if (options_.unknown_id < 0) continue;
    if (!(options_.fuse_unknown && last_unknown)) symbols.push_back(options_.unknown_id);
    last_unknown = true;
  }
}

void Bpe::encode(std::string_view piece, std::vector<int32_t>& ids) const {
  if (options_.ignore_merges) {
    if (const auto found = vocabulary_.find(std::string(piece)); found != vocabulary_.end()) {
      ids.push_back(found->second);
      return;
    }
  }
  std::vector<int32_t> symbols;
  first_symbols(piece, symbols);
  merge(symbols);
  ids.insert(ids.end(), symbols.begin(), symbols.end());
}

// A linked list of symbols and a queue of the pairs that may join; entries of the queue go stale
// when one of their symbols changes.
void Bpe::merge(std::vector<int32_t>& symbols) const {
  struct Candidate {
    Joined joined;
    size_t left;
    size_t right;
    int32_t left_id;  // as they were: a candidate whose symbols have changed since is stale
    int32_t right_id;
    bool operator<(const Candidate& other) const {  // the queue's top is the largest
      if (joined.priority != other.joined.priority) return joined.priority > other.joined.priority;
      return left > other.left;
    }
  };
  const size_t none = symbols.size();
  std::vector<size_t> next(symbols.size());
  std::vector<size_t> previous(symbols.size());
  for (size_t i = 0; i < symbols.size(); ++i) {
    next[i] = i + 1;
    previous[i] = i == 0 ? none : i - 1;
  }
  std::priority_queue<Candidate> queue;
  const auto offer = [&](size_t left, size_t right) {
    Joined joined;
    if (left == none || right == none || !find_join(symbols[left], symbols[right], joined)) return;
    queue.push({joined, left, right, symbols[left], symbols[right]});
  };
  for (size_t i = 0; i + 1 < symbols.size(); ++i) offer(i, i + 1);
  while (!queue.empty()) {
    const Candidate best = queue.top();
    queue.pop();
    if (symbols[best.left] != best.left_id || symbols[best.right] != best.right_id ||
        next[best.left] != best.right) {
      continue;
    }
    symbols[best.left] = best.joined.id;
    symbols[best.right] = -2;  // gone
    next[best.left] = next[best.right];
    if (next[best.right] != none) previous[next[best.right]] = best.left;
    offer(previous[best.left], best.left);
    offer(best.left, next[best.left]);
  }
  size_t kept = 0;
  for (size_t i = 0; i < none; i = next[i]) symbols[kept++] = symbols[i];
  symbols.resize(kept);
}

}  // namespace candor
