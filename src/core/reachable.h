#pragma once

#include "core/lie_search.h"

namespace candor {

// Which candidates a group can make win by some admissible report, exactly, by one linear programme
// for each (MATH 4): with the stake r = w' rm' as the unknown, candidate k wins iff
//   <P_k - P_j, r> >= B_i(j) - B_i(k) for all j,
// and every stake that is a report of some smaller size is one of size w_max too, because a
// constant reward changes no comparison: 0 <= r <= w_max (max), r >= 0 with sum w_max (sum). Under
// pay_report <P_k, r> is minimised as well; there sizes are whole and max r must be one, so the
// programme bounds the gain from above and the report made from it from below.
//
// Tries the report of every candidate worth reaching on the search (family "reachable").
// Returns what no report gains more than (utility less that of the truth).
// REQUIRES: candidates. Cost: at most K programmes of m + 1 unknowns and K rows; nothing is done
// beyond K x m = kMostReachableEntries (then it returns the search's certificate).
inline constexpr size_t kMostReachableEntries = 200000;
[[nodiscard]] double try_reachable(LieSearch& search);

}  // namespace candor
