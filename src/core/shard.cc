#include "core/shard.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "base/parallel.h"
#include "base/strings.h"
#include "core/stream_parts.h"

namespace candor {

namespace {

// Answers passes from a history; the first one that is not in it is summed over some segments, and
// the solver stops there.
class RecordedPasses : public SegmentPasses {
 public:
  // No segments are summed where `range` is empty.
  RecordedPasses(const PassHistory& history, SegmentRange range, int threads)
      : history_(history), range_(range), threads_(threads) {}

  std::optional<std::vector<SegmentPart>> run(
      const std::string& name, const std::function<SegmentPart(size_t)>& work) override {
    if (used_ < history_.size()) {
      const PassRecord& record = history_[used_++];
      if (record.name == name) return record.parts;
      mismatch_ = str_cat("pass ", used_, ": found ", quote(record.name), "; this game needs ",
                          quote(name));
      return std::nullopt;
    }
    next_.pass = name;
    next_.first_segment = range_.begin;
    next_.parts.resize(range_.end - range_.begin);
    parallel_for(next_.parts.size(), threads_,
                 [&](size_t index) { next_.parts[index] = work(range_.begin + index); });
    return std::nullopt;
  }

  [[nodiscard]] Accumulator& next() { return next_; }
  // The history fits the game and is used up.
  [[nodiscard]] Status check() const {
    if (!mismatch_.empty()) return invalid_argument(mismatch_);
    if (used_ == history_.size()) return {};
    return invalid_argument(
        str_cat("holds ", history_.size(), " passes; this game is solved by ", used_));
  }

 private:
  const PassHistory& history_;
  SegmentRange range_;
  int threads_;
  size_t used_ = 0;
  std::string mismatch_;
  Accumulator next_;
};

// Solves as far as the passes go.
Result<std::optional<Solution>> replay(const StreamGame& raw, Normalization normalization,
                                       RecordedPasses& passes, const SolveOptions& options) {
  CANDOR_TRY(const std::optional<StreamGame> game, measure_game(raw, normalization, passes));
  std::optional<Solution> solution;
  if (game.has_value()) {
    CANDOR_TRY(solution, solve_passes(*game, passes, options));
  }
  CANDOR_RETURN_IF_ERROR(passes.check());
  return solution;
}

bool is_outcome(double value, size_t outcomes) {
  return value >= 0 && value < static_cast<double>(outcomes) && value == std::floor(value);
}

// How many numbers a segment's part has in every pass: fixed but for the moments' sample.
Status check_parts(const StreamGame& raw, const PassRecord& record) {
  const size_t n = raw.groups.size();
  const auto fits = [&](size_t size) {
    if (record.name == "measure") return size == 6 * (n + 1);
    if (record.name.starts_with("kl")) return size == 2 + 5 * n;
    if (record.name == "moments") return size >= 7 + 7 * n && (size - 7 - 7 * n) % (n + 1) == 0;
    if (record.name.starts_with("price")) return size == price_numbers(n);
    if (record.name == "top") return size == 4 + 3 * n;
    if (record.name == "tv") return size == 4 + 5 * n;
    return record.name.starts_with("newton ") && size == 2 * (n + 1);
  };
  for (size_t segment = 0; segment < record.parts.size(); ++segment) {
    const std::vector<double>& part = record.parts[segment];
    if (!fits(part.size())) {
      return invalid_argument(str_cat("pass ", quote(record.name), ", segment ", segment, ": has ",
                                      part.size(), " numbers, which is not its size for ", n,
                                      " groups"));
    }
    if (!std::ranges::all_of(part, [](double value) { return std::isfinite(value); })) {
      return invalid_argument(str_cat("pass ", quote(record.name), ", segment ", segment,
                                      ": holds a number that is not finite"));
    }
    if (record.name == "top" && !is_outcome(part[3], raw.outcome_count())) {
      return invalid_argument(str_cat("pass \"top\", segment ", segment, ": found ", part[3],
                                      "; expected one of ", raw.outcome_count(), " outcomes"));
    }
  }
  return {};
}

Status check_history(const StreamGame& raw, const PassHistory& history) {
  const size_t segments = stream_segments(raw.outcome_count());
  for (const PassRecord& record : history) {
    if (record.parts.size() != segments) {
      return invalid_argument(str_cat("pass ", quote(record.name), ": has ", record.parts.size(),
                                      " segments; the game has ", segments));
    }
    CANDOR_RETURN_IF_ERROR(check_parts(raw, record));
  }
  return {};
}

// All segments in order, each exactly once.
Result<PassRecord> assemble(size_t segments, const std::vector<Accumulator>& accumulators) {
  PassRecord record{.name = accumulators.front().pass,
                    .parts = std::vector<std::vector<double>>(segments)};
  std::vector<bool> seen(segments, false);
  for (const Accumulator& one : accumulators) {
    if (one.pass != record.name) {
      return invalid_argument(str_cat("found accumulators of two passes: ", quote(record.name),
                                      " and ", quote(one.pass)));
    }
    for (size_t i = 0; i < one.parts.size(); ++i) {
      const size_t segment = one.first_segment + i;
      if (segment >= segments) {
        return invalid_argument(str_cat("segment ", segment, " is beyond the game's ", segments));
      }
      if (seen[segment]) {
        return invalid_argument(
            str_cat("segment ", segment, " comes twice: a shard was given twice"));
      }
      seen[segment] = true;
      record.parts[segment] = one.parts[i];
    }
  }
  const auto missing = std::ranges::find(seen, false);
  if (missing != seen.end()) {
    return invalid_argument(str_cat("segment ", missing - seen.begin(), " of ", segments,
                                    " is missing: give every shard's accumulator"));
  }
  return record;
}

}  // namespace

size_t stream_segments(size_t outcomes) { return (outcomes + kSegment - 1) / kSegment; }

SegmentRange shard_segments(size_t outcomes, size_t shard, size_t shards) {
  CANDOR_CHECK(shard < shards);
  const size_t segments = stream_segments(outcomes);
  return {shard * segments / shards, (shard + 1) * segments / shards};
}

Result<Accumulator> map_shard(const StreamGame& raw, Normalization normalization,
                              const PassHistory& history, SegmentRange range, int threads) {
  CANDOR_RETURN_IF_ERROR(check_history(raw, history));
  if (history.empty()) {
    for (size_t segment = range.begin; segment < range.end; ++segment) {
      CANDOR_RETURN_IF_ERROR(check_segment(raw, normalization, segment));
    }
  }
  RecordedPasses passes(history, range, threads);
  CANDOR_TRY(const std::optional<Solution> solution, replay(raw, normalization, passes, {}));
  if (solution.has_value()) return invalid_argument("the state solves the game: nothing is left");
  return std::move(passes.next());
}

Result<Reduced> reduce_shards(const StreamGame& raw, Normalization normalization,
                              PassHistory history, const std::vector<Accumulator>& accumulators,
                              const SolveOptions& options) {
  CANDOR_CHECK(!accumulators.empty());
  const size_t segments = stream_segments(raw.outcome_count());
  CANDOR_TRY(PassRecord record, assemble(segments, accumulators));
  history.push_back(std::move(record));
  CANDOR_RETURN_IF_ERROR(check_history(raw, history));
  RecordedPasses passes(history, {}, 1);
  CANDOR_TRY(std::optional<Solution> solution, replay(raw, normalization, passes, options));
  return Reduced{.history = std::move(history), .solution = std::move(solution)};
}

}  // namespace candor
