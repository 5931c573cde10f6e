#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/check.h"
#include "base/json.h"
#include "lm/rlhf_step.h"

namespace candor {

// For tests: tests/golden/rlhf.json, steps of given replies and scores on tests/golden/tiny_llama.

inline const Json& rlhf_golden() {
  static const Json kGolden = *read_json_file(
      (std::filesystem::path(CANDOR_SOURCE_DIR) / "tests/golden/rlhf.json").string());
  return kGolden;
}

inline std::vector<RlhfPrompt> rlhf_golden_prompts() {
  std::vector<RlhfPrompt> out;
  for (const Json& ids : rlhf_golden()["prompts"]) {
    out.push_back({ids.get<std::vector<int32_t>>(), ""});
  }
  return out;
}

inline RlhfSettings rlhf_golden_settings(const std::string& algorithm) {
  Json json = rlhf_golden()["settings"];
  if (algorithm == "ppo") json.update(rlhf_golden()["ppo_settings"]);
  json["algorithm"] = algorithm;
  JsonReader in(json, "rlhf.json");
  RlhfSettings out = read_rlhf_settings(in);
  CANDOR_CHECK(in.finish().ok());
  out.sampler_weight_cap = 0;  // the replies are given, nobody sampled them
  return out;
}

inline Rollout rlhf_golden_rollout(size_t step) {
  std::vector<RlhfReply> replies;
  const Json& given = rlhf_golden()["steps"][step];
  for (const Json& json : given["replies"]) {
    RlhfReply reply;
    reply.prompt = json["prompt"].get<size_t>();
    reply.token_ids = json["token_ids"].get<std::vector<int32_t>>();
    reply.sampler_logprobs.assign(reply.token_ids.size(), 0);
    replies.push_back(std::move(reply));
  }
  Rollout rollout = make_rollout(std::move(replies));
  rollout.scores = given["scores"].get<std::vector<double>>();
  return rollout;
}

}  // namespace candor
