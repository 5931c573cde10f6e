#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "lm/decoder.h"
#include "lm/language_model.h"

namespace candor {

// What menus ask of a decoder: rows of one batch, each in a sequence slot, each slot under its own
// mixture of the model's row adapters. Tests put tables or merged models in its place.
class SlotDecoder {
 public:
  using Row = Decoder::Row;
  virtual ~SlotDecoder() = default;

  // One coefficient per row adapter: what the slot's later rows are computed with.
  virtual void set_slot_adapters(int64_t slot, std::span<const float> weights) = 0;
  virtual void forward(std::span<const Row> rows) = 0;
  virtual void logits(int64_t first, int64_t count, float* out) = 0;  // [count, V]
  virtual void copy_cache(int64_t from, int64_t to, int64_t positions) = 0;
};

struct SlotCapacity {
  int64_t slots = 1;
  int64_t positions = 1;  // of each slot
  int64_t rows = 1;       // of one forward
};

// A model that such decoders can be opened on.
class SlotModel {
 public:
  virtual ~SlotModel() = default;
  [[nodiscard]] virtual int64_t vocabulary_size() const = 0;
  [[nodiscard]] virtual int64_t context_length() const = 0;
  [[nodiscard]] virtual int64_t adapter_count() const = 0;
  [[nodiscard]] virtual int threads() const = 0;
  [[nodiscard]] virtual const std::vector<int32_t>& stop_ids() const = 0;
  [[nodiscard]] virtual std::unique_ptr<SlotDecoder> open(const SlotCapacity& capacity) const = 0;
};

// A language model with its row adapters (LoadOptions::row_adapters). `model` must outlive it.
class LanguageSlotModel : public SlotModel {
 public:
  explicit LanguageSlotModel(const LanguageModel& model) : model_(model) {}
  [[nodiscard]] int64_t vocabulary_size() const override { return model_.config().vocabulary_size; }
  [[nodiscard]] int64_t context_length() const override { return model_.config().context_length; }
  [[nodiscard]] int64_t adapter_count() const override;
  [[nodiscard]] int threads() const override { return model_.options().threads; }
  [[nodiscard]] const std::vector<int32_t>& stop_ids() const override { return model_.stop_ids(); }
  [[nodiscard]] std::unique_ptr<SlotDecoder> open(const SlotCapacity& capacity) const override;

 private:
  const LanguageModel& model_;
};

}  // namespace candor
