#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/progress.h"
#include "base/result.h"
#include "lm/reward_features.h"

namespace candor {

// A reward model behind HTTP, as OpenRLHF's --remote_rm_url has it. One request per batch:
//
//   POST url  {"query": [prompt + reply, ..], "prompts": [prompt, ..], "labels": ["", ..]}
//   answer    {"rewards": [number, ..], ..}   one per query, in their order
//
// What a server says is not addressed by its content: the same url may answer otherwise tomorrow.
struct RemoteReward {
  std::string url;         // http://HOST[:PORT]/PATH, or https
  int64_t batch = 64;      // texts of a request
  double timeout_s = 180;  // to connect, to send and to answer; OpenRLHF's
  int64_t attempts = 5;    // of a request that gets no answer, or status 429 or 5xx; OpenRLHF's
  double pause_s = 1;      // between two attempts
};

// Errors: kInvalidArgument: a url of another form.
Status check_remote_url(const std::string& url);

// Rewards in the order of the texts.
// Errors: kResource: no answer, or a status of 429 or 5xx, after all attempts; kInvalidArgument:
// another status than 200, an answer that is no JSON, without "rewards", of another length, with an
// entry that is no finite number: never asked again, since a wrong answer is no hiccup.
Result<std::vector<double>> ask_remote_reward(const RemoteReward& remote,
                                              std::span<const PromptedText> texts,
                                              const ProgressSink& progress = {});

}  // namespace candor
