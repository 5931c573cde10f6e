#include "core/stream.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

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
    Sum centre;  // the plain mean of the first outcomes: close to the mean is enough
    const size_t count = std::min(game.outcome_count(), stream::kChunk);
    for (size_t x = 0; x < count; ++x) centre.add(group.reward.at(x) / static_cast<double>(count));
    rates.centre.push_back(centre.value());
  }
  return rates;
}

}  // namespace

GameMoments moments_of(const StreamGame& game, int threads) {
  const size_t n = game.groups.size();
  GameMoments out{.rates = moment_rates(game), .sums = {}};
  std::vector<stream::Moments> parts(segment_count(game));
  parallel_for(parts.size(), threads, [&](size_t index) {
    MomentSums sums(n);
    stream::Moments chunk = MomentSums::empty_moments(n);
    ChunkReader reader(game, index);
    while (reader.next()) {
      stream::moments_chunk(reader.view(), out.rates, chunk);
      sums.add(chunk);
    }
    parts[index] = sums.value();
  });
  MomentSums sums(n);
  for (const stream::Moments& part : parts) sums.add(part);
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

// Closed form in moments: ASW* = E s + Var s / (4L), p_i = w_i^2 Var(rm_i) / (4L).
Solution solve_chi2_inactive(const StreamGame& game, const GameMoments& moments) {
  const double strength = game.divergence.regularization;
  const stream::Moments& sums = moments.sums;
  const double mean = sums.mean / sums.mass;
  const auto covariance = [&](double square, double a, double b) {
    return square / sums.mass - a / sums.mass * (b / sums.mass);
  };
  const double variance = covariance(sums.square, sums.mean, sums.mean);
  Solution out = outcomes_of(game);
  Sum constant;
  static constexpr double kRounding = 32 * std::numeric_limits<double>::epsilon();
  for (size_t i = 0; i < game.groups.size(); ++i) {
    const double rate = moments.rates.rate[i];
    GroupOutcome& outcome = out.groups[i];
    constant.add(rate * moments.rates.centre[i]);
    const double tilt = covariance(sums.cross[i], sums.mean, sums.own_mean[i]) / (2 * strength);
    outcome.valuation = rate * (moments.rates.centre[i] + sums.own_mean[i] / sums.mass + tilt);
    const double own = covariance(sums.own_square[i], sums.own_mean[i], sums.own_mean[i]);
    outcome.payment = game.groups[i].top > game.groups[i].low
                          ? std::max(0.0, rate * rate * own / (4 * strength))
                          : 0.0;
    outcome.payment_error =
        kRounding * rate * rate * sums.own_square[i] / sums.mass / (4 * strength);
    outcome.utility = outcome.valuation - outcome.payment;
  }
  out.divergence = std::max(0.0, variance / (4 * strength));
  out.welfare = constant.value() + mean + out.divergence;
  for (GroupOutcome& outcome : out.groups) {
    outcome.welfare_without = out.welfare - outcome.valuation + outcome.payment;
  }
  out.gap = kRounding * (std::abs(mean) + sums.square / sums.mass / (4 * strength));
  out.reads = 1;
  return out;
}

struct ColumnCheck {
  double sum = 0, low = 0, high = 0;
};

// One read of a column; `least` is the smallest value allowed, `open` excludes it.
Result<ColumnCheck> check_column(const Column& column, const std::string& name, bool positive,
                                 int threads) {
  const size_t segments = (column.size + kSegment - 1) / kSegment;
  std::vector<stream::ColumnStatistics> parts(segments);
  parallel_for(segments, threads, [&](size_t index) {
    const size_t begin = index * kSegment;
    const stream::ChunkColumn part = {.f64 = column.f64 != nullptr ? column.f64 + begin : nullptr,
                                      .f32 = column.f32 != nullptr ? column.f32 + begin : nullptr};
    parts[index] = stream::column_statistics(part, std::min(kSegment, column.size - begin));
  });
  ColumnCheck out{.sum = 0, .low = parts[0].low, .high = parts[0].high};
  Sum sum;
  bool fine = true;
  for (const stream::ColumnStatistics& part : parts) {
    sum.add(part.sum);
    out.low = std::min(out.low, part.low);
    out.high = std::max(out.high, part.high);
    fine = fine && part.finite;
  }
  out.sum = sum.value();
  if (fine && (positive ? out.low > 0 : out.low >= 0) && std::isfinite(out.sum)) return out;
  for (size_t x = 0; x < column.size; ++x) {
    const double value = column.at(x);
    if (std::isfinite(value) && (positive ? value > 0 : value >= 0)) continue;
    return invalid_argument(str_cat(name, "[", x, "]: found ", value, "; expected a finite number ",
                                    positive ? "above 0" : "of at least 0"));
  }
  return invalid_argument(str_cat(name, ": sums to ", out.sum, "; expected a finite sum"));
}

Status normalise(StreamGroup& group, Normalization normalization, const std::string& name,
                 int threads) {
  CANDOR_TRY(const ColumnCheck found, check_column(group.reward, name, false, threads));
  group.low = found.low;
  group.top = found.high;
  group.scale = 1;
  if (normalization == Normalization::kNone) return {};
  const double divisor = normalization == Normalization::kMax ? found.high : found.sum;
  if (!(divisor > 0)) {
    return invalid_argument(str_cat(name, ": is 0 everywhere and cannot be normalised"));
  }
  group.scale = 1 / divisor;
  return {};
}

}  // namespace

Result<StreamGame> make_stream_game(StreamGame raw, Normalization normalization, int threads) {
  const double lambda = raw.divergence.regularization;
  if (!(std::isfinite(lambda) && lambda > 0)) {
    return invalid_argument(
        str_cat("divergence.lambda: found ", lambda, "; expected a finite number above 0"));
  }
  if (raw.initial.size == 0) return invalid_argument("initial: is empty");
  if (raw.groups.empty()) return invalid_argument("groups: there is none; at least one is needed");
  CANDOR_TRY(const ColumnCheck initial, check_column(raw.initial, "initial", true, threads));
  raw.initial_scale = 1 / initial.sum;
  raw.initial_low = initial.low * raw.initial_scale;
  std::set<std::string> names;
  for (size_t i = 0; i < raw.groups.size(); ++i) {
    StreamGroup& group = raw.groups[i];
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
    CANDOR_RETURN_IF_ERROR(
        normalise(group, normalization, str_cat("groups[", i, "].reward"), threads));
  }
  return raw;
}

Result<Solution> solve_stream(const StreamGame& game, int threads) {
  if (game.divergence.kind == DivergenceKind::kTv) {
    return invalid_argument(
        "divergence.name: tv is solved in memory only; give the arrays inline or another "
        "divergence");
  }
  Solution out;
  if (game.divergence.kind == DivergenceKind::kKl) {
    out = solve_kl_stream(game, threads);
  } else {
    const GameMoments moments = moments_of(game, threads);
    const bool closed =
        game.divergence.kind == DivergenceKind::kChi2 && chi2_inactive(game, moments);
    out = closed ? solve_chi2_inactive(game, moments) : solve_lock_step(game, moments, threads);
  }
  bool finite = std::isfinite(out.welfare) && std::isfinite(out.gap);
  for (const GroupOutcome& group : out.groups) {
    finite = finite && std::isfinite(group.payment) && std::isfinite(group.valuation);
  }
  if (finite) return out;
  return invalid_argument(
      "the game cannot be solved in double precision: sizes times rewards over lambda are too "
      "large; scale lambda, sizes or rewards");
}

}  // namespace candor
