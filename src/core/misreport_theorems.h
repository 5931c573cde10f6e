#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "core/game.h"

namespace candor {

// What the paper says about the truth of one group when nobody pays, on one game: whether what a
// theorem assumes holds, and the misreports that its proof constructs.
//
//   Thm 3.2      s_i, the number of different reward values. (1) s_i = 1: truth is optimal.
//                (2) s_i >= 2 and min rm_i > 0: the worst outcome lowered by eps (max
//                normalisation), or eps moved from the worst to the best (sum), gains strictly.
//   Thm A.1      f strongly convex and C^2, t(x) != 0 for some x: truth is not optimal. With t of
//                Thm E.2 the bare statement is false [ours: KL, p0 = (1/2, 1/2), rm = (1, 0), size
//                fixed: t = (.27, -.73) and truth is optimal]; what is true is
//   Thm E.2      with s_i >= 2, min rm_i = 0 and
//                  t(z) = sum_x (rm_i(z) - rm_i(x)) p0(x)/f''(r(x))
//   Thm E.2 (1)  max: some x1 with t(x1) != 0 and 0 < rm_i(x1) < 1: rm_i(x1) moved along t's sign
//   Thm E.2 (2)  sum: some x1 with t(x1) < 0 and 0 < rm_i(x1) < 1: eps from x1 to argmax rm_i
//   Thm E.2 (3)  sum: some x1, x2 with t(x1) > 0, 1 > rm_i(x1) >= rm_i(x2) > 0 and
//                f''(r(x1))/p0(x1) < f''(r(x2))/p0(x2): eps from x2 to x1
//
// All but Thm 3.2 (1) assume what Sec. 3 does: every distribution is a model, f is strictly convex
// and the model is positive everywhere. E.2 asks for a strongly convex f; its proof needs f'' > 0
// around the ratios of a positive model alone, which every f here but tv has.
//
// Games of several prompts [ours]: a model of one prompt does not depend on the others, so t is of
// an outcome's own prompt, x1 and x2 of (3) share one, and 3.2 speaks of prompts with two values.
// Normalisation `none` is treated like max, with the largest reward in place of 1.

// Where a proof moves reward: eps more at `up`, eps less at `down`, 0 < eps < most.
struct RewardMove {
  std::optional<size_t> up;
  std::optional<size_t> down;
  double most = 0;
};

struct TheoremCheck {
  bool holds = false;  // what the theorem assumes
  std::string why;     // what was found, or the first assumption that fails
  // The misreport, all moves at once; those of 3.2 also where its assumptions on f and the model
  // fail, so that an audit can show that they gain nothing then.
  std::vector<RewardMove> moves;
};

struct MisreportTheorems {
  TheoremCheck thm_3_2;
  int thm_3_2_case = 0;  // 1 or 2 where it holds
  TheoremCheck thm_a_1;  // as stated; no moves
  std::array<TheoremCheck, 3> thm_e_2;
  int thm_e_2_case = 0;     // the first of the three that holds
  std::string thm_e_2_why;  // ... and its reason; else what keeps this normalisation's from holding
  std::vector<double> t;    // [m]; empty where the model has a zero, f is tv or there is a menu
  // A change of the total reward that moves no outcome's mass by much more than a hundredth: small
  // enough for the first order to decide. 0 where t is empty.
  double gentle_change = 0;
};

// REQUIRES: `model` is the SW-Max model of `game`, [m]. t counts as 0 below 1e-12 of what it sums.
// Cost     O(m log m).
[[nodiscard]] MisreportTheorems check_misreport_theorems(const Game& game, size_t group,
                                                         const std::vector<double>& model);

}  // namespace candor
