#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include "core/law_point.h"
#include "core/stream_parts.h"
#include "core/sum.h"

namespace candor {

namespace {

constexpr double kLog2 = 0.6931471805599453;

// 2^n for whole n in [-1022, 0].
double power_of_two(double n) {
  return std::bit_cast<double>(static_cast<uint64_t>(static_cast<int64_t>(n) + 1023) << 52);
}

// value 2^n for n <= 0, also where 2^n alone is no normal number.
double shrink(double value, double n) {
  if (n >= -1022) return value * power_of_two(n);
  if (n < -2044) return 0;
  return value * 0x1p-1022 * power_of_two(n + 1022);
}

// A sum times a power of two that follows its largest term.
struct ScaledSum {
  double exponent = -std::numeric_limits<double>::infinity();
  Sum sum;

  void add(double term, double term_exponent) {
    if (term_exponent > exponent) {
      Sum scaled;
      scaled.add(shrink(sum.value(), exponent - term_exponent));
      sum = scaled;
      exponent = term_exponent;
    }
    sum.add(shrink(term, term_exponent - exponent));
  }
  [[nodiscard]] double value() const { return sum.value(); }
  // The powers of two are taken together first: the headroom in them would cost digits.
  [[nodiscard]] double log() const {
    int power = 0;
    double rest = std::frexp(sum.value(), &power);
    if (rest < 0.7) {
      rest *= 2;
      --power;
    }
    return (exponent + power) * kLog2 + std::log(rest);
  }
};

// What one segment adds, around its own centres.
struct KlSegment {
  ScaledSum mass;
  std::vector<double> centre;                  // [n], raw reward
  std::vector<ScaledSum> lean, curve, others;  // [n]
};

stream::KlRates kl_rates(const StreamGame& game) {
  // Where a stake spans more than this many units of L, e^-y can overflow against e^s; its
  // leave-one-out problem is then summed by itself.
  static constexpr double kWide = 300;
  stream::KlRates rates;
  rates.headroom = std::clamp(std::round(500 + std::log2(game.initial_scale)), -500.0, 900.0);
  for (const StreamGroup& group : game.groups) {
    const double unit = group.group_size * group.scale / game.divergence.regularization;
    rates.rate.push_back(unit / kLog2);
    rates.top.push_back(group.top);
    rates.centre.push_back(group.top);
    rates.wide.push_back(unit * (group.top - group.low) > kWide);
  }
  return rates;
}

// `centres` [n], or empty: the segment finds its own pilot centres.
KlSegment kl_segment(const StreamGame& game, const stream::KlRates& shared,
                     const std::vector<double>& centres, size_t index) {
  const size_t n = game.groups.size();
  stream::KlRates rates = shared;
  stream::KlSums sums{.lean = std::vector<double>(n),
                      .curve = std::vector<double>(n),
                      .other_exponent = std::vector<double>(n),
                      .others = std::vector<double>(n)};
  KlSegment out{.mass = {},
                .centre = {},
                .lean = std::vector<ScaledSum>(n),
                .curve = std::vector<ScaledSum>(n),
                .others = std::vector<ScaledSum>(n)};
  if (!centres.empty()) out.centre = rates.centre = centres;
  ChunkReader reader(game, index);
  while (reader.next()) {
    if (out.centre.empty()) {
      // The pilot centre: the first chunk's own mean reward under p*.
      stream::kl_chunk(reader.view(), rates, sums);
      for (size_t i = 0; i < n; ++i) {
        const double shift =
            rates.rate[i] > 0 ? sums.lean[i] / (sums.mass * kLog2 * rates.rate[i]) : 0;
        rates.centre[i] += std::isfinite(shift) ? shift : 0;
      }
      out.centre = rates.centre;
    }
    stream::kl_chunk(reader.view(), rates, sums);
    out.mass.add(sums.mass, sums.exponent);
    for (size_t i = 0; i < n; ++i) {
      out.lean[i].add(sums.lean[i], sums.exponent);
      out.curve[i].add(sums.curve[i], sums.exponent);
      if (rates.wide[i]) out.others[i].add(sums.others[i], sums.other_exponent[i]);
    }
  }
  return out;
}

// A segment as plain numbers: mass and its exponent, then centre, lean, curve, others and the
// others' exponents, [n] each. Lean and curve follow the exponent of the mass.
SegmentPart to_part(const KlSegment& segment, const std::vector<bool>& wide) {
  SegmentPart part = {segment.mass.value(), segment.mass.exponent};
  part.insert(part.end(), segment.centre.begin(), segment.centre.end());
  for (const auto* list : {&segment.lean, &segment.curve}) {
    for (const ScaledSum& sum : *list) part.push_back(sum.value());
  }
  for (size_t i = 0; i < wide.size(); ++i) part.push_back(wide[i] ? segment.others[i].value() : 0);
  for (size_t i = 0; i < wide.size(); ++i) part.push_back(wide[i] ? segment.others[i].exponent : 0);
  return part;
}

KlSegment from_part(const SegmentPart& part, size_t n) {
  const auto scaled = [](double value, double exponent) {
    ScaledSum out;
    out.add(value, exponent);
    return out;
  };
  KlSegment out{
      .mass = scaled(part[0], part[1]), .centre = {}, .lean = {}, .curve = {}, .others = {}};
  const auto at = [&](size_t list, size_t i) { return part[2 + list * n + i]; };
  for (size_t i = 0; i < n; ++i) {
    out.centre.push_back(at(0, i));
    out.lean.push_back(scaled(at(1, i), part[1]));
    out.curve.push_back(scaled(at(2, i), part[1]));
    out.others.push_back(scaled(at(3, i), at(4, i)));
  }
  return out;
}

// The payment p_i = L log E_{p*}[exp(-y)], y centred on v_i, from segments centred elsewhere: with
// delta = R (v - c), R = w/L,
//   E phi(y - delta) = e^delta E phi(y) + (e^delta - 1 - delta) - (e^delta - 1) E y       [ours]
struct KlPayment {
  double mean = 0;  // v_i of one agent, raw reward
  double lift = 0;  // ... less the first segment's centre
  double payment = 0;
  double condition = 0;  // by how much the terms of the sum exceed it
};

KlPayment kl_payment(const std::vector<KlSegment>& segments, const ScaledSum& total, size_t group,
                     double unit, double strength) {
  const double origin = segments[0].centre[group];
  Sum shift;
  for (const KlSegment& segment : segments) {
    const double scale = segment.mass.exponent - total.exponent;
    shift.add(shrink(segment.mass.value(), scale) * (segment.centre[group] - origin));
    shift.add(shrink(segment.lean[group].value(), scale) / unit);
  }
  KlPayment out{.lift = shift.value() / total.value()};
  out.mean = origin + out.lift;
  Sum curve;
  double magnitude = 0;
  for (const KlSegment& segment : segments) {
    const double scale = segment.mass.exponent - total.exponent;
    // Centres may lie far from 0 beside their distance: the mean itself has lost that much.
    const double delta = unit * (origin - segment.centre[group] + out.lift);
    const std::array<double, 3> terms = {std::exp(delta) * segment.curve[group].value(),
                                         law_detail::phi(-delta) * segment.mass.value(),
                                         -std::expm1(delta) * segment.lean[group].value()};
    for (const double term : terms) {
      curve.add(shrink(term, scale));
      magnitude += std::abs(shrink(term, scale));
    }
  }
  const double excess = std::max(0.0, curve.value() / total.value());
  out.payment = strength * std::log1p(excess);
  out.condition = magnitude / total.value() / (1 + excess);
  return out;
}

}  // namespace

namespace {

// The game's sums around some centres.
struct KlSums {
  std::vector<KlSegment> segments;
  ScaledSum total;                  // mass
  std::vector<KlPayment> payments;  // [n]
};

std::optional<KlSums> kl_pass(const StreamGame& game, const stream::KlRates& rates,
                              const std::string& name, const std::vector<double>& centres,
                              SegmentPasses& passes) {
  const auto parts = passes.run(name, [&](size_t index) {
    return to_part(kl_segment(game, rates, centres, index), rates.wide);
  });
  if (!parts.has_value()) return std::nullopt;
  KlSums out;
  for (const SegmentPart& part : *parts)
    out.segments.push_back(from_part(part, game.groups.size()));
  for (const KlSegment& segment : out.segments) {
    out.total.add(segment.mass.value(), segment.mass.exponent);
  }
  const double strength = game.divergence.regularization;
  for (size_t i = 0; i < game.groups.size(); ++i) {
    const double unit = game.groups[i].group_size * game.groups[i].scale / strength;
    out.payments.push_back(kl_payment(out.segments, out.total, i, unit, strength));
  }
  return out;
}

// Pilot centres that turned out too far from v_i cost a payment its digits: a second read around
// the means that the first one found restores them.
bool needs_second_read(const KlSums& sums, const stream::KlRates& rates) {
  static constexpr double kWorstCondition = 1e3;
  for (size_t i = 0; i < sums.payments.size(); ++i) {
    if (!rates.wide[i] && !(sums.payments[i].condition < kWorstCondition)) return true;
  }
  return false;
}

}  // namespace

namespace {

// Error bounds of a KL pass, in units u = 2^-53 and to first order. A weight e^{s/L} is off by
// u (n + 6) z of itself, z = sum_i w_i (max rm_i - rm_i)/L the exponent added up, and by a few
// units of exp2; under p* the mean of z follows from the valuations. Sums of chunks add
// kChunkRounding, scales what they are off by.
class KlErrors {
 public:
  KlErrors(const StreamGame& game, const KlSums& sums)
      : terms_(static_cast<double>(game.groups.size() + 6)),
        strength_(game.divergence.regularization),
        scale_error_(game.reward_scale_error),
        log_scale_(std::log(game.initial_scale)) {
    const StreamTotals totals(game);
    range_ = totals.range();
    double below = 0;  // sum_i w_i (max rm_i - v_i)
    for (size_t i = 0; i < game.groups.size(); ++i) {
      const StreamGroup& group = game.groups[i];
      const double worth = group.group_size * group.scale;
      below += worth * (group.top - sums.payments[i].mean);
      tops_ += worth * (group.top - group.offset);
    }
    lost_ = 0x1p-1000 * (1 + 1 / game.initial_scale);
    mass_lost_ = lost_ / sums.total.value();
    mass_ = 3 * kChunkRounding + 4 * game.initial_scale_error + exponent(below) + mass_lost_;
  }

  // Of the mass, relative; so |E_p g - E_p* g| <= 2 range(g) times this.
  [[nodiscard]] double mass() const { return mass_; }
  [[nodiscard]] double welfare(double log_mass) const {
    // The logarithm of the scale and that of the mass may cancel.
    const double logs = std::abs(log_mass) + 2 * std::abs(log_scale_);
    return strength_ * (mass_ + 4 * kUnitRoundoff * logs) +
           (8 * kUnitRoundoff + scale_error_) * tops_;
  }
  [[nodiscard]] double valuation(double worth, const StreamGroup& group, double mean) const {
    return worth * ((group.top - group.low) * (2 * mass_ + 2 * kChunkRounding) +
                    16 * kUnitRoundoff * (std::abs(group.top) + std::abs(group.offset)) +
                    2 * scale_error_ * (mean - group.offset));
  }
  // Of L log1p(excess): terms of `condition` times its size, each with an exponent up to the range;
  // and that the mean around which it is taken is itself off, which enters squared.
  [[nodiscard]] double payment(double condition, double worth, const StreamGroup& group) const {
    const double off = worth / strength_ * 4 * kChunkRounding * (group.top - group.low);
    static constexpr double kUnderflow = 0x1p-1060;
    static constexpr double kLargestCurve = 0x1p433;  // of a stake that is not wide
    return strength_ * (condition * (8 * kChunkRounding + 4 * exponent(range_)) + off * off +
                        kLargestCurve * mass_lost_) +
           kUnderflow;
  }
  // Of L log of a leave-one-out mass.
  [[nodiscard]] double others(double mass) const {
    return strength_ * (3 * kChunkRounding + exponent(range_) + lost_ / mass) +
           8 * kUnitRoundoff * range_;
  }

 private:
  [[nodiscard]] double exponent(double total) const {
    return (kUnitRoundoff * terms_ + 2 * scale_error_) * total / strength_;
  }

  double terms_;
  double strength_;
  double scale_error_;
  double log_scale_;
  double range_ = 0;
  double tops_ = 0;
  double mass_ = 0;
  double lost_ = 0;  // of terms that leave the range of doubles, and that relative to the mass
  double mass_lost_ = 0;
};

void set_group(const StreamGame& game, const KlSums& sums, const KlErrors& errors, bool wide,
               double log_mass, size_t i, GroupOutcome& out) {
  const StreamGroup& group = game.groups[i];
  const double strength = game.divergence.regularization;
  const double worth = group.group_size * group.scale;
  const KlPayment& found = sums.payments[i];
  out.valuation = worth * (sums.segments[0].centre[i] - group.offset + found.lift);
  const double valuation_error = errors.valuation(worth, group, found.mean);
  out.valuation_enclosure = around(out.valuation, valuation_error);
  if (!(group.top > group.low)) return;  // a constant reward pays nothing
  out.payment = found.payment;
  out.payment_enclosure = around(out.payment, errors.payment(found.condition, worth, group));
  if (!wide) return;
  ScaledSum others;
  for (const KlSegment& segment : sums.segments) {
    others.add(segment.others[i].value(), segment.others[i].exponent);
  }
  // ASW*_{-i} - ASW_{-i}(p*), both measured from the other groups' tops.
  const double without = others.log() + std::log(game.initial_scale);
  const double payment = strength * (without - log_mass) + worth * (found.mean - group.top);
  out.payment = std::max(0.0, payment);
  out.payment_enclosure =
      around(payment, errors.others(others.value()) + errors.welfare(log_mass) + valuation_error);
}

}  // namespace

std::optional<Solution> solve_kl_stream(const StreamGame& game, SegmentPasses& passes) {
  const double strength = game.divergence.regularization;
  const stream::KlRates rates = kl_rates(game);
  std::optional<KlSums> sums = kl_pass(game, rates, "kl", {}, passes);
  if (!sums.has_value()) return std::nullopt;
  const bool again = needs_second_read(*sums, rates);
  if (again) {
    std::vector<double> means;
    for (const KlPayment& payment : sums->payments) means.push_back(payment.mean);
    sums = kl_pass(game, rates, "kl centred", means, passes);
    if (!sums.has_value()) return std::nullopt;
  }
  const ScaledSum& total = sums->total;
  Solution out = outcomes_of(game);
  const double log_mass = total.log() + std::log(game.initial_scale);
  const KlErrors errors(game, *sums);
  Sum tops;
  Sum valuations;
  Enclosure valued;
  for (size_t i = 0; i < game.groups.size(); ++i) {
    const StreamGroup& group = game.groups[i];
    tops.add(group.group_size * group.scale * (group.top - group.offset));
    set_group(game, *sums, errors, rates.wide[i], log_mass, i, out.groups[i]);
    valuations.add(out.groups[i].valuation);
    valued = valued + out.groups[i].valuation_enclosure;
  }
  out.welfare = tops.value() + strength * log_mass;
  out.welfare_enclosure = around(out.welfare, errors.welfare(log_mass));
  out.divergence = valuations.value() - out.welfare;
  out.divergence_enclosure = valued - out.welfare_enclosure;
  finish_outcomes(out);
  out.reads = again ? 2 : 1;
  return out;
}

}  // namespace candor
