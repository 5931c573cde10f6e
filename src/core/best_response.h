#pragma once

#include "core/game.h"

namespace candor {

// The best lie of one group when nobody pays (Figure 1 of the paper shows one), over all rewards in
// [0, 1] and the given size.
struct BestResponse {
  double valuation = 0;  // true w_i v_i of the model the lie brings about
  Report report;         // 1 on the outcomes above the cut, 0 below
  bool exact = false;    // KL: the optimum; otherwise the best cut that the search found
};

// For a fixed dual variable the group's problem is a fractional knapsack in p/p0, so some best
// report is 1 on its top outcomes and 0 on the rest, with at most one outcome in between (MATH 5).
//
// KL [ours]: v_i is linear-fractional in the report's exponentials, so the fraction is never
// needed: every cut is tried, O(m log m). Other f: every cut of blocks up to 2,048 outcomes, 256
// cuts of larger ones, with a golden-section search for the outcome in between: at every cut whose
// slope changes sign there for blocks up to 64 outcomes (fixed points are not unique), at the best
// cut of larger ones; a lower bound.
//
// Blocks: the constraint 0 <= rm' <= 1 is one per outcome and a 0/1 report with a 1 anywhere has
// maximum 1, so under max normalisation the best lie is the best lie of each block by itself.
//
// min_max has the same answer [ours]. Its reports are among those of [0, 1], so nothing does better
// than the best of those; and some best one has a 1 and a 0. For raising the stake of a block's
// best outcome moves mass there from all others alike (p solves f'(p/p0) = s - mu with one mu,
// which rises), and lowering that of its worst moves mass from there: neither lowers v_i. So the
// worst outcome of each block stays at 0 (the cut that leaves nothing out is a constant, the model
// without the group), and each cut has a 1. A block of one outcome has nothing to choose: it keeps
// the truth.
//
// REQUIRES: size > 0, normalisation max, min_max or none, no candidates.
[[nodiscard]] BestResponse best_response_without_payments(const Game& game, size_t group,
                                                          double size);

}  // namespace candor
