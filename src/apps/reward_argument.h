#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "base/json.h"
#include "base/progress.h"
#include "base/result.h"
#include "worker/reward_function.h"

namespace candor {

// A reward as a person names it on a command line, in one form for every command:
//
//   KIND:WHAT          WHAT is the kind's first key: brevity:20, lexicon:FILE, head:FOLDER,
//                      linear_ngrams:FILE, checkpoint:FOLDER, remote:URL, labelled:DATA,
//                      preference:DATA; not-head:FOLDER is the head turned round
//   KIND:WHAT#KEY=VALUE#KEY=VALUE   with further keys of the kind in a study (study/1)
//   FILE.json          that object of a study itself; paths in it are relative to the file
//
// Every kind of a study is one here, read by the study's reader (study/reward_source.h).
[[nodiscard]] std::string reward_argument_form();

// Whether the text begins with a kind and a colon.
[[nodiscard]] bool names_reward_kind(const std::string& text);

// What reward arguments of a command share.
struct RewardContext {
  std::string flag;     // "--reward", for errors
  std::string encoder;  // of heads that have none beside them
  std::string base;     // of checkpoint adapters; empty: the one that the adapter names
  uint64_t seed = 1;
  int threads = 0;
  // Where the kinds that a study trains (labelled, preference) leave their heads: a folder each.
  std::filesystem::path trained;
};

struct RewardArgument {
  std::string name;  // the kind as it was given
  Json spec;         // as the score stage takes it, digests and all
  std::map<std::string, std::filesystem::path> paths;

  [[nodiscard]] RewardPaths finder() const;
};
// Finds and hashes the reward's files, and trains what is to be trained.
// Errors: kUsage for a text of another form or a value that the kind does not allow; those of the
// files.
Result<RewardArgument> reward_argument(const std::string& text, const RewardContext& context,
                                       const ProgressSink& progress = {});
// The same of the object that a text or a file stands for; `folder`: what its paths are relative
// to.
struct RewardObject {
  std::string name;
  Json json;
  std::string source;  // for errors: the flag's text, or the file
  std::filesystem::path folder;
  bool in_file = false;
};
Result<RewardArgument> reward_argument(const RewardObject& object, const RewardContext& context,
                                       const ProgressSink& progress = {});

// The reward alone. Errors: as reward_argument, and RewardFunction's.
Result<RewardFunction> load_reward(const RewardArgument& argument, const RewardContext& context);

}  // namespace candor
