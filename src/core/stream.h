#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "core/divergence.h"
#include "core/game.h"
#include "core/solution.h"

namespace candor {

// Numbers that lie in memory or in a mapped file; exactly one pointer is set. Not owned.
struct Column {
  const double* f64 = nullptr;
  const float* f32 = nullptr;
  size_t size = 0;

  [[nodiscard]] double at(size_t index) const {
    return f64 != nullptr ? f64[index] : static_cast<double>(f32[index]);
  }
};

struct StreamGroup {
  std::string name;
  double group_size = 1;
  Column reward;          // [m], as reported
  double offset = 0;      // less this, which is 0 but under min_max,
  double scale = 1;       // times this,
  double scale_rest = 0;  // plus this, it is normalised
  double low = 0;         // least and greatest reported reward
  double top = 1;
  double first_mean = 0;  // the plain mean of the first outcomes: a cheap centre
};

// One game over a single block that is too large to copy: its columns are streamed in pieces and
// nothing of size m is allocated.
struct StreamGame {
  Divergence divergence;
  Column initial;            // [m], > 0
  double initial_scale = 1;  // times this it sums to 1
  double initial_low = 0;    // the least of it, scaled
  // How far, relative to themselves, the scales are from the exact ones: sums round.
  double initial_scale_error = 0;
  double reward_scale_error = 0;
  std::vector<StreamGroup> groups;

  [[nodiscard]] size_t outcome_count() const { return initial.size; }
};

// Checks the columns and finds what normalises them. One read.
// Errors   as make_game, naming the group and the outcome.
// Threads  all cores for 0; the result does not depend on their number.
Result<StreamGame> make_stream_game(StreamGame raw, Normalization normalization, int threads = 0);

// solve() for a streamed game: welfare, divergence, valuations and payments of all groups; the
// allocation is left empty.
//
// Source   Sun et al. 2025, Def 3.1 and p^AFF (Sec. 3); MATH 3 for the formulas.
// Cost     reads of the rewards, in Solution::reads: KL one (two where large stakes make the first
//          one's centres too coarse); chi2 one while no outcome loses its
//          mass in any of the n+1 problems; tv two. Otherwise one read to measure the game, one a
//          Newton step of all n+1 problems together (they start from a sample's solution), one to
//          price; where that finds a mass off 1 after all, Newton goes on, if need be with dual
//          variables and drops to 106 bits, and prices again.
// Errors   kInvalidArgument where the game leaves the range of double precision. A number that is
//          not within the tolerance is no error: see Solution::converged.
// Threads  as make_stream_game. Equal bits for any number of threads on one instruction set.
Result<Solution> solve_stream(const StreamGame& game, int threads = 0,
                              const SolveOptions& options = {});

}  // namespace candor
