#include "core/stream.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "base/check.h"
#include "base/parallel.h"
#include "base/strings.h"
#include "core/stream_parts.h"
#include "core/sum.h"

namespace candor {

ChunkReader::ChunkReader(const StreamGame& game, size_t segment)
    : game_(game),
      begin_(segment * kSegment),
      end_(std::min(game.outcome_count(), begin_ + kSegment)) {
  view_.rewards.resize(game.groups.size());
}

bool ChunkReader::next() {
  if (begin_ >= end_) return false;
  count_ = std::min(stream::kChunk, end_ - begin_);
  if (count_ == stream::kChunk) {
    view_.initial = part(game_.initial);
    for (size_t i = 0; i < view_.rewards.size(); ++i) {
      view_.rewards[i] = part(game_.groups[i].reward);
    }
  } else {
    pad();
  }
  begin_ += count_;
  return true;
}

stream::ChunkColumn ChunkReader::part(const Column& column) const {
  return {.f64 = column.f64 != nullptr ? column.f64 + begin_ : nullptr,
          .f32 = column.f32 != nullptr ? column.f32 + begin_ : nullptr};
}

void ChunkReader::pad() {
  padded_.assign((game_.groups.size() + 1) * stream::kChunk, 0.0);
  const auto copy = [&](const Column& column, size_t slot, bool repeat) {
    double* to = padded_.data() + slot * stream::kChunk;
    for (size_t x = 0; x < stream::kChunk; ++x) {
      if (x < count_ || repeat) to[x] = column.at(begin_ + (x < count_ ? x : 0));
    }
    return stream::ChunkColumn{.f64 = to, .f32 = nullptr};
  };
  view_.initial = copy(game_.initial, 0, false);
  for (size_t i = 0; i < view_.rewards.size(); ++i) {
    view_.rewards[i] = copy(game_.groups[i].reward, i + 1, true);
  }
}

void finish_outcomes(Solution& out) {
  out.divergence_enclosure.low = std::max(0.0, out.divergence_enclosure.low);
  out.divergence = out.divergence_enclosure.nearest(out.divergence);
  for (GroupOutcome& group : out.groups) {
    Enclosure& payment = group.payment_enclosure;
    payment.low = std::max(0.0, payment.low);
    group.payment = payment.nearest(group.payment);
    Enclosure utility = group.valuation_enclosure - payment;
    utility.low = std::max(0.0, utility.low);  // rewards are not negative here
    group.utility_enclosure = utility;
    group.utility = utility.nearest(group.valuation - group.payment);
    group.welfare_without_enclosure = out.welfare_enclosure - utility;
    group.welfare_without =
        group.welfare_without_enclosure.nearest(out.welfare - group.valuation + group.payment);
  }
}

Solution outcomes_of(const StreamGame& game) {
  Solution out;
  for (const StreamGroup& group : game.groups) {
    out.groups.push_back({.name = group.name, .group_size = group.group_size});
  }
  return out;
}

namespace {

// The sums of GameMoments while they grow.
class MomentSums {
 public:
  explicit MomentSums(size_t n)
      : own_mean_(n),
        own_square_(n),
        cross_(n),
        others_low_(n, std::numeric_limits<double>::infinity()),
        others_high_(n, -std::numeric_limits<double>::infinity()) {}

  void add(const stream::Moments& part) {
    mass_.add(part.mass);
    mean_.add(part.mean);
    square_.add(part.square);
    low_ = std::min(low_, part.low);
    high_ = std::max(high_, part.high);
    for (size_t i = 0; i < own_mean_.size(); ++i) {
      own_mean_[i].add(part.own_mean[i]);
      own_square_[i].add(part.own_square[i]);
      cross_[i].add(part.cross[i]);
      others_low_[i] = std::min(others_low_[i], part.others_low[i]);
      others_high_[i] = std::max(others_high_[i], part.others_high[i]);
    }
  }
  [[nodiscard]] stream::Moments value() const {
    stream::Moments out = empty_moments(own_mean_.size());
    out.mass = mass_.value();
    out.mean = mean_.value();
    out.square = square_.value();
    out.low = low_;
    out.high = high_;
    out.others_low = others_low_;
    out.others_high = others_high_;
    for (size_t i = 0; i < own_mean_.size(); ++i) {
      out.own_mean[i] = own_mean_[i].value();
      out.own_square[i] = own_square_[i].value();
      out.cross[i] = cross_[i].value();
    }
    return out;
  }
  static stream::Moments empty_moments(size_t n) {
    stream::Moments out;
    for (auto* list :
         {&out.own_mean, &out.own_square, &out.cross, &out.others_low, &out.others_high}) {
      list->resize(n);
    }
    return out;
  }

 private:
  Sum mass_, mean_, square_;
  std::vector<Sum> own_mean_, own_square_, cross_;
  double low_ = std::numeric_limits<double>::infinity();
  double high_ = -std::numeric_limits<double>::infinity();
  std::vector<double> others_low_, others_high_;
};

stream::MomentRates moment_rates(const StreamGame& game) {
  stream::MomentRates rates;
  for (const StreamGroup& group : game.groups) {
    rates.rate.push_back(group.group_size * group.scale);
    rates.centre.push_back(group.first_mean);
  }
  return rates;
}

SegmentPart to_part(const stream::Moments& sums) {
  SegmentPart part = {sums.mass, sums.mean, sums.square, sums.low, sums.high};
  for (const auto* list :
       {&sums.own_mean, &sums.own_square, &sums.cross, &sums.others_low, &sums.others_high}) {
    part.insert(part.end(), list->begin(), list->end());
  }
  return part;
}

// The reverse; what follows the moments in the part is left alone.
stream::Moments from_part(const SegmentPart& part, size_t n) {
  stream::Moments out = MomentSums::empty_moments(n);
  out.mass = part[0];
  out.mean = part[1];
  out.square = part[2];
  out.low = part[3];
  out.high = part[4];
  auto from = part.begin() + 5;
  for (auto* list :
       {&out.own_mean, &out.own_square, &out.cross, &out.others_low, &out.others_high}) {
    std::copy_n(from, n, list->begin());
    from += static_cast<ptrdiff_t>(n);
  }
  return out;
}

// The outcomes of an even sample of the whole game that fall into one segment.
void append_sample(const StreamGame& game, size_t segment, SegmentPart& part) {
  static constexpr size_t kSample = 4096;
  const size_t m = game.outcome_count();
  const size_t count = std::min(m, kSample);
  const size_t begin = segment * kSegment;
  const size_t end = std::min(m, begin + kSegment);
  for (size_t k = 0; k < count; ++k) {
    const size_t x = k * m / count;
    if (x < begin || x >= end) continue;
    part.push_back(game.initial.at(x));
    for (const StreamGroup& group : game.groups) part.push_back(group.reward.at(x));
  }
}

// The largest totals of the n + 1 problems in one segment, to 106 bits: only where plain totals
// reach up to the largest so far, first of a chunk and then of an outcome, is looked at again.
class TopScan {
 public:
  TopScan(const StreamTotals& totals, const stream::MomentRates& rates)
      : totals_(totals),
        rates_(rates),
        tops_(totals.problems(), {kNone, 0}),
        here_(2 * totals.problems()),
        origins_(totals.problems()),
        stakes_(rates.rate.size()) {
    for (size_t i = 0; i < rates.centre.size(); ++i) {
      const double origin = totals.stake(i, rates.centre[i]).value();
      origins_[0] += origin;
      own_.push_back(origin);
    }
    for (size_t i = 0; i < own_.size(); ++i) origins_[i + 1] = origins_[0] - own_[i];
  }

  void add(const ChunkReader& reader, const stream::Moments& chunk) {
    if (!reaches(0, chunk.high) && !any_reaches(chunk.others_high)) return;
    for (size_t x = 0; x < reader.count(); ++x) {
      const auto reward = [&](size_t i) { return reader.reward(i, x); };
      if (!outcome_reaches(reward)) continue;
      totals_.all(reward, here_);
      for (size_t j = 0; j < tops_.size(); ++j) {
        raise(j, exact_sum(here_[j].high, here_[j].low));
      }
    }
  }
  [[nodiscard]] const std::vector<DoubleDouble>& tops() const { return tops_; }

 private:
  static constexpr double kNone = -std::numeric_limits<double>::infinity();

  [[nodiscard]] bool reaches(size_t problem, double high) const {
    return high + origins_[problem] + 2 * totals_.plain_error() >= tops_[problem].high;
  }
  [[nodiscard]] bool any_reaches(const std::vector<double>& highs) const {
    for (size_t i = 0; i < highs.size(); ++i) {
      if (reaches(i + 1, highs[i])) return true;
    }
    return false;
  }
  template <typename Reward>
  [[nodiscard]] bool outcome_reaches(const Reward& reward) {
    double total = 0;
    for (size_t i = 0; i < stakes_.size(); ++i) {
      stakes_[i] = rates_.rate[i] * (reward(i) - rates_.centre[i]);
      total += stakes_[i];
    }
    bool near = reaches(0, total);
    for (size_t i = 0; i < stakes_.size(); ++i) near = near || reaches(i + 1, total - stakes_[i]);
    return near;
  }
  void raise(size_t problem, const DoubleDouble& total) {
    if (tops_[problem] < total) tops_[problem] = total;
  }

  const StreamTotals& totals_;
  const stream::MomentRates& rates_;
  std::vector<DoubleDouble> tops_;  // [n + 1]
  std::vector<DoubleDouble> here_;  // [n + 1], scratch
  std::vector<double> origins_;     // [n + 1], what the centres add up to
  std::vector<double> own_;         // [n]
  std::vector<double> stakes_;      // [n], of one outcome
};

}  // namespace

StreamTotals::StreamTotals(const StreamGame& game) {
  double largest = 0;
  for (const StreamGroup& group : game.groups) {
    DoubleDouble rate = exact_product(group.group_size, group.scale);
    rate.low += group.group_size * group.scale_rest;
    rates_.push_back(rate);
    rate_halves_.push_back(halves(rate.high));
    plain_products_ = plain_products_ && std::max({std::abs(group.low), std::abs(group.top),
                                                   rate.high}) < kLargestHalved;
    exact_ = exact_ && rate.low == 0 && game.reward_scale_error == 0;
    ranges_.push_back(rate.high * (group.top - group.low) * (1 + 4 * kUnitRoundoff));
    range_ += ranges_.back();
    offsets_.push_back(group.offset);
    largest += rate.high * (std::abs(group.top) + std::abs(group.offset));
  }
  const auto count = static_cast<double>(game.groups.size() + 4);
  error_ = count * ((0x1p-100 + count * 0x1p-105) * largest + 0x1p-1060) +
           game.reward_scale_error * range_;
  plain_error_ = error_ + 4 * count * kUnitRoundoff * largest;
}

std::optional<std::vector<SegmentPart>> AllSegments::run(
    const std::string& /*name*/, const std::function<SegmentPart(size_t)>& work) {
  std::vector<SegmentPart> parts(segments_);
  parallel_for(segments_, threads_, [&](size_t index) { parts[index] = work(index); });
  return parts;
}

std::optional<GameMoments> moments_of(const StreamGame& game, SegmentPasses& passes) {
  const size_t n = game.groups.size();
  GameMoments out{.rates = moment_rates(game), .sums = {}, .tops = {}, .sample = {}};
  const StreamTotals totals(game);
  const auto parts = passes.run("moments", [&](size_t index) {
    MomentSums sums(n);
    stream::Moments chunk = MomentSums::empty_moments(n);
    TopScan scan(totals, out.rates);
    ChunkReader reader(game, index);
    while (reader.next()) {
      stream::moments_chunk(reader.view(), out.rates, chunk);
      sums.add(chunk);
      scan.add(reader, chunk);
    }
    SegmentPart part = to_part(sums.value());
    for (const DoubleDouble& top : scan.tops()) part.insert(part.end(), {top.high, top.low});
    append_sample(game, index, part);
    return part;
  });
  if (!parts.has_value()) return std::nullopt;
  MomentSums sums(n);
  const size_t tops_at = 5 + 5 * n;
  for (const SegmentPart& part : *parts) {
    sums.add(from_part(part, n));
    for (size_t j = 0; j <= n; ++j) {
      const DoubleDouble top{part[tops_at + 2 * j], part[tops_at + 2 * j + 1]};
      if (out.tops.size() <= j) out.tops.push_back(top);
      if (out.tops[j] < top) out.tops[j] = top;
    }
    out.sample.insert(out.sample.end(), part.begin() + static_cast<ptrdiff_t>(tops_at + 2 * n + 2),
                      part.end());
  }
  out.sums = sums.value();
  return out;
}

namespace {

// Whether no outcome loses its mass under chi2, in any of the n+1 problems (MATH 3).
bool chi2_inactive(const StreamGame& game, const GameMoments& moments) {
  const double reach = 2 * game.divergence.regularization;
  const stream::Moments& sums = moments.sums;
  const double mean = sums.mean / sums.mass;
  bool inactive = mean - sums.low <= reach;
  for (size_t i = 0; i < game.groups.size(); ++i) {
    const double others = mean - moments.rates.rate[i] * sums.own_mean[i] / sums.mass;
    inactive = inactive && others - sums.others_low[i] <= reach;
  }
  return inactive;
}

// Closed form in moments: ASW* = E s + Var s / (4L), p_i = w_i^2 Var(rm_i) / (4L). Every sum is off
// by kChunkRounding of the magnitudes at most, which the ranges of the stakes bound.
Solution solve_chi2_inactive(const StreamGame& game, const GameMoments& moments) {
  static constexpr double kRounding = 16 * kChunkRounding;
  const double strength = game.divergence.regularization;
  const stream::Moments& sums = moments.sums;
  const StreamTotals totals(game);
  const double rounding = kRounding + 4 * (game.initial_scale_error + game.reward_scale_error);
  const double mean = sums.mean / sums.mass;
  const auto covariance = [&](double square, double a, double b) {
    return square / sums.mass - a / sums.mass * (b / sums.mass);
  };
  const double variance = covariance(sums.square, sums.mean, sums.mean);
  Solution out = outcomes_of(game);
  Sum constant;
  double constants = 0;
  for (size_t i = 0; i < game.groups.size(); ++i) {
    const double rate = moments.rates.rate[i];
    GroupOutcome& outcome = out.groups[i];
    const double centre = moments.rates.centre[i] - game.groups[i].offset;
    const double origin = rate * centre;
    constant.add(origin);
    constants += origin;
    const double tilt = covariance(sums.cross[i], sums.mean, sums.own_mean[i]) / (2 * strength);
    outcome.valuation = rate * (centre + sums.own_mean[i] / sums.mass + tilt);
    const double own = covariance(sums.own_square[i], sums.own_mean[i], sums.own_mean[i]);
    const double range = totals.range(i);
    outcome.payment = range > 0 ? std::max(0.0, rate * rate * own / (4 * strength)) : 0.0;
    outcome.payment_enclosure =
        around(outcome.payment, rounding * (range + totals.plain_error()) *
                                    (range + totals.plain_error()) / (4 * strength));
    outcome.valuation_enclosure = around(
        outcome.valuation, rounding * (origin + range * (1 + totals.range() / (2 * strength))));
  }
  out.divergence = std::max(0.0, variance / (4 * strength));
  out.welfare = constant.value() + mean + out.divergence;
  // Centres are rounded: deviations from them reach a little beyond the range.
  const double extent = totals.range() + totals.plain_error();
  const double square = extent * extent / (4 * strength);
  out.divergence_enclosure = around(out.divergence, rounding * square);
  out.welfare_enclosure = around(out.welfare, rounding * (constants + totals.range() + square));
  finish_outcomes(out);
  out.reads = 1;
  return out;
}

// What the first pass finds out about one column.
struct ColumnCheck {
  DoubleDouble sum;
  double low = 0, high = 0;
  bool finite = true;
  double first_mean = 0;
};
constexpr size_t kCheckSize = 6;

// One segment of a column.
void append_check(const Column& column, size_t segment, SegmentPart& part) {
  const size_t begin = segment * kSegment;
  const size_t count = std::min(kSegment, column.size - begin);
  const stream::ChunkColumn chunk = {.f64 = column.f64 != nullptr ? column.f64 + begin : nullptr,
                                     .f32 = column.f32 != nullptr ? column.f32 + begin : nullptr};
  const stream::ColumnStatistics found = stream::column_statistics(chunk, count);
  Sum first;
  const size_t few = std::min(count, stream::kChunk);
  for (size_t x = 0; x < few; ++x) first.add(column.at(begin + x) / static_cast<double>(few));
  part.insert(part.end(), {found.sum.high, found.low, found.high, found.finite ? 1.0 : 0.0,
                           first.value(), found.sum.low});
}

// Column `index` of the measuring pass (0: initial, i + 1: group i) put together.
ColumnCheck merge_checks(const std::vector<SegmentPart>& parts, size_t index) {
  const size_t at = index * kCheckSize;
  ColumnCheck out{
      .sum = {}, .low = parts[0][at + 1], .high = parts[0][at + 2], .first_mean = parts[0][at + 4]};
  for (const SegmentPart& part : parts) {
    out.sum = out.sum + DoubleDouble{part[at], part[at + 5]};
    out.low = std::min(out.low, part[at + 1]);
    out.high = std::max(out.high, part[at + 2]);
    out.finite = out.finite && part[at + 3] == 1;
  }
  return out;
}

enum class Sign { kPositive, kNotNegative, kAny };

bool allowed(double value, Sign sign) {
  return sign == Sign::kAny || (sign == Sign::kPositive ? value > 0 : value >= 0);
}

Sign sign_of_rewards(Normalization normalization) {
  return may_be_negative(normalization) ? Sign::kAny : Sign::kNotNegative;
}

// Names the first value between begin and end that the column may not have.
Status check_values(const Column& column, const std::string& name, Sign sign, size_t begin,
                    size_t end) {
  if (column.f64 == nullptr && column.f32 == nullptr) return {};  // not here: only its sums are
  for (size_t x = begin; x < end; ++x) {
    const double value = column.at(x);
    if (std::isfinite(value) && allowed(value, sign)) continue;
    static constexpr const char* kBounds[] = {" above 0", " of at least 0", ""};
    return invalid_argument(str_cat(name, "[", x, "]: found ", value, "; expected a finite number",
                                    kBounds[static_cast<size_t>(sign)]));
  }
  return {};
}

Status check_column(const Column& column, const ColumnCheck& found, const std::string& name,
                    Sign sign) {
  const bool fine = found.finite && allowed(found.low, sign);
  if (fine && std::isfinite(found.sum.high)) return {};
  if (!fine) {
    CANDOR_RETURN_IF_ERROR(check_values(column, name, sign, 0, column.size));
  }
  return invalid_argument(str_cat(name, ": sums to ", found.sum.high, "; expected a finite sum"));
}

std::string reward_name(size_t group) { return str_cat("groups[", group, "].reward"); }

void divide_by(const DoubleDouble& divisor, StreamGroup& group) {
  group.scale = 1 / divisor.high;
  group.scale_rest =
      (std::fma(-group.scale, divisor.high, 1.0) - group.scale * divisor.low) / divisor.high;
}

Status normalise(StreamGroup& group, const ColumnCheck& found, Normalization normalization,
                 const std::string& name) {
  CANDOR_RETURN_IF_ERROR(check_column(group.reward, found, name, sign_of_rewards(normalization)));
  group.low = found.low;
  group.top = found.high;
  group.first_mean = found.first_mean;
  group.offset = 0;
  group.scale = 1;
  if (normalization == Normalization::kNone) return {};
  if (normalization == Normalization::kMinMax) {
    group.offset = found.low;
    divide_by(exact_sum(found.high, -found.low), group);
    const bool fine = std::isfinite(group.scale) && group.scale > 0;
    return fine ? Status() : cannot_stretch(name, group.name, found.low, found.high);
  }
  const bool by_top = normalization == Normalization::kMax;
  const DoubleDouble divisor = by_top ? DoubleDouble{found.high, 0} : found.sum;
  if (!(divisor.high > 0)) {
    return invalid_argument(str_cat(name, ": is 0 everywhere and cannot be normalised"));
  }
  divide_by(divisor, group);
  return {};
}

// Everything about a raw game that needs no read.
Status check_shape(const StreamGame& raw) {
  CANDOR_RETURN_IF_ERROR(check_divergence(raw.divergence));
  if (raw.initial.size == 0) return invalid_argument("initial: is empty");
  if (raw.groups.empty()) return invalid_argument("groups: there is none; at least one is needed");
  std::set<std::string> names;
  for (size_t i = 0; i < raw.groups.size(); ++i) {
    const StreamGroup& group = raw.groups[i];
    if (!names.insert(group.name).second) {
      return invalid_argument(str_cat("groups[", i, "].name: found ", quote(group.name),
                                      " a second time; names must differ"));
    }
    if (!(group.group_size > 0 && std::isfinite(group.group_size))) {
      return invalid_argument(str_cat("groups[", i, "].size: found ", group.group_size,
                                      "; expected a finite number above 0"));
    }
    if (group.reward.size != raw.initial.size) {
      return invalid_argument(str_cat("groups[", i, "].reward: has ", group.reward.size,
                                      " entries; expected ", raw.initial.size));
    }
  }
  return {};
}

}  // namespace

Status check_segment(const StreamGame& game, Normalization normalization, size_t segment) {
  const size_t begin = segment * kSegment;
  const size_t end = std::min(game.outcome_count(), begin + kSegment);
  CANDOR_RETURN_IF_ERROR(check_values(game.initial, "initial", Sign::kPositive, begin, end));
  for (size_t i = 0; i < game.groups.size(); ++i) {
    CANDOR_RETURN_IF_ERROR(check_values(game.groups[i].reward, reward_name(i),
                                        sign_of_rewards(normalization), begin, end));
  }
  return {};
}

Result<std::optional<StreamGame>> measure_game(StreamGame raw, Normalization normalization,
                                               SegmentPasses& passes) {
  CANDOR_RETURN_IF_ERROR(check_shape(raw));
  const auto parts = passes.run("measure", [&](size_t index) {
    SegmentPart part;
    append_check(raw.initial, index, part);
    for (const StreamGroup& group : raw.groups) append_check(group.reward, index, part);
    return part;
  });
  if (!parts.has_value()) return std::optional<StreamGame>();
  const ColumnCheck initial = merge_checks(*parts, 0);
  CANDOR_RETURN_IF_ERROR(check_column(raw.initial, initial, "initial", Sign::kPositive));
  raw.initial_scale_error = 4 * kUnitRoundoff;
  raw.reward_scale_error = normalization == Normalization::kSum ? 0x1p-80 : 0;
  raw.initial_scale = 1 / initial.sum.high;
  raw.initial_low = initial.low * raw.initial_scale;
  for (size_t i = 0; i < raw.groups.size(); ++i) {
    CANDOR_RETURN_IF_ERROR(
        normalise(raw.groups[i], merge_checks(*parts, i + 1), normalization, reward_name(i)));
  }
  return std::optional<StreamGame>(std::move(raw));
}

Result<StreamGame> make_stream_game(StreamGame raw, Normalization normalization, int threads) {
  AllSegments passes(segment_count(raw), threads);
  CANDOR_TRY(std::optional<StreamGame> made, measure_game(std::move(raw), normalization, passes));
  CANDOR_CHECK(made.has_value());  // every pass was run
  return std::move(made).value();
}

namespace {

// Sums of sizes times rewards have to stay where products are exact.
Status check_stakes(const StreamGame& game) {
  for (size_t i = 0; i < game.groups.size(); ++i) {
    const StreamGroup& group = game.groups[i];
    const double stake = group.group_size * group.scale * group.top;
    if (stake < kLargestStake) continue;
    return invalid_argument(str_cat("groups[", i, "]: its size times its largest reward is ", stake,
                                    "; expected less than ", kLargestStake));
  }
  return {};
}

// The bounds of the passes are of first order, and their constants (tops, scales) come together in
// plain arithmetic: every number gets a few units of rounding of all that is at stake on top. Where
// nothing but that was missing, adversarial games found it.
void add_plain_rounding(const StreamGame& game, Solution& out) {
  double stake = 0;
  for (const StreamGroup& group : game.groups) {
    stake += group.group_size * group.scale * (std::abs(group.top) + std::abs(group.offset));
  }
  const double error = 4 * kUnitRoundoff * stake;
  const auto widen = [&](double& value, Enclosure& one, bool at_least_0) {
    one = {one.low - error, one.high + error};
    if (at_least_0) one.low = std::max(0.0, one.low);
    value = one.nearest(value);
  };
  widen(out.welfare, out.welfare_enclosure, false);
  widen(out.divergence, out.divergence_enclosure, true);
  for (size_t i = 0; i < out.groups.size(); ++i) {
    GroupOutcome& group = out.groups[i];
    widen(group.valuation, group.valuation_enclosure, true);
    // A constant reward pays nothing, whatever rounds.
    if (game.groups[i].top > game.groups[i].low) {
      widen(group.payment, group.payment_enclosure, true);
    }
    widen(group.utility, group.utility_enclosure, true);
    widen(group.welfare_without, group.welfare_without_enclosure, false);
  }
}

}  // namespace

Result<std::optional<Solution>> solve_passes(const StreamGame& game, SegmentPasses& passes,
                                             const SolveOptions& options) {
  CANDOR_RETURN_IF_ERROR(check_stakes(game));
  std::optional<Solution> out;
  if (game.divergence.kind == DivergenceKind::kKl) {
    out = solve_kl_stream(game, passes);
  } else if (game.divergence.kind == DivergenceKind::kTv) {
    out = solve_tv_stream(game, passes);
  } else {
    const std::optional<GameMoments> moments = moments_of(game, passes);
    if (!moments.has_value()) return std::optional<Solution>();
    const bool closed =
        game.divergence.kind == DivergenceKind::kChi2 && chi2_inactive(game, *moments);
    if (closed) out = solve_chi2_inactive(game, *moments);
    // Where the squares of its moments lose too much, Newton does not. The tolerance asked for is
    // no part of a shard's state.
    if (closed && !(judge({}, *out).ok() && out->converged)) out.reset();
    if (!out.has_value()) out = solve_lock_step(game, *moments, passes);
  }
  if (!out.has_value()) return std::optional<Solution>();
  add_plain_rounding(game, *out);
  CANDOR_RETURN_IF_ERROR(judge(options, *out));
  return out;
}

Result<Solution> solve_stream(const StreamGame& game, int threads, const SolveOptions& options) {
  AllSegments passes(segment_count(game), threads);
  CANDOR_TRY(std::optional<Solution> solution, solve_passes(game, passes, options));
  CANDOR_CHECK(solution.has_value());  // every pass was run
  return std::move(solution).value();
}

}  // namespace candor
