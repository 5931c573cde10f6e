#pragma once

#include <cstddef>
#include <vector>

#include "base/result.h"
#include "core/table.h"

namespace candor {

// A stretch of a sweep in which one candidate wins; it wins everywhere strictly inside.
struct TableSweepPiece {
  double begin = 0;
  double end = 0;
  size_t winner = 0;
};

// Every breakpoint of the paper's Figure 2 on a table, for one group that lies while the others
// stay:
//
//   size_inflation_pieces   reports (V_i, a w_i), a in (0, largest]
//   preference_mix_pieces   reports (b V_i + (1-b) V_{-i}, w_i), b in [0, largest]; V_{-i} is the
//                           size-weighted mean row of the other groups
//
// Under both, each candidate's total is a line in the parameter, and the winner follows the upper
// envelope (MATH 4). Reports are neither clipped nor rounded and `a w_i` need not be whole.
// Candidates whose lines coincide are told apart by the tie order (MATH 1).
//
// Source   Sun et al. 2025, App. C.2, Figure 2; MATH 4.
// Returns  pieces that cover [0, largest] from left to right. Which candidate wins is exact
// (128-bit
//          integers, breakpoints compared as fractions); a breakpoint is its fraction as a double.
// Errors   kInvalidArgument: check_table; no such group; largest not finite or <= 0; a mix without
//          other groups; more agents than 128 bits take (over 2^31 groups of 2^31 agents).
// Cost     O(n K + K P) for P <= K pieces.
Result<std::vector<TableSweepPiece>> size_inflation_pieces(const Table& table, size_t group,
                                                           double largest);
Result<std::vector<TableSweepPiece>> preference_mix_pieces(const Table& table, size_t group,
                                                           double largest);

// Who wins as the divergence grows dearer: totals sum_i w_i V[i][k] - t D[k], t in [0, largest]. In
// a table whose D holds lambda, t = L / lambda: T_k is linear in L, so these are each candidate's
// winning interval of L, exactly (MATH 8). Errors: check_table; largest not finite or <= 0.
Result<std::vector<TableSweepPiece>> divergence_scale_pieces(const Table& table, double largest);

}  // namespace candor
