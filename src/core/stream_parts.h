#pragma once

#include <algorithm>
#include <vector>

#include "core/stream.h"
#include "core/stream_kernels.h"

namespace candor {

// What the streaming solvers share; stream.h is the way in.

// Outcomes are summed in segments of fixed size, each by one thread, and the segments' sums in
// order: the result is the same for any number of threads.
inline constexpr size_t kSegment = size_t{1} << 18;
static_assert(kSegment % stream::kChunk == 0);

[[nodiscard]] inline size_t segment_count(const StreamGame& game) {
  return (game.outcome_count() + kSegment - 1) / kSegment;
}

// Reads the chunks of one segment; the last one of the game is padded: p0 = 0, rewards repeated.
class ChunkReader {
 public:
  ChunkReader(const StreamGame& game, size_t segment);
  [[nodiscard]] const stream::ChunkView& view() const { return view_; }
  [[nodiscard]] size_t count() const { return count_; }  // outcomes that are not padding
  bool next();

 private:
  [[nodiscard]] stream::ChunkColumn part(const Column& column) const;
  void pad();

  const StreamGame& game_;
  size_t begin_;
  size_t end_;
  size_t count_ = 0;
  stream::ChunkView view_;
  std::vector<double> padded_;
};

// A solution with names and sizes.
[[nodiscard]] Solution outcomes_of(const StreamGame& game);

// Every moment of the game that chi2 needs, with d_i = r_i - centre_i, and the extent of each
// problem's total reward. One read.
struct GameMoments {
  stream::MomentRates rates;
  stream::Moments sums;  // of p0 as it lies in the column
};
[[nodiscard]] GameMoments moments_of(const StreamGame& game, int threads);

[[nodiscard]] Solution solve_kl_stream(const StreamGame& game, int threads);
// kl and tv excepted.
[[nodiscard]] Solution solve_lock_step(const StreamGame& game, const GameMoments& moments,
                                       int threads);

}  // namespace candor
