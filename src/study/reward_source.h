#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"

namespace candor {

// Where a reward comes from: the object "reward" or "judge" of a group in study/1.
struct RewardSource {
  enum class Kind { kLabelled, kHead, kBrevity, kLexicon };
  Kind kind = Kind::kBrevity;
  // kLabelled: a head on a frozen encoder, trained in the study. kHead: one trained before.
  std::string encoder;
  std::string head;  // a folder with head.safetensors
  std::string data;
  std::string text_field, label_field;
  std::vector<std::string> positive_values;
  bool positive_is_good = true;
  int64_t max_texts = 0;
  bool balance = true;
  double l2 = 1e-3;
  double scale_words = 20;  // kBrevity
  std::string lexicon;      // kLexicon

  [[nodiscard]] bool trained() const { return kind == Kind::kLabelled; }
};

// Reads `group`'s object `key`; errors go to `group`.
RewardSource read_reward_source(JsonReader& group, const std::string& key);
[[nodiscard]] Json reward_source_json(const RewardSource& reward);

}  // namespace candor
