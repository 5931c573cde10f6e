#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "lm/slot_decoder.h"

namespace candor {

inline constexpr int64_t kMenuPrefillRows = 128;  // prompt tokens run through the model together

// Probabilities computed together from which on threads pay.
inline constexpr int64_t kWorthThreads = 1 << 14;

// Prompts that were read lately, each under one variant, in slots of their own: sequences copy
// their caches from there. The least recently used slot is read over. Internal to lm.
class MenuPromptCache {
 public:
  // Uses the slots first_slot .. first_slot + slot_count - 1 of `decoder`.
  MenuPromptCache(SlotDecoder& decoder, int64_t vocabulary_size, int64_t first_slot,
                  int64_t slot_count);

  // Logits [V] after the prompt; the cache is copied to `slot`. The logits stay valid until
  // slot_count further calls.
  const float* start(std::span<const int32_t> prompt, const std::vector<float>& variant,
                     int64_t slot);

 private:
  struct Entry {
    std::vector<int32_t> prompt;
    std::vector<float> variant;
    std::vector<float> logits;
    uint64_t last_use = 0;
  };
  void read(Entry& entry, int64_t slot, std::span<const int32_t> prompt,
            const std::vector<float>& variant);

  SlotDecoder& decoder_;
  int64_t vocabulary_size_;
  int64_t first_slot_;
  std::vector<Entry> entries_;
  uint64_t clock_ = 0;
};

// Enough slots that a candidate's prompts stay while its samples start.
[[nodiscard]] int64_t menu_prompt_slots(int64_t variants_of_candidate);

}  // namespace candor
