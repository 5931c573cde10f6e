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
  enum class Kind {
    kLabelled,
    kPreference,
    kHead,
    kBrevity,
    kLexicon,
    kLinearNgrams,
    kCheckpoint,
    kRemote
  };
  Kind kind = Kind::kBrevity;
  // kLabelled, kPreference: a head on a frozen encoder, trained in the study on labelled texts or
  // on pairs. kHead: one trained before.
  std::string encoder;
  std::string head;  // a folder with head.safetensors
  std::string data;
  std::string text_field = "text", label_field = "label", prompt_field;
  std::vector<std::string> positive_values = {"1"};
  bool positive_is_good = true;
  int64_t max_texts = 0;
  bool balance = true;
  double l2 = 1e-3;
  std::string features = "completion";  // or "prompt_completion": the head reads the prompt too
  std::string scale = "probability";    // of a head or a checkpoint: or "logit"
  double scale_words = 20;              // kBrevity
  std::string lexicon;                  // kLexicon
  std::string model;                    // kLinearNgrams: a linear-ngrams/1 file ...
  std::string label_class;              // ... and the class whose probability is the reward
  // kCheckpoint: `model` is a whole reward model, a LlamaForSequenceClassification of one label; or
  // `adapter` is a PEFT folder of one, over the language model `model`.
  std::string adapter;
  // kRemote: a server that speaks OpenRLHF's protocol. What it says has no digest: `version` is the
  // user's word for it, and a stage is computed anew only when this object changes.
  std::string url, version;
  int64_t remote_batch = 64;
  double timeout_s = 180;
  int64_t attempts = 5;

  [[nodiscard]] bool trained() const {
    return kind == Kind::kLabelled || kind == Kind::kPreference;
  }
};

// "labelled", "preference", "head", ..: the one list of kinds, in the order of Kind.
[[nodiscard]] const std::vector<std::string>& reward_kind_names();

// Reads `group`'s object `key`; errors go to `group`.
RewardSource read_reward_source(JsonReader& group, const std::string& key);
[[nodiscard]] Json reward_source_json(const RewardSource& reward);

}  // namespace candor
