#include "lm/slot_decoder.h"

#include "base/check.h"

namespace candor {

namespace {

class ModelSlotDecoder : public SlotDecoder {
 public:
  ModelSlotDecoder(const LanguageModel& model, const SlotCapacity& capacity)
      : decoder_(model, capacity.slots, capacity.positions, capacity.rows) {}

  void set_slot_adapters(int64_t slot, std::span<const float> weights) override {
    decoder_.set_slot_adapters(slot, weights);
  }
  void forward(std::span<const Row> rows) override { decoder_.forward(rows); }
  void logits(int64_t first, int64_t count, float* out) override {
    decoder_.logits(first, count, out);
  }
  void copy_cache(int64_t from, int64_t to, int64_t positions) override {
    decoder_.copy_cache(from, to, positions);
  }

 private:
  Decoder decoder_;
};

}  // namespace

int64_t LanguageSlotModel::adapter_count() const { return model_.row_adapters().count; }

std::unique_ptr<SlotDecoder> LanguageSlotModel::open(const SlotCapacity& capacity) const {
  return std::make_unique<ModelSlotDecoder>(model_, capacity);
}

}  // namespace candor
