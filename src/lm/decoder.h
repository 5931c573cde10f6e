#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "lm/decoder_weights.h"
#include "lm/language_model.h"

namespace candor {

// One forward of the decoder for every purpose (decoding, prefill, scoring): a batch of tokens,
// each at a position of a sequence slot with its own key/value cache. Everything is allocated up
// front.
class Decoder {
 public:
  // slot_count sequences of at most max_positions tokens, at most max_rows tokens a call.
  Decoder(const LanguageModel& model, int64_t slot_count, int64_t max_positions, int64_t max_rows);

  struct Row {
    int32_t token_id = 0;
    int64_t slot = 0;
    int64_t position = 0;  // earlier positions of the slot are in its cache or earlier in this call
  };

  // Runs the rows (in order) and leaves each one's final hidden state [R, D] in hidden().
  // REQUIRES: 1 <= rows <= max_rows, slots and positions in range.
  void forward(std::span<const Row> rows);

  // Logits [count, V] of the rows first .. first+count-1 of the last forward.
  void logits(int64_t first, int64_t count, float* out);

  // Copies the first `positions` cache entries of one slot to another.
  void copy_cache(int64_t from, int64_t to, int64_t positions);

 private:
  void attention_block(const DecoderLayer& layer, int64_t layer_index, std::span<const Row> rows);
  void ffn_block(const DecoderLayer& layer, int64_t row_count);
  void attend(int64_t layer_index, const Row& row, const float* query, float* out,
              float* scores) const;
  [[nodiscard]] float* cache(std::vector<float>& keys_or_values, int64_t slot, int64_t layer,
                             int64_t kv_head);
  [[nodiscard]] size_t cache_offset(int64_t slot, int64_t layer, int64_t kv_head) const;

  const DecoderConfig& config_;
  const DecoderWeights& weights_;
  int threads_;
  int64_t max_positions_;
  std::vector<float> cosines_;  // [positions, head_width / 2]
  std::vector<float> sines_;    // [positions, head_width / 2]
  std::vector<float> keys_;     // [slots, layers, kv_heads, positions, head_width]
  std::vector<float> values_;
  std::vector<float> hidden_;     // [R, D]
  std::vector<float> normed_;     // [R, D]
  std::vector<float> projected_;  // [R, max(qkv, 2F)]
  std::vector<float> mixed_;      // [R, max(heads * head_width, F)]
  std::vector<float> update_;     // [R, D]
  std::vector<float> scores_;     // [threads, positions]
};

// Natural-log softmax value of one entry: logits[id] - log sum exp(logits), in double.
[[nodiscard]] double log_probability(std::span<const float> logits, int64_t token_id);
// log sum exp, in double.
[[nodiscard]] double log_sum_exp(std::span<const float> logits);

}  // namespace candor
