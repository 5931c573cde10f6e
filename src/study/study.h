#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "core/game.h"

namespace candor {

// Where a group's reward comes from.
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
};

struct StudyGroup {
  std::string name;
  int64_t size = 1;
  RewardSource reward;
};

struct BankSettings {
  int64_t samples = 16;
  int64_t max_new_tokens = 64;
  double temperature = 1.0;
  double top_p = 1.0;
  int64_t top_k = 0;
  int64_t batch = 32;
};

// study/1 at the sampled level (docs/formats.md).
struct Study {
  std::string name;
  std::filesystem::path folder;  // sources are relative to it
  std::string model;
  std::string dtype = "bf16";
  std::string prompts;
  Divergence divergence;
  std::string normalization = "min_max";  // or "max": the sealed rule (DESIGN 6)
  BankSettings bank;
  int64_t reference_samples = 8;
  std::vector<StudyGroup> groups;
  std::vector<double> size_inflation;
  std::vector<double> preference_mix;
  int64_t max_size = (int64_t{1} << 31) - 1;
  int64_t resamples = 2000;
  double confidence = 0.95;
  uint64_t seed = 1;
  double unit_price = 0;  // money for one unit of reward x agent
  std::string currency;
  Json resolved;  // every setting, defaults included; what run directories keep
};

// Reads and checks a study. Errors: kInvalidArgument with file, line and field.
Result<Study> load_study(const std::string& path);

}  // namespace candor
