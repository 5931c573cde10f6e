#include "lm/reward_features.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "base/check.h"

namespace candor {

namespace {

constexpr size_t kCosines = 4;
constexpr size_t kChunkWords = 40;
constexpr size_t kMaxChunks = 16;
constexpr size_t kMaxSentences = 8;

// Distinct texts to embed in one call, each remembered by its number.
class TextPool {
 public:
  size_t add(const std::string& text) {
    const auto [found, added] = numbers_.emplace(text, texts_.size());
    if (added) texts_.push_back(text);
    return found->second;
  }
  [[nodiscard]] const std::vector<std::string>& texts() const { return texts_; }

 private:
  std::map<std::string, size_t> numbers_;
  std::vector<std::string> texts_;
};

struct Parts {
  size_t completion = 0;
  std::vector<size_t> chunks;     // of the prompt
  std::vector<size_t> sentences;  // of the completion
};

using Rows = std::span<const float>;

std::span<const float> row_of(Rows rows, size_t row, size_t width) {
  return rows.subspan(row * width, width);
}

double dot(std::span<const float> a, std::span<const float> b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += double{a[i]} * double{b[i]};
  return sum;
}

std::vector<float> mean_direction(Rows rows, const std::vector<size_t>& chunks, size_t width) {
  std::vector<double> sum(width, 0.0);
  for (const size_t chunk : chunks) {
    const std::span<const float> row = row_of(rows, chunk, width);
    for (size_t i = 0; i < width; ++i) sum[i] += row[i];
  }
  double square = 0;
  for (const double value : sum) square += value * value;
  const double scale = square > 0 ? 1 / std::sqrt(square) : 0;
  std::vector<float> mean(width);
  for (size_t i = 0; i < width; ++i) mean[i] = static_cast<float>(sum[i] * scale);
  return mean;
}

double nearest(Rows rows, std::span<const float> text, const std::vector<size_t>& chunks) {
  double best = -1;
  for (const size_t chunk : chunks) {
    best = std::max(best, dot(text, row_of(rows, chunk, text.size())));
  }
  return best;
}

void append_features(Rows rows, const Parts& parts, const PromptedText& text, size_t width,
                     std::vector<float>& out) {
  const std::span<const float> reply = row_of(rows, parts.completion, width);
  const std::vector<float> prompt = mean_direction(rows, parts.chunks, width);
  out.insert(out.end(), reply.begin(), reply.end());
  const auto scale = static_cast<float>(std::sqrt(static_cast<double>(width)));
  for (size_t i = 0; i < width; ++i) out.push_back(scale * prompt[i] * reply[i]);
  double sum = 0;
  double least = 1;
  for (const size_t sentence : parts.sentences) {
    const double cosine = nearest(rows, row_of(rows, sentence, width), parts.chunks);
    sum += cosine;
    least = std::min(least, cosine);
  }
  out.push_back(static_cast<float>(dot(reply, prompt)));
  out.push_back(static_cast<float>(nearest(rows, reply, parts.chunks)));
  out.push_back(static_cast<float>(sum / static_cast<double>(parts.sentences.size())));
  out.push_back(static_cast<float>(least));
  for (const float value : support_features(text.prompt, text.completion)) out.push_back(value);
}

Result<std::vector<float>> prompted_features(const TextEncoder& encoder,
                                             std::span<const PromptedText> texts,
                                             const ProgressSink& progress) {
  TextPool pool;
  std::map<std::string, std::vector<size_t>> chunks_of_prompt;
  std::vector<Parts> parts;
  for (const PromptedText& text : texts) {
    Parts part;
    part.completion = pool.add(text.completion);
    for (const std::string& sentence : chunks_of(text.completion, 1, kMaxSentences)) {
      part.sentences.push_back(pool.add(sentence));
    }
    std::vector<size_t>& chunks = chunks_of_prompt[text.prompt];
    if (chunks.empty()) {
      for (const std::string& chunk : chunks_of(text.prompt, kChunkWords, kMaxChunks)) {
        chunks.push_back(pool.add(chunk));
      }
    }
    part.chunks = chunks;
    parts.push_back(std::move(part));
  }
  CANDOR_TRY(const std::vector<float> rows, encoder.embed(pool.texts(), progress));
  const auto width = static_cast<size_t>(encoder.width());
  std::vector<float> out;
  for (size_t i = 0; i < texts.size(); ++i) append_features(rows, parts[i], texts[i], width, out);
  return out;
}

}  // namespace

int64_t reward_feature_count(RewardLayout layout, int64_t width) {
  if (layout == RewardLayout::kCompletion) return width;
  return 2 * width + static_cast<int64_t>(kCosines + kSupportFeatures);
}

Result<std::vector<float>> reward_features(const TextEncoder& encoder, RewardLayout layout,
                                           std::span<const PromptedText> texts,
                                           const ProgressSink& progress) {
  if (layout == RewardLayout::kPromptCompletion) {
    return prompted_features(encoder, texts, progress);
  }
  std::vector<std::string> completions;
  completions.reserve(texts.size());
  for (const PromptedText& text : texts) completions.push_back(text.completion);
  return encoder.embed(completions, progress);
}

}  // namespace candor
