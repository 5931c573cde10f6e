#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "core/divergence_law.h"
#include "core/double_double.h"
#include "core/enclosure.h"
#include "core/sum.h"

namespace candor {

// How far the data of one problem may be from the truth: a drop by `absolute`, every p0 by four
// units of rounding of itself and, all alike, by `initial`.
struct DropError {
  double absolute = 0;
  double initial = 0;
  bool ties_exact = false;  // outcomes of drop 0 are known to have one total
};

// The sums over the outcomes of one SW-Max problem at one dual variable v, from which follow
// enclosures of the mass there and of the optimum (MATH 3; [ours]). With e = v + drop the depth of
// an outcome, and first-order error bounds throughout, in units u = 2^-53:
//
//   an e is off by at most     de = 4u |e| + absolute: no `absolute` at the one top, no 4u |e|
//                                where the law takes depths to 106 bits
//   a ratio by at most         de / f''(r)  +  u (14 + 4 log+ r) |r - 1|     (max(1, r) at a pole)
//   an f* by at most           r de         +  u (16 + 8 l) (|f*| + scale |r - 1|)
//
// with log+ r only where r is a power of its depth, and l = log+ r, or |log r| where f* is infinite
// at r = 0 (a power of a small r is then large). The second terms are the rounding of exp, log,
// expm1, log1p and pow (at most two units each, swept in tests/elementary_test.cc), of the exactly
// normalised p0 (four units) and of the compensated sums. Near a clipped end (alpha > 1) a ratio
// may be anything up to (17 (a-1) de / L)^{1/(a-1)}.
class Certificate {
 public:
  template <typename Law>
  Certificate(const Law& law, const DoubleDouble& v, DropError error)
      : v_(v),
        error_(error),
        pole_(law.has_pole()),
        steep_(law.steep_at_zero()),
        by_power_(law.by_power()),
        relative_(law.exact_depth() ? 0 : 4 * kUnitRoundoff),
        zero_depth_(law.zero_depth()) {}

  template <typename Law>
  void add(const Law& law, double initial, double below, const DoubleDouble& exact_depth,
           const LawPoint& point) {
    const double depth = exact_depth.high;
    const double conjugate = law.conjugate(point, depth);
    mass_.add(initial * point.excess);
    dual_.add(initial * conjugate);
    deviation_ += initial * (pole_ ? std::max(1.0, point.ratio) : std::abs(point.excess));
    conjugates_ += initial * std::abs(conjugate);
    slope_ += initial * point.ratio * std::abs(depth);
    const double depth_error = 16 * (relative_ * std::abs(depth) + error_.absolute);
    const double to_edge = (depth - zero_depth_) + exact_depth.low;
    if (std::abs(to_edge) <= depth_error) {
      const double edge = initial * law.ratio(zero_depth_ - 2 * depth_error);
      edges_ += edge;
      widest_edge_ = std::max(widest_edge_, edge);
      edge_slope_ = std::max(edge_slope_, depth_error);
    } else {
      const double spread = initial * point.ratio * point.reach;
      (below == 0 ? top_spread_ : spread_) += spread;
      lean_ += initial * point.ratio * (std::abs(depth) * point.reach);
    }
    if (below == 0) ++tops_;
    largest_ = std::max(largest_, point.ratio);
    if (point.ratio > 0) smallest_ = std::min(smallest_, point.ratio);
  }

  // The sums as plain numbers, and another part's added to these.
  static constexpr size_t kNumbers = 14;
  void append_to(std::vector<double>& part) const {
    part.insert(part.end(),
                {mass_.value(), dual_.value(), deviation_, conjugates_, slope_, spread_, lean_,
                 edges_, widest_edge_, edge_slope_, largest_, smallest_, top_spread_, tops_});
  }
  void add_part(const double* part) {
    mass_.add(part[0]);
    dual_.add(part[1]);
    deviation_ += part[2];
    conjugates_ += part[3];
    slope_ += part[4];
    spread_ += part[5];
    lean_ += part[6];
    edges_ += part[7];
    widest_edge_ = std::max(widest_edge_, part[8]);
    edge_slope_ = std::max(edge_slope_, part[9]);
    largest_ = std::max(largest_, part[10]);
    smallest_ = std::min(smallest_, part[11]);
    top_spread_ += part[12];
    tops_ += part[13];
  }

  // The mass of outcomes at the edge of being clipped.
  [[nodiscard]] double edges() const { return edges_; }
  // sum p0 r - 1 at v.
  [[nodiscard]] double excess() const { return mass_.value(); }
  [[nodiscard]] double spread() const { return spread_ + top_spread_; }
  // No more than this lies between the computed and the exact mass at v, nor between the ratios
  // there, summed with p0.
  [[nodiscard]] double mass_error() const {
    const double rounding = kUnitRoundoff * (14 + 4 * log_up()) * deviation_ +
                            2 * relative_ * lean_ + error_.initial * deviation_ +
                            error_.absolute * (spread_ + (tops_decided() ? 0 : top_spread_));
    // One outcome alone at the clipped end has the mass that the others leave it.
    const double edges = 2 * (edges_ - widest_edge_) + 8 * edge_slope_ * spread();
    return kSlack * (rounding + edges);
  }
  // |E_p g - E_p* g| <= range(g) times this, for p = p0 r normalised: the ratios at the exact dual
  // variable are all larger or all smaller than those at v, and their mass is 1.
  [[nodiscard]] double model_error() const {
    return 2 * kSlack * (std::abs(excess()) + mass_error());
  }
  // Whether the outcomes of the highest total surely share it.
  [[nodiscard]] bool tops_decided() const { return tops_ == 1 || error_.ties_exact; }

  // max_p {sum p s - D} less max s: the dual value at v above, and below what the model p0 r,
  // normalised, reaches (second order in its excess mass, so nothing where that is large).
  template <typename Law>
  [[nodiscard]] Bounded value(const Law& law) const {
    const double value = ((v_.high - law.top()) + dual_.value()) + v_.low;
    const double logs = std::max(log_up(), steep_ ? -std::log(smallest_) : 0);
    const double rounding =
        kUnitRoundoff * ((16 + 8 * logs) * (conjugates_ + law.conjugate_scale() * deviation_) +
                         8 * slope_ + 8 * (std::abs(v_.high) + law.top())) +
        error_.absolute + error_.initial * conjugates_ + edge_slope_ * kUnitRoundoff;
    const double off = std::abs(excess()) + mass_error() + edges_;
    static constexpr double kFirstOrder = 1e-3;
    const double second = off < kFirstOrder ? 4 * off * off * law.moment_bound(conjugates_)
                                            : std::numeric_limits<double>::infinity();
    return {value, {value - kSlack * (rounding + second), value + kSlack * rounding}};
  }

 private:
  static constexpr double kSlack = 1.01;  // of the plain sums of error terms

  [[nodiscard]] double log_up() const { return by_power_ && largest_ > 1 ? std::log(largest_) : 0; }

  DoubleDouble v_;
  DropError error_;
  bool pole_;
  bool steep_;
  bool by_power_;
  double relative_;
  double zero_depth_;
  Sum mass_, dual_;
  double deviation_ = 0, conjugates_ = 0, slope_ = 0;
  double spread_ = 0, top_spread_ = 0, lean_ = 0;
  double tops_ = 0;  // how many outcomes have the highest total
  double edges_ = 0, widest_edge_ = 0, edge_slope_ = 0;
  double largest_ = 0, smallest_ = 1;
};

}  // namespace candor
