#include "lm/menu_prompt_cache.h"

#include <algorithm>

#include "base/check.h"

namespace candor {

MenuPromptCache::MenuPromptCache(SlotDecoder& decoder, int64_t vocabulary_size, int64_t first_slot,
                                 int64_t slot_count)
    : decoder_(decoder),
      vocabulary_size_(vocabulary_size),
      first_slot_(first_slot),
      entries_(static_cast<size_t>(slot_count)) {
  CANDOR_CHECK(slot_count > 0);
}

const float* MenuPromptCache::start(std::span<const int32_t> prompt,
                                    const std::vector<float>& variant, int64_t slot) {
  auto found = std::ranges::find_if(entries_, [&](const Entry& entry) {
    return entry.last_use > 0 && entry.variant == variant &&
           std::ranges::equal(entry.prompt, prompt);
  });
  if (found == entries_.end()) {
    found = std::ranges::min_element(entries_, {}, &Entry::last_use);
    read(*found, first_slot_ + (found - entries_.begin()), prompt, variant);
  }
  found->last_use = ++clock_;
  decoder_.set_slot_adapters(slot, variant);
  decoder_.copy_cache(first_slot_ + (found - entries_.begin()), slot,
                      static_cast<int64_t>(prompt.size()));
  return found->logits.data();
}

void MenuPromptCache::read(Entry& entry, int64_t slot, std::span<const int32_t> prompt,
                           const std::vector<float>& variant) {
  entry.prompt.assign(prompt.begin(), prompt.end());
  entry.variant = variant;
  entry.logits.resize(static_cast<size_t>(vocabulary_size_));
  decoder_.set_slot_adapters(slot, variant);
  std::vector<SlotDecoder::Row> rows;
  const auto length = static_cast<int64_t>(prompt.size());
  for (int64_t begin = 0; begin < length; begin += kMenuPrefillRows) {
    rows.clear();
    for (int64_t t = begin; t < std::min(length, begin + kMenuPrefillRows); ++t) {
      rows.push_back({prompt[static_cast<size_t>(t)], slot, t});
    }
    decoder_.forward(rows);
  }
  decoder_.logits(static_cast<int64_t>(rows.size()) - 1, 1, entry.logits.data());
}

int64_t menu_prompt_slots(int64_t variants_of_candidate) { return variants_of_candidate + 1; }

}  // namespace candor
