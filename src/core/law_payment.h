#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include "core/divergence_law.h"
#include "core/sum.h"

namespace candor {

// Ratios below this have lost digits, or all of them; their slopes have not.
inline constexpr double kRatioUnderflow = 1e-280;

// f(to) - f(from) - t (to - from) >= 0, t the slope that `from` solves at depth `depth_from`: it
// lies below f'(0) where `from` is clipped, and tells more than `from` where that has underflowed.
// `d` = to - from, given accurately.
template <typename Law>
double bregman_at_depth(const Law& law, double to, double from, double d, double depth_from) {
  if (from > kRatioUnderflow) return law.bregman(to, from, d);
  return law.bregman_at_zero(to, depth_from);
}

// The payment of one group, from the problem of all and the one without the group:
//   p_i = sum p0 [ f(r_p) - f(r_q) - t_q (r_p - r_q) ],   every term >= 0          [ours]
// with t_q = s_{-i} - mu_q, which is f'(r_q) where r_q > 0. Where p and q are close they are not
// subtracted: their slopes differ by w_i (rm_i - c), and c is refined until the differences carry
// no mass; so a payment of 1e-20 keeps its digits.
template <typename Law>
class LawPayment {
 public:
  struct Pair {
    std::span<const double> initial;
    std::span<const double> rewards;  // of the group
    double size;
    std::span<const LawPoint> chosen;  // [m], r_p
    std::span<const LawPoint> other;   // [m], r_q
    std::span<const double> below;     // [m], max s_{-i} - s_{-i}
    double depth;                      // of the top outcome without the group, under `law`
  };
  // `law` is anchored as in the problem without the group.
  LawPayment(const Law& law, const Pair& pair) : law_(law), pair_(pair) {}

  [[nodiscard]] double value() {
    find_differences();
    Sum sum;
    for (size_t x = 0; x < pair_.initial.size(); ++x) {
      const double to = pair_.chosen[x].ratio;
      const double from = close_[x] ? to + differences_[x] : pair_.other[x].ratio;
      const double depth = pair_.depth + pair_.below[x];
      sum.add(pair_.initial[x] * bregman_at_depth(law_, to, from, -differences_[x], depth));
    }
    return sum.value();
  }

 private:
  // r_q - r_p, and where it comes from slopes.
  void find_differences() {
    const size_t m = pair_.initial.size();
    close_.resize(m);
    Sum far_mass;
    Sum far_change;
    for (size_t x = 0; x < m; ++x) {
      const LawPoint& p = pair_.chosen[x];
      const LawPoint& q = pair_.other[x];
      differences_.push_back(ratio_change(q, p));
      close_[x] = p.reach > 0 && q.ratio < 1.25 * p.ratio && p.ratio < 1.25 * q.ratio;
      if (close_[x]) continue;
      far_mass.add(pair_.initial[x] * (p.ratio + q.ratio));
      far_change.add(pair_.initial[x] * differences_[x]);
    }
    // With much mass far apart the payment is no small difference, and the rounding of that mass
    // would be poured into c.
    static constexpr double kMuch = 0.01;
    if (far_mass.value() <= kMuch && balance(far_change.value())) return;
    close_.assign(m, false);
  }

  // Finds c: far_change + sum over the close ones of p0 (r_q - r_p) = 0. The left side grows with
  // c, which lies between the least and the greatest reward. False where nothing is close.
  bool balance(double far_change) {
    const std::vector<double> direct = differences_;
    Sum weight;
    Sum mean;
    for (size_t x = 0; x < close_.size(); ++x) {
      if (!close_[x]) continue;
      const LawPoint& p = pair_.chosen[x];
      const double w = pair_.initial[x] * p.ratio * p.reach;
      weight.add(w);
      mean.add(w * pair_.rewards[x]);
    }
    if (!(weight.value() > 0)) return false;
    auto [low, high] = std::ranges::minmax(pair_.rewards);
    const double range = high - low;
    double centre = (mean.value() - far_change / pair_.size) / weight.value();
    static constexpr int kMostSteps = 60;
    for (int step = 0; step < kMostSteps; ++step) {
      if (!(low <= centre && centre <= high)) centre = low + (high - low) / 2;
      const double excess = far_change + differences_at(centre);
      if (!std::isfinite(excess)) break;
      (excess > 0 ? high : low) = centre;
      const double next = centre - excess / (pair_.size * weight.value());
      static constexpr double kSettled = 1e-15;
      if (std::abs(next - centre) <= kSettled * std::max(std::abs(centre), range)) return true;
      centre = next;
    }
    differences_ = direct;
    return false;
  }

  // Sets the close differences for c = centre; the mass they carry, not finite where that centre
  // would take a ratio too far.
  double differences_at(double centre) {
    Sum mass;
    for (size_t x = 0; x < close_.size(); ++x) {
      if (!close_[x]) continue;
      const double step = pair_.size * (centre - pair_.rewards[x]);
      if (!(std::abs(step) <= 4 * law_.safe_step(pair_.chosen[x]))) {
        return std::numeric_limits<double>::infinity();
      }
      differences_[x] = law_.difference(pair_.chosen[x], step);
      mass.add(pair_.initial[x] * differences_[x]);
    }
    return mass.value();
  }

  const Law& law_;
  const Pair& pair_;
  std::vector<bool> close_;
  std::vector<double> differences_;  // [m], r_q - r_p
};

}  // namespace candor
