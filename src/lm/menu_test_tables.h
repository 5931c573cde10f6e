#pragma once

#include <map>
#include <string>

#include "base/check.h"
#include "base/rng.h"
#include "lm/slot_decoder.h"

namespace candor {

// For tests: a language model that is a table. The logits after a prefix are random numbers keyed
// by the prefix, base plus the adapters' own times their coefficients. Every sequence can be
// enumerated.
class TableModel : public SlotModel {
 public:
  TableModel(int64_t vocabulary, int64_t adapters, uint64_t seed, int threads = 1)
      : vocabulary_(vocabulary), adapters_(adapters), seed_(seed), threads_(threads) {}

  [[nodiscard]] int64_t vocabulary_size() const override { return vocabulary_; }
  [[nodiscard]] int64_t context_length() const override { return 64; }
  [[nodiscard]] int64_t adapter_count() const override { return adapters_; }
  [[nodiscard]] int threads() const override { return threads_; }
  [[nodiscard]] const std::vector<int32_t>& stop_ids() const override { return stops_; }
  [[nodiscard]] std::unique_ptr<SlotDecoder> open(const SlotCapacity& capacity) const override;

  [[nodiscard]] std::vector<float> logits_after(const std::vector<int32_t>& prefix,
                                                const std::vector<float>& weights) const {
    uint64_t hash = seed_;
    for (const int32_t token : prefix) {
      hash = random_bits({.seed = hash, .stream = 77, .prompt = static_cast<uint32_t>(token)});
    }
    std::vector<float> out;
    for (int64_t v = 0; v < vocabulary_; ++v) {
      double logit = 0;
      for (int64_t part = 0; part <= adapters_; ++part) {
        RandomStream random({.seed = hash,
                             .stream = 78,
                             .prompt = static_cast<uint32_t>(v),
                             .sample = static_cast<uint32_t>(part)});
        logit += 1.2 * random.normal() *
                 (part == 0 ? 1.0 : double{weights[static_cast<size_t>(part - 1)]});
      }
      out.push_back(static_cast<float>(logit));
    }
    return out;
  }

 private:
  int64_t vocabulary_;
  int64_t adapters_;
  uint64_t seed_;
  int threads_;
  std::vector<int32_t> stops_ = {0};
};

class TableDecoder : public SlotDecoder {
 public:
  TableDecoder(const TableModel& model, const SlotCapacity& capacity)
      : model_(model),
        capacity_(capacity),
        slots_(static_cast<size_t>(capacity.slots)),
        weights_(static_cast<size_t>(capacity.slots)) {}

  void set_slot_adapters(int64_t slot, std::span<const float> weights) override {
    CANDOR_CHECK(static_cast<int64_t>(weights.size()) == model_.adapter_count());
    weights_.at(static_cast<size_t>(slot)).assign(weights.begin(), weights.end());
  }
  void forward(std::span<const Row> rows) override {
    CANDOR_CHECK(!rows.empty() && static_cast<int64_t>(rows.size()) <= capacity_.rows);
    outputs_.clear();
    for (const Row& row : rows) {
      std::vector<int32_t>& tokens = slots_.at(static_cast<size_t>(row.slot));
      CANDOR_CHECK(row.position < capacity_.positions &&
                   row.position <= static_cast<int64_t>(tokens.size()));
      tokens.resize(static_cast<size_t>(row.position));
      tokens.push_back(row.token_id);
      outputs_.push_back(model_.logits_after(tokens, weights_.at(static_cast<size_t>(row.slot))));
    }
  }
  void logits(int64_t first, int64_t count, float* out) override {
    for (int64_t i = 0; i < count; ++i) {
      const std::vector<float>& row = outputs_.at(static_cast<size_t>(first + i));
      std::copy(row.begin(), row.end(), out + i * model_.vocabulary_size());
    }
  }
  void copy_cache(int64_t from, int64_t to, int64_t positions) override {
    const std::vector<int32_t>& tokens = slots_.at(static_cast<size_t>(from));
    slots_.at(static_cast<size_t>(to)).assign(tokens.begin(), tokens.begin() + positions);
  }

 private:
  const TableModel& model_;
  SlotCapacity capacity_;
  std::vector<std::vector<int32_t>> slots_;
  std::vector<std::vector<float>> weights_;
  std::vector<std::vector<float>> outputs_;
};

inline std::unique_ptr<SlotDecoder> TableModel::open(const SlotCapacity& capacity) const {
  return std::make_unique<TableDecoder>(*this, capacity);
}

// Every reply of at most `length` tokens: it ends in the stop token 0 or is cut.
inline std::vector<std::vector<int32_t>> all_replies(int64_t vocabulary, size_t length) {
  std::vector<std::vector<int32_t>> open = {{}};
  std::vector<std::vector<int32_t>> out;
  while (!open.empty()) {
    std::vector<int32_t> prefix = open.back();
    open.pop_back();
    for (int32_t v = 0; v < vocabulary; ++v) {
      prefix.push_back(v);
      (v == 0 || prefix.size() == length ? out : open).push_back(prefix);
      prefix.pop_back();
    }
  }
  return out;
}

}  // namespace candor
