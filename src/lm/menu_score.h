#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/progress.h"
#include "base/result.h"
#include "lm/candidate_model.h"
#include "lm/slot_decoder.h"

namespace candor {

// Teacher forcing of replies under the candidates of a menu, beside the initial model.

struct MenuReply {
  size_t candidate = 0;
  std::span<const int32_t> prompt_ids;  // at least one
  std::span<const int32_t> token_ids;   // at least one
};

// One token of a reply under its candidate p and the initial model p0, natural logs in double.
struct TokenComparison {
  double candidate_log = 0;  // log p(token | what precedes it); -infinity where it is clipped
  double initial_log = 0;
  double kl = 0;             // KL(p || p0) of the whole distribution here, >= 0
  bool clipped = false;      // p gives some token probability 0
  bool most_likely = false;  // no token is likelier than this one under the candidate
};

struct MenuScoreOptions {
  double temperature = 1;          // > 0: of both models, after mixing
  bool compare_to_initial = true;  // else initial_log and kl stay 0, and a pass is saved
  int64_t rows = 64;               // positions that run together
};

// Shapes   result[r] has token_ids.size() entries.
// Errors   as generate_menu, with `where` "reply R" for a bad one.
// Cost     one read of the weights per options.rows positions of a reply, all variants counted; the
//          prompts of neighbouring replies are read once where they agree.
Result<std::vector<std::vector<TokenComparison>>> score_menu(
    const SlotModel& model, std::span<const CandidateModel> candidates,
    std::span<const MenuReply> replies, const MenuScoreOptions& options,
    const ProgressSink& progress = {});

}  // namespace candor
