#pragma once

#include <vector>

#include "base/result.h"
#include "core/game.h"

namespace candor {

// The two strategies of App. C.2 (the paper's alpha and beta).
enum class Misreport {
  kSizeInflation,         // report (rm_i, a w_i)
  kPreferenceMix,         // report (b rm_i + (1-b) rm_{-i}, w_i), as it comes
  kPreferenceMixClipped,  // the same clipped to [0, 1]
};

struct SweepPoint {
  double parameter = 0;  // a or b; 1 is the truth
  double valuation = 0;  // true w_i v_i of the resulting model
  double payment = 0;    // p^AFF at the misreport
  double utility = 0;    // valuation - payment: what the group is left with under p^AFF
  size_t clipped = 0;    // rewards that clipping moved
};

// One group's curves of the paper's Figure 2: what it gets and pays under p^AFF for each parameter,
// always valued with its true reward and size. Without payments its utility is `valuation`.
// rm_{-i} is the size-weighted mean of the other groups (MATH 8); a group alone has none.
// Errors: kInvalidArgument for a parameter <= 0 (size) or not finite, or a mix without others.
// Cost: one solve per point.
Result<std::vector<SweepPoint>> sweep(const Game& game, size_t group, Misreport kind,
                                      const std::vector<double>& parameters);

// rm_{-i}: the size-weighted mean of the other groups' rewards (MATH 8). REQUIRES: n >= 2.
[[nodiscard]] std::vector<double> others_mean_reward(const Game& game, size_t group);

// b rm_i + (1-b) rm_{-i} with the true size; with `clip`, clipped to [0, 1] and counted in
// *clipped.
[[nodiscard]] Report mixed_report(const Report& truth, const std::vector<double>& others,
                                  double preference_mix, bool clip, size_t* clipped = nullptr);

}  // namespace candor
