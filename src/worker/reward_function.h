#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/progress.h"
#include "base/result.h"
#include "lm/reward_features.h"

namespace candor {

// One reply to be rewarded, {prompt, completion}. The prompt is as reward_prompt_text gives it; it
// may stay empty for rewards that do not read it (needs_prompt).
using RewardRequest = PromptedText;

// Where the files of a reward lie, by the name its kind gives them ("head", "lexicon", ...). A
// stage with one reward passes StageRequest::path; one with several adds a prefix of its own.
using RewardPaths = std::function<Result<std::filesystem::path>(const std::string& name)>;

// A reward of any kind that a study knows, loaded once and asked many times: the score stage and
// RLHF use the same object, so what is optimised is what is priced.
//
//   kind      keys of the spec                                    paths
//   head      encoder_digest, head_digest, positive_is_good,      encoder (folder), head (file)
//             scale? (probability, or logit)
//   brevity   scale_words                                         -
//   lexicon   digest                                              lexicon (.json, .txt, also .gz)
//   linear_   digest, class (one of the model's)                  model (linear-ngrams/1, also .gz)
//   ngrams
//   check-    model_digest, adapter_digest?, positive_is_good?,   model (folder), adapter (folder;
//   point     scale? (probability, or logit)                      then model is its base)
//   remote    url, version, batch?, timeout_s?, attempts?         -
//
// In study/1 (branch points for src/study/reward_source.cc; what is optional has `?`):
//   {kind: labelled | preference, encoder, data, features?, prompt_field?, l2?, max_texts?, ...}
//       both are one `reward` stage (the records say whether they are pairs or labelled texts, or
//       both) and a `head` reward; `preference` has no label fields (the stage then gets the
//       defaults "text", "label", ["1"]) and positive_is_good is true
//   {kind: head, ..., scale?}   {kind: linear_ngrams, model, class}
//   {kind: checkpoint, model, adapter?, positive_is_good?, scale?}
//   {kind: remote, url, version, batch?, timeout_s?, attempts?}
// `features: prompt_completion` makes the head read the prompt. A score stage whose reward
// needs_prompt() gets spec.prompts_digest and paths.prompts (the prompts of its bank) besides; for
// kind head the file tells (load_reward_head), for trained heads `features` does. The score stage
// reads these two keys where they are given, needed or not.
//
// Digests name the files in the identity of a stage; they are not checked here.
class RewardFunction {
 public:
  // Reads the kind's keys out of `spec`; other keys are the caller's, who calls spec.finish().
  // Errors: kInvalidArgument: a bad spec, a missing path, a file of another form.
  static Result<RewardFunction> load(JsonReader& spec, const RewardPaths& paths, int threads);

  // One finite number per request, in their order; larger is better. A pure function of the
  // request, up to f32 rounding of the batches; of kind remote it is what the server makes of it.
  // Errors: a reward that is not finite; of kind remote kResource where the server fails.
  Result<std::vector<double>> score(std::span<const RewardRequest> requests,
                                    const ProgressSink& progress = {}) const;

  // Every kind that can be loaded: those of study/reward_source.h but the ones that are trained in
  // a study, which become heads.
  static const std::vector<std::string>& kinds();

  // Whether `score` reads RewardRequest::prompt.
  [[nodiscard]] bool needs_prompt() const;

  class Model;  // one kind; see reward_function.cc

 private:
  explicit RewardFunction(std::shared_ptr<const Model> model) : model_(std::move(model)) {}
  std::shared_ptr<const Model> model_;
};

// What a reward reads of a record of prompts: "prompt" as it is; of "messages" the contents, system
// turns left out, joined by a blank line (so the single turn of a single-turn chat as it is).
// Errors: neither is there, or not of that form.
Result<std::string> reward_prompt_text(const Json& record, const std::string& where);

}  // namespace candor
