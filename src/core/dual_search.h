#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <optional>

#include "core/double_double.h"
#include "core/enclosure.h"

namespace candor {

// The search for the dual variable of one SW-Max problem, driven from outside: the caller evaluates
// the mass sum p0 r at `depth()`, the depth v of the top outcome (divergence_law.h), and tells it.
// So all problems of a game advance together in one read of the rewards.
//
// Newton in (log v, log mass) where there is a pole and in (v, log mass) where there is none,
// always inside a bracket that every evaluation narrows: unsafeguarded it diverges (MATH 3).
// Source   MATH 3; [ours].
class DualSearch {
 public:
  // REQUIRES: low <= root <= high; `start` between them. `unit` sets where rounding begins.
  struct Options {
    double low = 0;
    double high = 0;
    double start = 0;
    bool has_pole = false;
    double unit = 1;
    // Below this |log mass| the Newton step is taken and not evaluated: it squares the residual,
    // and a caller who prices at that depth sees the mass there anyway. 0: evaluate until rounding.
    double trusted_residual = 0;
  };
  explicit DualSearch(const Options& options)
      : options_(options), depth_(options.start), best_depth_(options.start) {}

  [[nodiscard]] double depth() const { return depth_; }  // evaluate here next
  [[nodiscard]] bool done() const { return done_; }
  [[nodiscard]] double best_depth() const { return best_depth_; }
  // Goes on from best_depth(), where the mass was found not to be 1 after all; tell() comes next.
  void resume() {
    options_.trusted_residual = 0;
    depth_ = best_depth_;
    done_ = false;
  }
  // The root lies between.
  [[nodiscard]] double bracket_low() const { return options_.low; }
  [[nodiscard]] double bracket_high() const { return options_.high; }
  // |log mass| at best_depth().
  [[nodiscard]] double residual() const { return residual_; }
  // Two depths a rounding apart between which the mass jumps over 1, or best_depth() twice.
  [[nodiscard]] double low() const { return jumps() ? options_.low : best_depth_; }
  [[nodiscard]] double high() const { return jumps() ? options_.high : best_depth_; }
  // The part of low() in the mixture of both that has mass 1.
  [[nodiscard]] double share() const {
    const double apart = low_excess_ - high_excess_;
    return jumps() && std::isfinite(apart) && apart > 0 ? -high_excess_ / apart : 1;
  }

  // `excess` is the mass less 1, `steepness` minus its derivative, sum p0 / f''.
  void tell(double excess, double steepness) {
    const double mass = 1 + excess;
    const double log_mass = std::log1p(excess);
    if (std::abs(log_mass) < residual_) {
      residual_ = std::abs(log_mass);
      best_depth_ = depth_;
    }
    (log_mass > 0 ? options_.low : options_.high) = depth_;
    (log_mass > 0 ? low_excess_ : high_excess_) = excess;
    const double slope = steepness / mass;
    double next = options_.has_pole ? depth_ * std::exp(log_mass / (depth_ * slope))
                                    : depth_ + log_mass / slope;
    const double least = 2 * std::numeric_limits<double>::epsilon() * scale(depth_);
    const bool settled = std::abs(next - depth_) <= least && residual_ <= kSmall;
    if (residual_ == 0 || settled || options_.high - options_.low <= least / 4 ||
        ++evaluations_ >= kMostEvaluations) {
      done_ = true;
      return;
    }
    if (residual_ < options_.trusted_residual && next > options_.low && next < options_.high) {
      best_depth_ = depth_ = next;
      done_ = true;
      return;
    }
    const bool inside = next > options_.low && next < options_.high;
    if (!inside || std::abs(next - depth_) <= least || stalls()) next = middle();
    done_ = next == depth_;
    depth_ = next;
  }

 private:
  static constexpr double kSmall = 1e-14;  // of log mass
  static constexpr int kMostEvaluations = 200;

  [[nodiscard]] double scale(double depth) const {
    return options_.has_pole ? std::abs(depth) : std::max(std::abs(depth), options_.unit);
  }
  // Whether three evaluations have not halved the residual: Newton can go to and fro between the
  // two sides of an outcome's clipped end.
  bool stalls() {
    if (residual_ <= 0.5 * last_residual_) {
      last_residual_ = residual_;
      since_halved_ = 0;
      return false;
    }
    return ++since_halved_ >= 3;
  }
  [[nodiscard]] double middle() const {
    const bool by_ratio = options_.has_pole && options_.low > 0 && options_.high > 2 * options_.low;
    if (by_ratio) return std::sqrt(options_.low) * std::sqrt(options_.high);
    // Where the bracket spans many orders of magnitude, halves of those orders.
    static constexpr double kWide = 1e3;
    if (!(options_.high - options_.low > kWide * options_.unit) || !(options_.unit > 0)) {
      return std::midpoint(options_.low, options_.high);
    }
    const double low = std::asinh(options_.low / options_.unit);
    const double high = std::asinh(options_.high / options_.unit);
    return std::clamp(options_.unit * std::sinh(std::midpoint(low, high)), options_.low,
                      options_.high);
  }
  [[nodiscard]] bool jumps() const {
    const double width = std::max(std::abs(best_depth_), options_.unit);
    return residual_ > std::max(kSmall, options_.trusted_residual) &&
           options_.high - options_.low < 1e-9 * width;
  }

  Options options_;
  double depth_;
  double best_depth_;
  // The mass less 1 at the ends of the bracket, once it was told.
  double low_excess_ = std::numeric_limits<double>::quiet_NaN();
  double high_excess_ = std::numeric_limits<double>::quiet_NaN();
  double residual_ = std::numeric_limits<double>::infinity();
  int evaluations_ = 0;
  double last_residual_ = std::numeric_limits<double>::infinity();
  int since_halved_ = 0;
  bool done_ = false;
};

// A DualSearch in double precision and then, where a proof finds the mass there off 1 after all, a
// second one in what v lacks to the depth found: v to 106 bits. Where the mass lies far below a top
// outcome of tiny probability, or on an outcome about to be clipped, a double is too coarse.
class RefinedSearch {
 public:
  explicit RefinedSearch(const DualSearch::Options& options) : coarse_(options) {}

  [[nodiscard]] bool refined() const { return fine_.has_value(); }
  [[nodiscard]] bool done() const { return current().done(); }
  [[nodiscard]] DoubleDouble next() const { return at(current().depth()); }  // evaluate here
  void tell(double excess, double steepness) {
    (refined() ? *fine_ : coarse_).tell(excess, steepness);
  }
  [[nodiscard]] DoubleDouble best() const { return at(current().best_depth()); }
  // As DualSearch, where refined(); before, best(), for doubles may only be too coarse.
  [[nodiscard]] DoubleDouble low() const { return refined() ? at(fine_->low()) : best(); }
  [[nodiscard]] DoubleDouble high() const { return refined() ? at(fine_->high()) : best(); }
  [[nodiscard]] bool jumps() const { return refined() && fine_->low() != fine_->high(); }
  [[nodiscard]] double share() const { return refined() ? fine_->share() : 1; }

  // Goes on from best() in the same precision; tell() comes next.
  void resume() { (refined() ? *fine_ : coarse_).resume(); }
  // Goes on from best() beyond doubles, where nothing was evaluated yet. `error` is what the drops
  // of the masses that set the bracket were off by.
  void refine(double error) {
    const double depth = coarse_.best_depth();
    const double rounding = 16 * kUnitRoundoff * std::abs(depth) + error;
    fine_.emplace(DualSearch::Options{.low = coarse_.bracket_low() - depth - rounding,
                                      .high = coarse_.bracket_high() - depth + rounding,
                                      .start = 0,
                                      .unit = kUnitRoundoff * std::abs(depth)});
  }

 private:
  [[nodiscard]] const DualSearch& current() const { return refined() ? *fine_ : coarse_; }
  [[nodiscard]] DoubleDouble at(double found) const {
    return refined() ? DoubleDouble{coarse_.best_depth(), found} : DoubleDouble{found, 0};
  }

  DualSearch coarse_;
  std::optional<DualSearch> fine_;
};

// v + below + rest, v a double and what it lacks.
[[nodiscard]] inline DoubleDouble depth_at(const DoubleDouble& v, double below, double rest) {
  const DoubleDouble depth = exact_sum(v.high, below);
  return exact_sum(depth.high, depth.low + (rest + v.low));
}

// The least share of the pole's distance that a search looks at.
inline constexpr double kNextToPole = 1e-290;

// Whether the top outcomes come closer to the pole than doubles go (alpha < 0: their depth falls
// like a high power of 1/r) before they have the mass that the others leave. Then v = 0 to all
// others, and the top outcomes share what mass is left.
template <typename Law>
[[nodiscard]] bool beyond_doubles(const Law& law, double depth) {
  return law.has_pole() && depth <= 2 * kNextToPole * law.top();
}

// The bracket of MATH 3: mu in [max(s_max - f'(1/p0_top), s_min), s_max - f'(1)], f'(1) = 0.
// `range` is max s - min s, `top_mass` a lower bound of p0 of the best outcomes.
template <typename Law>
DualSearch::Options dual_bracket(const Law& law, double range, double top_mass, double strength) {
  DualSearch::Options options{.low = law.top() - range,
                              .high = law.top(),
                              .start = 0,
                              .has_pole = law.has_pole(),
                              .unit = std::min(strength, range)};
  const double by_top = law.depth(1 / top_mass);
  if (std::isfinite(by_top)) options.low = std::max(options.low, by_top);
  // Closer to the pole a search would leave the range of doubles.
  if (options.has_pole) options.low = std::max(options.low, kNextToPole * options.high);
  options.low = std::min(options.low, options.high);
  options.start = law.has_pole() ? options.low : std::midpoint(options.low, options.high);
  return options;
}

}  // namespace candor
