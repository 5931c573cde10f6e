#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "core/stream.h"

namespace candor {

// A game larger than one machine, as a few rounds of map and reduce. Solving streamed games is a
// sequence of passes over segments of 2^18 outcomes; which pass comes next follows from the sums of
// the earlier ones. Map: one shard adds up its own segments for the next pass. Reduce: all shards'
// sums become the next state, or the solution. It is solve_stream's own code that runs, so the
// solution has the same bits for any number of shards, on one instruction set.
//
// Passes   kl: measure, kl (and once more where stakes are large). chi2 with no outcome at zero
// mass: measure, moments. tv: measure, top,
//          tv. Other f: measure, moments, a few Newton steps, price.
// Size     of a state: passes x segments x some 5n + 5 numbers.

// One pass, known for every segment.
struct PassRecord {
  std::string name;
  std::vector<std::vector<double>> parts;  // [segments]
};
using PassHistory = std::vector<PassRecord>;

// What one shard knows of the next pass.
struct Accumulator {
  std::string pass;
  size_t first_segment = 0;
  std::vector<std::vector<double>> parts;
};

[[nodiscard]] size_t stream_segments(size_t outcomes);

// Shard `shard` of `shards` owns the segments [shard S / shards, (shard + 1) S / shards).
// REQUIRES: shard < shards.
struct SegmentRange {
  size_t begin = 0;
  size_t end = 0;
};
[[nodiscard]] SegmentRange shard_segments(size_t outcomes, size_t shard, size_t shards);

// The map: sums of the pass after `history` over the range's segments. Reads no other outcomes.
// Errors   as make_stream_game (a bad value is named by the shard that holds it); the history
//          belongs to another game or solves this one already.
Result<Accumulator> map_shard(const StreamGame& raw, Normalization normalization,
                              const PassHistory& history, SegmentRange range, int threads);

// The reduce: `history` with one more pass, all accumulators together; solves the game if that was
// the last one. The game's columns may have no data, only their size.
// Errors   kInvalidArgument: a segment missing or twice, another pass, parts of another length.
struct Reduced {
  PassHistory history;
  std::optional<Solution> solution;
};
Result<Reduced> reduce_shards(const StreamGame& raw, Normalization normalization,
                              PassHistory history, const std::vector<Accumulator>& accumulators,
                              const SolveOptions& options = {});

}  // namespace candor
