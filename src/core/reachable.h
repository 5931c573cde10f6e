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
// Under min_max the stakes of a report reach from 0 to exactly its size, a whole number [ours]: no
// constant makes a small report a large one. So one programme for each pair of outcomes, of which
// one carries the size and one nothing, has the size as an unknown; its value is concave in the
// size (the margin) or convex (the payment), so the best whole size is a neighbour of the best real
// one. Beyond kMostEnds outcomes the programme without pairs bounds the gain from above.
// Tries the report of every candidate worth reaching on the search (family "reachable").
// Returns what no report gains more than (utility less that of the truth).
// REQUIRES: candidates. Cost: at most K programmes of m + 1 unknowns and K rows; nothing is done
// beyond K x m = kMostReachableEntries (then it returns the search's certificate).
inline constexpr size_t kMostReachableEntries = 200000;
inline constexpr size_t kMostEnds = 16;
[[nodiscard]] double try_reachable(LieSearch& search);

}  // namespace candor
