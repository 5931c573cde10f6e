#include "lm/decoder.h"

#include <omp.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "base/check.h"
#include "base/cpu.h"

namespace candor {

namespace {

constexpr int64_t kColumns = PackedMatrix::kColumns;
constexpr int64_t kTileRows = PackedMatrix::kTileRows;
constexpr int64_t kChunkBlocks = 8;
constexpr int64_t kChunk =
    kChunkBlocks * kColumns;  // logits whose exponentials are summed together

// Multiplications below which one thread is faster than a team, or as fast (0.1 ms).
constexpr int64_t kSmallProducts = int64_t{1} << 24;

int64_t tiles_of(int64_t row_count) { return (row_count + kTileRows - 1) / kTileRows; }

}  // namespace

void Decoder::Activations::store(int64_t index, int64_t first, const float* values, int64_t count) {
  char* place = row(index) + first * element_size(dtype);
  if (dtype == Dtype::kF32) {
    std::copy_n(values, count, reinterpret_cast<float*>(place));
  } else {
    round_to_bf16(values, reinterpret_cast<uint16_t*>(place), count);
  }
}

Decoder::Activations Decoder::activations(int64_t max_rows, int64_t width) const {
  Activations out;
  out.dtype = model_.options().dtype;
  out.stride = (width + 1) / 2 * 2;
  if (out.dtype == Dtype::kF32) out.stride = width;
  out.bytes = ZeroedBytes(static_cast<size_t>(max_rows * out.stride * element_size(out.dtype)));
  return out;
}

Decoder::Decoder(const LanguageModel& model, int64_t slot_count, int64_t max_positions,
                 int64_t max_rows)
    : model_(model),
      config_(model_.config()),
      weights_(model_.weights()),
      adapters_(model_.row_adapters()),
      threads_(model.options().threads),
      max_rows_(max_rows),
      max_positions_(max_positions),
      attention_(attention_kernel(model.options().dtype, instruction_set())) {
  CANDOR_CHECK(slot_count > 0 && max_positions > 0 && max_rows > 0 && threads_ > 0);
  cache_ = KvCache({.slots = slot_count,
                    .layers = config_.layer_count,
                    .kv_heads = config_.kv_head_count,
                    .positions = max_positions,
                    .head_width = config_.head_width,
                    .dtype = model.options().dtype});
  const int64_t half = config_.head_width / 2;
  for (int64_t position = 0; position < max_positions; ++position) {
    for (int64_t i = 0; i < half; ++i) {
      const auto frequency = static_cast<float>(
          std::pow(config_.rope_base, -static_cast<double>(i) / static_cast<double>(half)));
      const float angle = static_cast<float>(position) * frequency;
      cosines_.push_back(std::cos(angle));
      sines_.push_back(std::sin(angle));
    }
  }
  for (const LinearModule& module : linear_modules(config_)) {
    layer_weights_ += config_.layer_count * module.outputs * module.inputs;
  }
  head_weights_ = config_.vocabulary_size * config_.width;
  slot_coefficients_.resize(static_cast<size_t>(slot_count * adapters_.count));
  slot_adapted_.resize(static_cast<size_t>(slot_count));
  const int64_t heads = config_.head_count;
  const int64_t qkv = (heads + 2 * config_.kv_head_count) * config_.head_width;
  hidden_.resize(static_cast<size_t>(max_rows * config_.width));
  projected_.resize(static_cast<size_t>(max_rows * qkv));
  normed_ = activations(max_rows, config_.width);
  queries_ = activations(max_rows, heads * cache_.padded_width());
  attended_ = activations(max_rows, heads * config_.head_width);
  activated_ = activations(max_rows, config_.ffn_width);
  low_rank_ = activations(max_rows, adapters_.largest_rank);
  // Room for a row, for one chunk of logits, and for the scores and outputs of one attention tile.
  const int64_t positions = (max_positions + 15) / 16 * 16;
  scratch_stride_ = std::max({config_.width, kTileRows * (kChunk + kColumns),
                              AttentionTile::kQueries * (positions + cache_.padded_width())});
  scratch_stride_ = (scratch_stride_ + 15) / 16 * 16;
  scratch_.resize(static_cast<size_t>(threads_ * scratch_stride_));
}

int Decoder::team_size(int64_t row_count, int64_t weight_count) const {
  return row_count * weight_count < kSmallProducts ? 1 : threads_;
}

void Decoder::set_slot_adapters(int64_t slot, std::span<const float> weights) {
  CANDOR_CHECK(weights.empty() || static_cast<int64_t>(weights.size()) == adapters_.count);
  float* own = slot_coefficients_.data() + slot * adapters_.count;
  std::fill_n(own, adapters_.count, 0.0F);
  std::copy(weights.begin(), weights.end(), own);
  slot_adapted_[static_cast<size_t>(slot)] =
      static_cast<uint8_t>(std::ranges::any_of(weights, [](float weight) { return weight != 0; }));
}

// Runs of rows at consecutive positions of one slot, short enough for one pass over the keys.
void Decoder::plan_tiles() {
  const int64_t group = config_.head_count / config_.kv_head_count;
  const int64_t most = std::max<int64_t>(1, AttentionTile::kQueries / group);
  tiles_.clear();
  tile_costs_.assign(1, 0);
  const auto count = static_cast<int64_t>(rows_.size());
  for (int64_t begin = 0; begin < count;) {
    int64_t end = begin + 1;
    const Row& first = rows_[static_cast<size_t>(begin)];
    while (end < count && end - begin < most) {
      const Row& next = rows_[static_cast<size_t>(end)];
      if (next.slot != first.slot || next.position != first.position + end - begin) break;
      ++end;
    }
    tiles_.push_back({begin, end - begin});
    // A pass over the keys costs about as much as two queries.
    tile_costs_.push_back(tile_costs_.back() + (first.position + 16) * (2 + (end - begin) * group));
    begin = end;
  }
}

void Decoder::plan(std::span<const Row> rows) {
  CANDOR_CHECK(!rows.empty() && static_cast<int64_t>(rows.size()) <= max_rows_);
  rows_.assign(rows.begin(), rows.end());
  adapted_ = false;
  for (const Row& row : rows_) {
    CANDOR_CHECK(row.position >= 0 && row.position < max_positions_ && row.token_id >= 0 &&
                 row.token_id < config_.vocabulary_size && row.slot >= 0 &&
                 row.slot < static_cast<int64_t>(slot_adapted_.size()));
    adapted_ = adapted_ || slot_adapted_[static_cast<size_t>(row.slot)] != 0;
  }
  plan_tiles();
}

void Decoder::forward(std::span<const Row> rows) {
  plan(rows);
  const int team = team_size(static_cast<int64_t>(rows.size()), layer_weights_);
#pragma omp parallel num_threads(team)
  {
    const Worker worker{omp_get_thread_num(), omp_get_num_threads()};
    const RowRange own = even_share(static_cast<int64_t>(rows_.size()), worker.index, worker.count);
    for (int64_t row = own.begin; row < own.end; ++row) {
      weights_.embedding.copy_row(rows_[static_cast<size_t>(row)].token_id,
                                  hidden_.data() + row * config_.width);
    }
    for (int64_t layer = 0; layer < config_.layer_count; ++layer) run_layer(worker, layer);
  }
}

// Ends with every thread's own rows of hidden_ still to be waited for: norm does so.
void Decoder::run_layer(const Worker& worker, int64_t layer) {
  static const LayerAdapters kNone;
  const DecoderLayer& weights = weights_.layers[static_cast<size_t>(layer)];
  const LayerAdapters& adapters = adapted_ ? adapters_.layers[static_cast<size_t>(layer)] : kNone;
  const int64_t qkv = weights.query_key_value.output_count();
  const auto add_to_hidden = [&](int64_t block, const RowRange& rows, const float* sums) {
    const int64_t first = block * kColumns;
    add_columns(sums, rows.count(), std::min(kColumns, config_.width - first),
                hidden_.data() + rows.begin * config_.width + first, config_.width);
  };
  norm(worker, weights.attention_norm);
  product(worker, weights.query_key_value, adapters.query_key_value, normed_,
          [&](int64_t block, const RowRange& rows, const float* sums) {
            const int64_t first = block * kColumns;
            copy_columns(sums, rows.count(), std::min(kColumns, qkv - first),
                         projected_.data() + rows.begin * qkv + first, qkv);
          });
  barrier_.wait(worker.count);
  store_keys(worker, layer);
  barrier_.wait(worker.count);
  attend(worker, layer);
  barrier_.wait(worker.count);
  product(worker, weights.attention_output, adapters.attention_output, attended_, add_to_hidden);
  barrier_.wait(worker.count);
  norm(worker, weights.ffn_norm);
  product(worker, weights.gate_up, adapters.gate_up, normed_,
          [&](int64_t block, const RowRange& rows, float* sums) {
            const int64_t first = block * kColumns / 2;
            const int64_t columns = std::min(kColumns / 2, config_.ffn_width - first);
            swiglu_columns(sums, rows.count());
            for (int64_t row = rows.begin; row < rows.end; ++row) {
              activated_.store(row, first, sums + (row - rows.begin) * kColumns, columns);
            }
          });
  barrier_.wait(worker.count);
  product(worker, weights.down, adapters.down, activated_, add_to_hidden);
  barrier_.wait(worker.count);
}

void Decoder::norm(const Worker& worker, const std::vector<float>& weight) {
  float* scratch = scratch_.data() + worker.index * scratch_stride_;
  const RowRange own = even_share(static_cast<int64_t>(rows_.size()), worker.index, worker.count);
  for (int64_t row = own.begin; row < own.end; ++row) {
    rms_norm(hidden_.data() + row * config_.width, weight.data(),
             static_cast<float>(config_.norm_epsilon), config_.width, scratch);
    normed_.store(row, 0, scratch, config_.width);
  }
  barrier_.wait(worker.count);
}

// Turns queries and keys to their positions; keys and values go to the cache.
void Decoder::store_keys(const Worker& worker, int64_t layer) {
  const int64_t width = config_.head_width;
  const int64_t heads = config_.head_count;
  const int64_t kv_heads = config_.kv_head_count;
  const RowRange own = even_share(static_cast<int64_t>(rows_.size()), worker.index, worker.count);
  for (int64_t i = own.begin; i < own.end; ++i) {
    const Row& row = rows_[static_cast<size_t>(i)];
    float* projected = projected_.data() + i * (heads + 2 * kv_heads) * width;
    const float* cosines = cosines_.data() + row.position * (width / 2);
    const float* sines = sines_.data() + row.position * (width / 2);
    for (int64_t head = 0; head < heads + kv_heads; ++head) {
      rotate_half(projected + head * width, width / 2, cosines, sines);
    }
    for (int64_t head = 0; head < heads; ++head) {
      queries_.store(i, head * cache_.padded_width(), projected + head * width, width);
    }
    for (int64_t head = 0; head < kv_heads; ++head) {
      cache_.store({row.slot, layer, head}, row.position, projected + (heads + head) * width,
                   projected + (heads + kv_heads + head) * width);
    }
  }
}

// This thread's share of the tiles of queries, for every key/value head.
void Decoder::attend(const Worker& worker, int64_t layer) {
  const int64_t heads = config_.kv_head_count;
  const int64_t total = tile_costs_.back() * heads;
  const int64_t begin = total * worker.index / worker.count;
  const int64_t end = total * (worker.index + 1) / worker.count;
  for (size_t tile = 0; tile < tiles_.size(); ++tile) {
    const int64_t cost = tile_costs_[tile + 1] - tile_costs_[tile];
    for (int64_t head = 0; head < heads; ++head) {
      // A unit of work belongs to the thread in whose share its middle lies.
      const int64_t middle = tile_costs_[tile] * heads + head * cost + cost / 2;
      if (middle < begin || middle >= end) continue;
      attend_tile(worker, layer, static_cast<int64_t>(tile), head);
    }
  }
}

void Decoder::attend_tile(const Worker& worker, int64_t layer, int64_t tile, int64_t kv_head) {
  const int64_t width = config_.head_width;
  const int64_t padded = cache_.padded_width();
  const int64_t group = config_.head_count / config_.kv_head_count;
  const QueryTile& own = tiles_[static_cast<size_t>(tile)];
  const int64_t slot = rows_[static_cast<size_t>(own.first_row)].slot;
  float* outputs = scratch_.data() + worker.index * scratch_stride_;
  AttentionTile work;
  work.keys = cache_.keys({slot, layer, kv_head});
  work.values = cache_.values({slot, layer, kv_head});
  work.padded_width = padded;
  work.scale = 1.0F / std::sqrt(static_cast<float>(width));
  work.scores = outputs + AttentionTile::kQueries * padded;
  work.score_stride = (max_positions_ + 15) / 16 * 16;
  const int64_t all = own.row_count * group;
  for (int64_t begin = 0; begin < all; begin += AttentionTile::kQueries) {
    work.query_count = std::min(AttentionTile::kQueries, all - begin);
    for (int64_t q = 0; q < work.query_count; ++q) {
      const int64_t row = own.first_row + (begin + q) / group;
      const int64_t head = kv_head * group + (begin + q) % group;
      work.queries[q] = queries_.row(row) + head * padded * element_size(queries_.dtype);
      work.counts[q] = rows_[static_cast<size_t>(row)].position + 1;
      work.outputs[q] = outputs + q * padded;
    }
    attention_(work);
    for (int64_t q = 0; q < work.query_count; ++q) {
      const int64_t row = own.first_row + (begin + q) / group;
      const int64_t head = kv_head * group + (begin + q) % group;
      attended_.store(row, head * width, work.outputs[q], width);
    }
  }
}

// low_rank_ = x A^T, each adapter's ranks times its coefficient for the row.
void Decoder::project(const Worker& worker, const LowRankProduct& low_rank, Activations& input) {
  const auto row_count = static_cast<int64_t>(rows_.size());
  const int64_t tiles = tiles_of(row_count);
  alignas(64) std::array<float, kTileRows * kColumns> sums;
  low_rank_.stride = low_rank.rank();
  const RowRange blocks = even_share(low_rank.a.block_count(), worker.index, worker.count);
  for (int64_t block = blocks.begin; block < blocks.end; ++block) {
    const int64_t columns = std::min(kColumns, low_rank.rank() - block * kColumns);
    for (int64_t tile = 0; tile < tiles; ++tile) {
      const RowRange rows = even_share(row_count, tile, tiles);
      low_rank.a.multiply_block(
          block, {input.row(rows.begin), rows.count(), 0, low_rank.a.input_count()}, sums.data());
      for (int64_t i = rows.begin; i < rows.end; ++i) {
        float* own = sums.data() + (i - rows.begin) * kColumns;
        const int64_t slot = rows_[static_cast<size_t>(i)].slot;
        for (int64_t column = 0; column < columns; ++column) {
          const auto group = static_cast<size_t>((block * kColumns + column) / 16);
          own[column] *= slot_coefficients_[static_cast<size_t>(slot * adapters_.count +
                                                                low_rank.adapter_of_group[group])] *
                         low_rank.scale_of_group[group];
        }
        low_rank_.store(i, block * kColumns, own, columns);
      }
    }
  }
}

// sums += the low-rank change of the rows that use adapters.
void Decoder::add_low_rank(const LowRankProduct& low_rank, int64_t block, const RowRange& rows,
                           float* sums) {
  const RowRange& ranks = low_rank.ranks_of_block[static_cast<size_t>(block)];
  const auto adapted = [&](int64_t row) {
    return slot_adapted_[static_cast<size_t>(rows_[static_cast<size_t>(row)].slot)] != 0;
  };
  bool any = false;
  for (int64_t row = rows.begin; row < rows.end; ++row) any = any || adapted(row);
  if (ranks.count() == 0 || !any) return;
  alignas(64) std::array<float, kTileRows * kColumns> change;
  low_rank.b.multiply_block(
      block, {low_rank_.row(rows.begin), rows.count(), ranks.begin, ranks.end}, change.data());
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    if (!adapted(row)) continue;
    const int64_t first = (row - rows.begin) * kColumns;
    add_columns(change.data() + first, 1, kColumns, sums + first, kColumns);
  }
}

// x W^T for this thread's blocks of outputs; `epilogue` gets [rows][32] sums of each tile.
template <typename Epilogue>
void Decoder::product(const Worker& worker, const PackedMatrix& matrix,
                      const LowRankProduct& low_rank, Activations& input,
                      const Epilogue& epilogue) {
  if (low_rank.rank() > 0) {
    project(worker, low_rank, input);
    barrier_.wait(worker.count);
  }
  const auto row_count = static_cast<int64_t>(rows_.size());
  const int64_t tiles = tiles_of(row_count);
  alignas(64) std::array<float, kTileRows * kColumns> sums;
  const RowRange blocks = even_share(matrix.block_count(), worker.index, worker.count);
  for (int64_t block = blocks.begin; block < blocks.end; ++block) {
    for (int64_t tile = 0; tile < tiles; ++tile) {
      const RowRange rows = even_share(row_count, tile, tiles);
      matrix.multiply_block(block,
                            {input.row(rows.begin), rows.count(), 0, matrix.input_count(),
                             fetch_half_of(tile, tiles)},
                            sums.data());
      if (low_rank.rank() > 0) add_low_rank(low_rank, block, rows, sums.data());
      epilogue(block, rows, sums.data());
    }
  }
}

// normed_ = the final norm of the targets' rows, in the order of the targets.
void Decoder::norm_targets(const Worker& worker, std::span<const Target> targets) {
  float* scratch = scratch_.data() + worker.index * scratch_stride_;
  const RowRange own = even_share(static_cast<int64_t>(targets.size()), worker.index, worker.count);
  for (int64_t i = own.begin; i < own.end; ++i) {
    const int64_t row = targets[static_cast<size_t>(i)].row;
    rms_norm(hidden_.data() + row * config_.width, weights_.final_norm.data(),
             static_cast<float>(config_.norm_epsilon), config_.width, scratch);
    normed_.store(i, 0, scratch, config_.width);
  }
  barrier_.wait(worker.count);
}

void Decoder::logits(int64_t first, int64_t count, float* out) {
  std::vector<int64_t> rows(static_cast<size_t>(count));
  std::iota(rows.begin(), rows.end(), first);
  logits(rows, out);
}

void Decoder::logits(std::span<const int64_t> wanted, float* out) {
  const auto count = static_cast<int64_t>(wanted.size());
  CANDOR_CHECK(count > 0 && count <= max_rows_);
  std::vector<Target> targets;
  targets.reserve(wanted.size());
  for (const int64_t row : wanted) {
    CANDOR_CHECK(row >= 0 && row < static_cast<int64_t>(rows_.size()));
    targets.push_back({.row = row});
  }
  const int64_t vocabulary = config_.vocabulary_size;
  const int64_t tiles = tiles_of(count);
  const int team = team_size(count, head_weights_);
#pragma omp parallel num_threads(team)
  {
    const Worker worker{omp_get_thread_num(), omp_get_num_threads()};
    norm_targets(worker, targets);
    alignas(64) std::array<float, kTileRows * kColumns> sums;
    const PackedMatrix& head = weights_.head();
    const RowRange blocks = even_share(head.block_count(), worker.index, worker.count);
    for (int64_t block = blocks.begin; block < blocks.end; ++block) {
      const int64_t column = block * kColumns;
      for (int64_t tile = 0; tile < tiles; ++tile) {
        const RowRange rows = even_share(count, tile, tiles);
        head.multiply_block(
            block,
            {normed_.row(rows.begin), rows.count(), 0, config_.width, fetch_half_of(tile, tiles)},
            sums.data());
        copy_columns(sums.data(), rows.count(), std::min(kColumns, vocabulary - column),
                     out + rows.begin * vocabulary + column, vocabulary);
      }
    }
  }
}

// Exponential sums of one chunk of the vocabulary for every target, and the targets' own logits
// where they lie in it.
void Decoder::chunk_sums(int64_t chunk, std::span<const Target> targets, float* logits,
                         double* out) {
  const PackedMatrix& head = weights_.head();
  const auto count = static_cast<int64_t>(targets.size());
  const int64_t chunks = (config_.vocabulary_size + kChunk - 1) / kChunk;
  const int64_t first = chunk * kChunk;
  const int64_t width = std::min(kChunk, config_.vocabulary_size - first);
  const int64_t tiles = tiles_of(count);
  float* sums = logits + kTileRows * kChunk;
  for (int64_t tile = 0; tile < tiles; ++tile) {
    const RowRange rows = even_share(count, tile, tiles);
    for (int64_t column = 0; column < width; column += kColumns) {
      head.multiply_block((first + column) / kColumns,
                          {normed_.row(rows.begin), rows.count(), 0, config_.width}, sums);
      copy_columns(sums, rows.count(), kColumns, logits + column, kChunk);
    }
    for (int64_t i = rows.begin; i < rows.end; ++i) {
      const float* own = logits + (i - rows.begin) * kChunk;
      exp_sums_[static_cast<size_t>(i * chunks + chunk)] = exp_sum_of(own, width);
      const int64_t place = targets[static_cast<size_t>(i)].token_id - first;
      if (place >= 0 && place < width) out[i] = own[place];
    }
  }
}

void Decoder::log_probabilities(std::span<const Target> targets, double* out) {
  for (const Target& target : targets) {
    CANDOR_CHECK(target.row >= 0 && target.row < static_cast<int64_t>(rows_.size()) &&
                 target.token_id >= 0 && target.token_id < config_.vocabulary_size);
  }
  CANDOR_CHECK(static_cast<int64_t>(targets.size()) <= max_rows_);
  const auto count = static_cast<int64_t>(targets.size());
  const int64_t chunks = (config_.vocabulary_size + kChunk - 1) / kChunk;
  exp_sums_.resize(static_cast<size_t>(count * chunks));
  const int team = team_size(count, head_weights_);
#pragma omp parallel num_threads(team)
  {
    const Worker worker{omp_get_thread_num(), omp_get_num_threads()};
    norm_targets(worker, targets);
    const RowRange own = even_share(chunks, worker.index, worker.count);
    for (int64_t chunk = own.begin; chunk < own.end; ++chunk) {
      chunk_sums(chunk, targets, scratch_.data() + worker.index * scratch_stride_, out);
    }
  }
  for (int64_t i = 0; i < count; ++i)
    out[i] -= log_sum_exp_of(&exp_sums_[static_cast<size_t>(i * chunks)], chunks);
}

double log_sum_exp(std::span<const float> logits) {
  const auto count = static_cast<int64_t>(logits.size());
  std::vector<ExpSum> chunks;
  chunks.reserve(static_cast<size_t>((count + kChunk - 1) / kChunk));
  for (int64_t begin = 0; begin < count; begin += kChunk) {
    chunks.push_back(exp_sum_of(logits.data() + begin, std::min(kChunk, count - begin)));
  }
  return log_sum_exp_of(chunks.data(), static_cast<int64_t>(chunks.size()));
}

double log_probability(std::span<const float> logits, int64_t token_id) {
  return double{logits[static_cast<size_t>(token_id)]} - log_sum_exp(logits);
}

}  // namespace candor
