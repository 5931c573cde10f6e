#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "lm/attention.h"
#include "lm/decoder_weights.h"
#include "lm/kv_cache.h"
#include "lm/language_model.h"
#include "lm/team_barrier.h"
#include "lm/vector_math.h"

namespace candor {

// One forward of the decoder for every purpose (decoding, prefill, scoring): a batch of tokens,
// each at a position of a sequence slot with its own key/value cache and its own mixture of the
// model's row adapters. Everything is allocated up front; one team of threads runs a whole forward.
//
// A row's numbers depend, bit for bit, on its token, its slot's history and adapters only: not on
// the other rows of a batch, on how a sequence is cut into forwards, or on the number of threads.
class Decoder {
 public:
  // slot_count sequences of at most max_positions tokens, at most max_rows tokens a call. Shares
  // the model's weights.
  Decoder(const LanguageModel& model, int64_t slot_count, int64_t max_positions, int64_t max_rows);

  // The slot's coefficients, one per row adapter of the model; none, or all zero: the base model.
  // Holds for the forwards that follow; a slot's cache must have been made with the same.
  // REQUIRES: check_adapter_weights.
  void set_slot_adapters(int64_t slot, std::span<const float> weights);

  struct Row {
    int32_t token_id = 0;
    int64_t slot = 0;
    int64_t position = 0;  // earlier positions of the slot are in its cache or earlier in this call
  };

  // Runs the rows (in order).
  // REQUIRES: 1 <= rows <= max_rows, slots and positions in range.
  void forward(std::span<const Row> rows);

  // Logits [count, V] of the rows first .. first+count-1 of the last forward.
  void logits(int64_t first, int64_t count, float* out);
  // Of these rows, in this order: [rows, V]. REQUIRES: at least one, at most max_rows.
  void logits(std::span<const int64_t> rows, float* out);

  // Natural-log probability of a token after a row of the last forward: log_probability of the
  // row's logits, bit for bit, without room for them.
  struct Target {
    int64_t row = 0;
    int32_t token_id = 0;
  };
  void log_probabilities(std::span<const Target> targets, double* out);

  // Copies the first `positions` cache entries of one slot to another.
  void copy_cache(int64_t from, int64_t to, int64_t positions) { cache_.copy(from, to, positions); }

 private:
  struct Worker {
    int64_t index;
    int64_t count;
  };
  // A matrix of activations [max_rows, stride] in the model's dtype, the odd end of a row zero.
  struct Activations {
    ZeroedBytes bytes;
    int64_t stride = 0;  // elements
    Dtype dtype = Dtype::kF32;
    [[nodiscard]] char* row(int64_t index) {
      return bytes.data() + index * stride * element_size(dtype);
    }
    void store(int64_t index, int64_t first, const float* values, int64_t count);
  };
  // A run of rows at consecutive positions of one slot.
  struct QueryTile {
    int64_t first_row;
    int64_t row_count;
  };

  [[nodiscard]] Activations activations(int64_t max_rows, int64_t width) const;
  // Threads worth their waiting for each other on products of so many rows and weights.
  [[nodiscard]] int team_size(int64_t row_count, int64_t weight_count) const;
  void plan(std::span<const Row> rows);
  void plan_tiles();
  void run_layer(const Worker& worker, int64_t layer);
  void norm(const Worker& worker, const std::vector<float>& weight);
  void store_keys(const Worker& worker, int64_t layer);
  void attend(const Worker& worker, int64_t layer);
  void attend_tile(const Worker& worker, int64_t layer, int64_t tile, int64_t kv_head);
  void project(const Worker& worker, const LowRankProduct& low_rank, Activations& input);
  template <typename Epilogue>
  void product(const Worker& worker, const PackedMatrix& matrix, const LowRankProduct& low_rank,
               Activations& input, const Epilogue& epilogue);
  void add_low_rank(const LowRankProduct& low_rank, int64_t block, const RowRange& rows,
                    float* sums);
  void norm_targets(const Worker& worker, std::span<const Target> targets);
  void chunk_sums(int64_t chunk, std::span<const Target> targets, float* logits, double* out);

  const LanguageModel model_;
  const DecoderConfig& config_;
  const DecoderWeights& weights_;
  const RowAdapters& adapters_;
  int threads_;
  int64_t max_rows_;
  int64_t max_positions_;
  int64_t layer_weights_ = 0;  // of all layers together
  int64_t head_weights_ = 0;
  AttentionKernel attention_;
  KvCache cache_;
  std::vector<float> cosines_;            // [positions, head_width / 2]
  std::vector<float> sines_;              // [positions, head_width / 2]
  std::vector<float> slot_coefficients_;  // [slots, adapters]
  std::vector<uint8_t> slot_adapted_;     // [slots]

  TeamBarrier barrier_;

  // Of the forward that runs.
  std::vector<Row> rows_;
  std::vector<QueryTile> tiles_;
  std::vector<int64_t> tile_costs_;  // running sums, [tiles + 1]
  bool adapted_ = false;             // any row uses adapters

  std::vector<float> hidden_;     // [R, D]
  std::vector<float> projected_;  // [R, qkv]
  Activations normed_;            // [R, D]
  Activations queries_;           // [R, heads * H], H as kv_cache.h has it
  Activations attended_;          // [R, heads * head_width]
  Activations activated_;         // [R, F]
  Activations low_rank_;          // [R, ranks]; rows as wide as the product at work needs
  std::vector<float> scratch_;    // [threads, scratch_stride_]
  int64_t scratch_stride_ = 0;
  std::vector<ExpSum> exp_sums_;  // [targets, chunks]
};

// Natural-log softmax value of one entry: logits[id] - log sum exp(logits), in double.
[[nodiscard]] double log_probability(std::span<const float> logits, int64_t token_id);
// log sum exp, in double.
[[nodiscard]] double log_sum_exp(std::span<const float> logits);

}  // namespace candor
