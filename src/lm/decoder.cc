#include "lm/decoder.h"

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/check.h"
#include "lm/vector_math.h"

namespace candor {

namespace {

// x / sqrt(mean(x^2) + eps) * weight
void rms_norm(const float* input, const std::vector<float>& weight, double epsilon, float* output) {
  const auto width = static_cast<int64_t>(weight.size());
  const float mean = dot(input, input, width) / static_cast<float>(width);
  const float scale = 1.0F / std::sqrt(mean + static_cast<float>(epsilon));
  for (int64_t i = 0; i < width; ++i) output[i] = input[i] * scale * weight[static_cast<size_t>(i)];
}

// Rotary positions, rotate-half layout: pairs (i, i + width/2).
void rotate(float* head, int64_t half, const float* cosines, const float* sines) {
  for (int64_t i = 0; i < half; ++i) {
    const float first = head[i];
    const float second = head[i + half];
    head[i] = first * cosines[i] - second * sines[i];
    head[i + half] = second * cosines[i] + first * sines[i];
  }
}

}  // namespace

Decoder::Decoder(const LanguageModel& model, int64_t slot_count, int64_t max_positions,
                 int64_t max_rows)
    : config_(model.config()),
      weights_(model.weights()),
      threads_(model.options().threads),
      max_positions_(max_positions) {
  CANDOR_CHECK(slot_count > 0 && max_positions > 0 && max_rows > 0 && threads_ > 0);
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
  const auto cache_size =
      static_cast<size_t>(slot_count * config_.layer_count * config_.kv_head_count * max_positions *
                          config_.head_width);
  keys_.resize(cache_size);
  values_.resize(cache_size);
  const int64_t qkv = (config_.head_count + 2 * config_.kv_head_count) * config_.head_width;
  const auto rows = static_cast<size_t>(max_rows);
  const auto width = static_cast<size_t>(config_.width);
  hidden_.resize(rows * width);
  normed_.resize(rows * width);
  update_.resize(rows * width);
  projected_.resize(rows * static_cast<size_t>(std::max(qkv, 2 * config_.ffn_width)));
  mixed_.resize(rows * static_cast<size_t>(
                           std::max(config_.head_count * config_.head_width, config_.ffn_width)));
  scores_.resize(static_cast<size_t>(threads_ * max_positions));
}

size_t Decoder::cache_offset(int64_t slot, int64_t layer, int64_t kv_head) const {
  return static_cast<size_t>(
      ((slot * config_.layer_count + layer) * config_.kv_head_count + kv_head) * max_positions_ *
      config_.head_width);
}

float* Decoder::cache(std::vector<float>& keys_or_values, int64_t slot, int64_t layer,
                      int64_t kv_head) {
  return keys_or_values.data() + cache_offset(slot, layer, kv_head);
}

void Decoder::attend(int64_t layer_index, const Row& row, const float* query, float* out,
                     float* scores) const {
  const int64_t width = config_.head_width;
  const int64_t group = config_.head_count / config_.kv_head_count;
  const float scale = 1.0F / std::sqrt(static_cast<float>(width));
  const int64_t count = row.position + 1;
  for (int64_t head = 0; head < config_.head_count; ++head) {
    const size_t offset = cache_offset(row.slot, layer_index, head / group);
    const float* keys = keys_.data() + offset;
    const float* values = values_.data() + offset;
    for (int64_t t = 0; t < count; ++t) {
      scores[t] = dot(query + head * width, keys + t * width, width) * scale;
    }
    const float largest = *std::max_element(scores, scores + count);
    exp_minus(scores, count, largest);
    float sum = 0;
    for (int64_t t = 0; t < count; ++t) sum += scores[t];
    float* mixed = out + head * width;
    std::fill_n(mixed, width, 0.0F);
    for (int64_t t = 0; t < count; ++t)
      add_scaled(mixed, values + t * width, scores[t] / sum, width);
  }
}

void Decoder::attention_block(const DecoderLayer& layer, int64_t layer_index,
                              std::span<const Row> rows) {
  const auto count = static_cast<int64_t>(rows.size());
  const int64_t width = config_.head_width;
  const int64_t queries = config_.head_count * width;
  const int64_t keys = config_.kv_head_count * width;
  const int64_t stride = queries + 2 * keys;
#pragma omp parallel for num_threads(threads_) schedule(static)
  for (int64_t i = 0; i < count; ++i) {
    rms_norm(hidden_.data() + i * config_.width, layer.attention_norm, config_.norm_epsilon,
             normed_.data() + i * config_.width);
  }
  layer.query_key_value.multiply(normed_.data(), count, projected_.data(), threads_);
#pragma omp parallel for num_threads(threads_) schedule(static)
  for (int64_t i = 0; i < count; ++i) {
    const Row& row = rows[static_cast<size_t>(i)];
    float* projected = projected_.data() + i * stride;
    for (int64_t head = 0; head < config_.head_count + config_.kv_head_count; ++head) {
      rotate(projected + head * width, width / 2, cosines_.data() + row.position * (width / 2),
             sines_.data() + row.position * (width / 2));
    }
    for (int64_t head = 0; head < config_.kv_head_count; ++head) {
      const int64_t place = row.position * width;
      std::copy_n(projected + queries + head * width, width,
                  cache(keys_, row.slot, layer_index, head) + place);
      std::copy_n(projected + queries + keys + head * width, width,
                  cache(values_, row.slot, layer_index, head) + place);
    }
  }
#pragma omp parallel for num_threads(threads_) schedule(dynamic)
  for (int64_t i = 0; i < count; ++i) {
    attend(layer_index, rows[static_cast<size_t>(i)], projected_.data() + i * stride,
           mixed_.data() + i * queries, scores_.data() + omp_get_thread_num() * max_positions_);
  }
  layer.attention_output.multiply(mixed_.data(), count, update_.data(), threads_);
  for (int64_t i = 0; i < count * config_.width; ++i) {
    hidden_[static_cast<size_t>(i)] += update_[static_cast<size_t>(i)];
  }
}

void Decoder::ffn_block(const DecoderLayer& layer, int64_t row_count) {
  const int64_t ffn = config_.ffn_width;
#pragma omp parallel for num_threads(threads_) schedule(static)
  for (int64_t i = 0; i < row_count; ++i) {
    rms_norm(hidden_.data() + i * config_.width, layer.ffn_norm, config_.norm_epsilon,
             normed_.data() + i * config_.width);
  }
  layer.gate_up.multiply(normed_.data(), row_count, projected_.data(), threads_);
#pragma omp parallel for num_threads(threads_) schedule(static)
  for (int64_t i = 0; i < row_count; ++i) {
    silu_times(projected_.data() + i * 2 * ffn, projected_.data() + i * 2 * ffn + ffn,
               mixed_.data() + i * ffn, ffn);
  }
  layer.down.multiply(mixed_.data(), row_count, update_.data(), threads_);
  for (int64_t i = 0; i < row_count * config_.width; ++i) {
    hidden_[static_cast<size_t>(i)] += update_[static_cast<size_t>(i)];
  }
}

void Decoder::forward(std::span<const Row> rows) {
  const auto count = static_cast<int64_t>(rows.size());
  CANDOR_CHECK(count > 0 && static_cast<size_t>(count * config_.width) <= hidden_.size());
  for (int64_t i = 0; i < count; ++i) {
    const Row& row = rows[static_cast<size_t>(i)];
    CANDOR_CHECK(row.position >= 0 && row.position < max_positions_ && row.token_id >= 0 &&
                 row.token_id < config_.vocabulary_size);
    std::copy_n(weights_.embedding.data() + row.token_id * config_.width, config_.width,
                hidden_.data() + i * config_.width);
  }
  for (int64_t layer = 0; layer < config_.layer_count; ++layer) {
    attention_block(weights_.layers[static_cast<size_t>(layer)], layer, rows);
    ffn_block(weights_.layers[static_cast<size_t>(layer)], count);
  }
}

void Decoder::logits(int64_t first, int64_t count, float* out) {
  for (int64_t i = 0; i < count; ++i) {
    rms_norm(hidden_.data() + (first + i) * config_.width, weights_.final_norm,
             config_.norm_epsilon, normed_.data() + i * config_.width);
  }
  weights_.head.multiply(normed_.data(), count, out, threads_);
}

void Decoder::copy_cache(int64_t from, int64_t to, int64_t positions) {
  for (int64_t layer = 0; layer < config_.layer_count; ++layer) {
    for (int64_t head = 0; head < config_.kv_head_count; ++head) {
      for (std::vector<float>* both : {&keys_, &values_}) {
        std::copy_n(cache(*both, from, layer, head), positions * config_.head_width,
                    cache(*both, to, layer, head));
      }
    }
  }
}

double log_sum_exp(std::span<const float> logits) {
  const float largest = *std::max_element(logits.begin(), logits.end());
  return double{largest} +
         std::log(sum_exp_minus(logits.data(), static_cast<int64_t>(logits.size()), largest));
}

double log_probability(std::span<const float> logits, int64_t token_id) {
  return double{logits[static_cast<size_t>(token_id)]} - log_sum_exp(logits);
}

}  // namespace candor
