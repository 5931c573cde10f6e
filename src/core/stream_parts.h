#pragma once

#include <algorithm>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/double_double.h"
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

// What one segment adds in one pass, as plain numbers: so that it can be written down and summed
// elsewhere (shard.h) with the same result to the last bit.
using SegmentPart = std::vector<double>;

// Who runs the passes over the rewards. A solver asks for one pass after the other; which one comes
// next, and what it needs, follows from the parts of the earlier ones alone.
class SegmentPasses {
 public:
  SegmentPasses() = default;
  virtual ~SegmentPasses() = default;
  SegmentPasses(const SegmentPasses&) = delete;
  SegmentPasses& operator=(const SegmentPasses&) = delete;

  // The parts of all segments, in order; nothing where this process cannot know them all: then the
  // solver stops.
  virtual std::optional<std::vector<SegmentPart>> run(
      const std::string& name, const std::function<SegmentPart(size_t segment)>& work) = 0;
};

// Reads everything here and now.
class AllSegments : public SegmentPasses {
 public:
  AllSegments(size_t segments, int threads) : segments_(segments), threads_(threads) {}
  std::optional<std::vector<SegmentPart>> run(
      const std::string& name, const std::function<SegmentPart(size_t)>& work) override;

 private:
  size_t segments_;
  int threads_;
};

// make_stream_game and solve_stream, stopping where a pass is not known.
Result<std::optional<StreamGame>> measure_game(StreamGame raw, Normalization normalization,
                                               SegmentPasses& passes);
Result<std::optional<Solution>> solve_passes(const StreamGame& game, SegmentPasses& passes,
                                             const SolveOptions& options);

// An error that names the first value of segment `segment` that no game may have.
Status check_segment(const StreamGame& game, Normalization normalization, size_t segment);

// Reads the chunks of one segment; the last one of the game is padded: p0 = 0, rewards repeated.
class ChunkReader {
 public:
  ChunkReader(const StreamGame& game, size_t segment);
  [[nodiscard]] const stream::ChunkView& view() const { return view_; }
  [[nodiscard]] size_t count() const { return count_; }  // outcomes that are not padding
  [[nodiscard]] double reward(size_t group, size_t x) const {
    const stream::ChunkColumn& column = view_.rewards[group];
    return column.f64 != nullptr ? column.f64[x] : static_cast<double>(column.f32[x]);
  }
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

// Calls visit(outcome, initial, reward) for every outcome of one segment, in order; reward(i) is
// group i's reported reward there, initial as it lies in the column.
template <typename Visit>
void visit_segment(const StreamGame& game, size_t segment, const Visit& visit) {
  const auto value = [](const stream::ChunkColumn& column, size_t x) {
    return column.f64 != nullptr ? column.f64[x] : static_cast<double>(column.f32[x]);
  };
  size_t outcome = segment * kSegment;
  ChunkReader reader(game, segment);
  while (reader.next()) {
    for (size_t x = 0; x < reader.count(); ++x, ++outcome) {
      visit(outcome, value(reader.view().initial, x),
            [&](size_t i) { return value(reader.view().rewards[i], x); });
    }
  }
}

// Sums over a chunk of outcomes run in lanes of a vector, without compensation: no sum of 256 terms
// is off by more than this of the sum of their magnitudes.
inline constexpr double kChunkRounding = 140 * kUnitRoundoff;

// Total rewards to 106 bits, from the rewards as reported.
class StreamTotals {
 public:
  explicit StreamTotals(const StreamGame& game);

  [[nodiscard]] size_t problems() const { return rates_.size() + 1; }
  [[nodiscard]] const DoubleDouble& rate(size_t group) const { return rates_[group]; }
  [[nodiscard, gnu::always_inline]] DoubleDouble stake(size_t group, double reward) const {
    const DoubleDouble& rate = rates_[group];
    if (offsets_[group] == 0 && plain_products_) {
      DoubleDouble product = product_by_halves(rate.high, rate_halves_[group], reward);
      product.low += rate.low * reward;
      return product;
    }
    const DoubleDouble above = exact_sum(reward, -offsets_[group]);
    DoubleDouble product = exact_product(rate.high, above.high);
    product.low += rate.low * above.high + rate.high * above.low;
    return product;
  }
  template <typename Reward>
  [[nodiscard]] DoubleDouble total(const Reward& reward) const {
    DoubleDouble sum;
    for (size_t i = 0; i < rates_.size(); ++i) sum = sum + stake(i, reward(i));
    return sum;
  }
  // [n + 1]: of everyone, and without each group; `out` has twice that, the second half for
  // scratch. Others with equal rewards have equal totals. Loose sums: not to be compared as they
  // are.
  template <typename Reward>
  void all(const Reward& reward, std::vector<DoubleDouble>& out) const {
    const size_t n = rates_.size();
    DoubleDouble* const stakes = out.data() + n + 1;
    DoubleDouble before;
    for (size_t i = 0; i < n; ++i) {
      stakes[i] = stake(i, reward(i));
      out[i + 1] = before;
      before = loose_sum(before, stakes[i]);
    }
    out[0] = before;
    DoubleDouble after;
    for (size_t i = n; i-- > 0;) {
      out[i + 1] = loose_sum(out[i + 1], after);
      after = loose_sum(after, stakes[i]);
    }
  }
  // What a difference of two totals may be off by: of double-double arithmetic and of the scales.
  [[nodiscard]] double error() const { return error_; }
  // Whether rates are the exact ones.
  [[nodiscard]] bool exact() const { return exact_; }
  // What plain double arithmetic makes of it.
  [[nodiscard]] double plain_error() const { return plain_error_; }
  // sum_i w_i (max rm_i - min rm_i), and of one group.
  [[nodiscard]] double range() const { return range_; }
  [[nodiscard]] double range(size_t group) const { return ranges_[group]; }

 private:
  std::vector<DoubleDouble> rates_;        // [n], size times scale
  std::vector<DoubleDouble> rate_halves_;  // [n]
  std::vector<double> offsets_;            // [n]
  std::vector<double> ranges_;             // [n]
  bool plain_products_ = true;             // every rate and reward can be halved
  double range_ = 0;
  double error_ = 0;
  double plain_error_ = 0;
  bool exact_ = true;
};

// Completes a solution from welfare, divergence, valuations and payments with their enclosures:
// what is never negative, utilities, and the welfare without each group.
void finish_outcomes(Solution& out);

// A solution with names and sizes.
[[nodiscard]] Solution outcomes_of(const StreamGame& game);

// Every moment of the game that chi2 needs, with d_i = r_i - centre_i, the extent of each problem's
// total reward, and some outcomes, evenly spread. One read.
struct GameMoments {
  stream::MomentRates rates;
  stream::Moments sums;            // of p0 as it lies in the column
  std::vector<DoubleDouble> tops;  // [n + 1], max s of each problem
  std::vector<double> sample;      // [samples][n + 1]: initial and the rewards, as reported
};
[[nodiscard]] std::optional<GameMoments> moments_of(const StreamGame& game, SegmentPasses& passes);

[[nodiscard]] std::optional<Solution> solve_kl_stream(const StreamGame& game,
                                                      SegmentPasses& passes);
[[nodiscard]] std::optional<Solution> solve_tv_stream(const StreamGame& game,
                                                      SegmentPasses& passes);
// How many numbers a segment's part has in its pricing passes.
[[nodiscard]] size_t price_numbers(size_t groups);
// kl and tv excepted.
[[nodiscard]] std::optional<Solution> solve_lock_step(const StreamGame& game,
                                                      const GameMoments& moments,
                                                      SegmentPasses& passes);

}  // namespace candor
