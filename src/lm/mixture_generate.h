#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "base/progress.h"
#include "base/result.h"
#include "lm/candidate_model.h"
#include "lm/generate.h"
#include "lm/slot_decoder.h"

namespace candor {

// Sampling from every candidate of a menu in one refilled batch: a row is a sequence of one of a
// candidate's variants; a mixture's rows are decoded together and one token is drawn for them all.

struct MenuPrompt {
  std::vector<int32_t> ids;  // at least one
  uint32_t index = 0;        // keys the random numbers
};

// Hears every token as it is drawn, with the place of its reply in the result. One thread.
using TokenSink = std::function<void(size_t place, int32_t token)>;

// Samples `samples` continuations of every prompt from every candidate.
//
// Shapes   result[(candidate * prompts + prompt) * samples + sample]; token_logprobs and logprob
//          are the candidate's own, exact: of the untempered, untruncated mixture for a mixture.
// Random   the draw at position t depends on (seed, stream, prompt index, sample, t), as in
//          generate.h, and NOT on the candidate: candidates share their random numbers. Two close
//          candidates then give mostly the same replies, so differences of their values have far
//          less variance than with independent draws; each candidate alone is sampled as ever.
// Threads  the result does not depend on batch or threads beyond what rounding of the decoder does.
// Errors   as generate; as TokenMixer::mix, naming the candidate.
// Cost     one read of the weights a step for options.batch rows (at least one candidate's); a
//          prompt is read once per variant.
Result<std::vector<Generation>> generate_menu(const SlotModel& model,
                                              std::span<const CandidateModel> candidates,
                                              std::span<const MenuPrompt> prompts, int64_t samples,
                                              const GenerateOptions& options,
                                              const ProgressSink& progress = {},
                                              const TokenSink& on_token = {});

// The checks on prompts that generate_menu and score_menu share: not empty, ids in range, room for
// `new_tokens` in the context.
Status check_menu_prompt(const SlotModel& model, std::span<const int32_t> ids, int64_t new_tokens);

}  // namespace candor
