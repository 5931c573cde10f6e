#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>

#include "base/json.h"
#include "base/result.h"
#include "study/machine.h"
#include "study/reward_source.h"
#include "study/store.h"

namespace candor {

// A reward's files, found and hashed; a kind has the ones it needs.
struct RewardFiles {
  std::filesystem::path encoder, data, head, lexicon, model, adapter;
  std::string encoder_digest, data_digest, head_digest, lexicon_digest, model_digest,
      adapter_digest;

  [[nodiscard]] Json digests() const;  // of the files that there are, by name
};
// Adds the sources of a reward under "OWNER: KIND" to {NAME: {"source","digest"}}.
void add_sources(const RewardSource& reward, const RewardFiles& files, const std::string& owner,
                 Json& sources);

// Errors: a source that is missing; a checkpoint's model that is an adapter alone, whose base would
// be in no digest. `folder` is the study's.
Result<RewardFiles> find_reward_files(const RewardSource& reward,
                                      const std::filesystem::path& folder);

// The stage that trains a reward model. REQUIRES: reward.trained().
[[nodiscard]] Stage reward_training_stage(const RewardSource& reward, const RewardFiles& files,
                                          const std::string& name, uint64_t seed,
                                          const Machine& machine);

// A reward as the score and rlhf stages take it (worker/reward_function.h).
struct RewardSpec {
  Json spec;
  std::map<std::string, StageInput> inputs;
  bool needs_prompt = false;   // a trained head that reads the prompt too
  bool uses_libtorch = false;  // a network, not a rule over words
};
// `trained` is the folder of its training stage's artifact, where there is one. Errors: a head that
// is not the one that was found when the study was planned.
Result<RewardSpec> reward_spec(const RewardSource& reward, const RewardFiles& files,
                               const std::filesystem::path& trained);

// A bank of replies whose rewards are asked for.
struct ScoredBank {
  std::string label;  // " on the bank"
  std::filesystem::path file;
  std::string digest;
  std::filesystem::path prompts;
  std::string prompts_digest;
};
[[nodiscard]] Stage score_stage(const RewardSpec& reward, const std::string& name,
                                const ScoredBank& bank, const Machine& machine);

// Resolves `source` and hashes it; nothing where it is empty.
Status find_source(const std::string& source, const std::filesystem::path& folder,
                   std::filesystem::path& path, std::string& digest);

}  // namespace candor
