#pragma once

#include <algorithm>
#include <cmath>
#include <span>
#include <utility>
#include <vector>

#include "core/block_parts.h"
#include "core/certificate.h"
#include "core/divergence_law.h"
#include "core/dual_search.h"
#include "core/sum.h"

namespace candor {

// A problem solved: the ratios at its dual variable and what they prove.
struct DualSolution {
  double depth = 0;              // v, to double precision
  std::vector<LawPoint> points;  // [m], of mass 1 up to rounding
  ProblemOptimum optimum;
  double model_error = 0;
  int reads = 0;
};

// One problem of a block: s(x) - f'(r(x)) = mu where r > 0, sum p0 r = 1 (MATH 3). The depth of
// outcome x is v + below(x), v the depth of the top outcome: the one unknown. It is found in double
// precision and then, where that leaves the mass off 1, to 106 bits: where the mass lies far below
// a top outcome of tiny probability, or on an outcome about to be clipped, a double is too coarse.
template <typename Law>
class DualProblem {
 public:
  DualProblem(const Law& law, std::span<const double> initial, const Drops& drops, double strength,
              double drop_error)
      : law_(law), initial_(initial), drops_(drops), strength_(strength) {
    error_.absolute = drop_error;
    error_.ties_exact = drops.ties_exact;
  }

  // By Newton on the dual.
  [[nodiscard]] DualSolution solve() {
    RefinedSearch search(bracket());
    DualSolution out;
    while (!search.done()) {
      const double v = search.next().high;
      Sum excess;
      Sum spread;
      for (size_t x = 0; x < initial_.size(); ++x) {
        const LawPoint point = law_.at(v + drops_.below[x]);
        excess.add(initial_[x] * point.excess);
        spread.add(initial_[x] * point.ratio * point.reach);
      }
      search.tell(excess.value(), spread.value());
      ++out.reads;
    }
    out.depth = search.best().high;
    if (beyond_doubles(law_, out.depth)) {
      pin(out);
    } else {
      prove(search, out);
    }
    return out;
  }

  // From a dual variable that a closed form found.
  [[nodiscard]] DualSolution solve_from(double depth) {
    DualSolution out;
    out.depth = depth;
    DualSearch::Options options = bracket();
    options.start = depth;
    RefinedSearch search(options);
    prove(search, out);
    return out;
  }

 private:
  [[nodiscard]] DualSearch::Options bracket() const {
    Sum top;
    for (size_t x = 0; x < initial_.size(); ++x) {
      if (drops_.below[x] == 0) top.add(initial_[x]);
    }
    return dual_bracket(law_, *std::ranges::max_element(drops_.below), std::min(1.0, top.value()),
                        strength_);
  }

  // Ratios and proof at v.
  [[nodiscard]] Certificate certify(const DoubleDouble& v, DualSolution& out) const {
    Certificate certificate(law_, v, error_);
    out.points.clear();
    out.points.reserve(initial_.size());
    for (size_t x = 0; x < initial_.size(); ++x) {
      const DoubleDouble depth = depth_at(v, drops_.below[x], drops_.rest[x]);
      out.points.push_back(law_.at(depth));
      certificate.add(law_, initial_[x], drops_.below[x], depth, out.points[x]);
    }
    ++out.reads;
    return certificate;
  }

  void prove(RefinedSearch& search, DualSolution& out) const {
    static constexpr int kMostSteps = 100;
    DoubleDouble v = search.best();
    Certificate certificate = certify(v, out);
    search.refine(16 * kUnitRoundoff * *std::ranges::max_element(drops_.below));
    for (int step = 0; step < kMostSteps && !search.done(); ++step) {
      if (std::abs(certificate.excess()) <= certificate.mass_error()) break;
      search.tell(certificate.excess(), certificate.spread());
      if (search.done()) break;
      v = search.next();
      certificate = certify(v, out);
    }
    const bool told = std::abs(certificate.excess()) > certificate.mass_error();
    if (told && v.low != search.low().low) certificate = certify(search.low(), out);
    Bounded value = certificate.value(law_);
    out.model_error = certificate.model_error();
    if (told && search.jumps()) {
      out.model_error = 2 * certificate.mass_error() + interpolate(search.high(), out);
    }
    static constexpr double kCoarse = 1e-9;
    if (certificate.mass_error() + std::abs(certificate.excess()) + certificate.edges() > kCoarse) {
      value.enclosure.low = std::max(value.enclosure.low, reached(out.depth, out.points));
    }
    // What p0 itself reaches; and the outcome of the highest total alone reaches no more than 0.
    const double least = -*std::ranges::max_element(drops_.below) * (1 + 4 * kUnitRoundoff);
    value = value.within({least - error_.absolute, 0});
    out.optimum = {drops_.highest, value};
  }

  // beyond_doubles().
  void pin(DualSolution& out) const {
    Sum rest;  // sum over the others of p0 r
    Sum top;
    for (size_t x = 0; x < initial_.size(); ++x) {
      if (drops_.below[x] == 0) top.add(initial_[x]);
      if (drops_.below[x] != 0) rest.add(initial_[x] * law_.ratio(drops_.below[x]));
    }
    const double ratio = (1 - rest.value()) / top.value();
    out.depth = 0;
    Certificate certificate(law_, {0, 0}, error_);
    for (size_t x = 0; x < initial_.size(); ++x) {
      const bool at_top = drops_.below[x] == 0;
      const LawPoint point = at_top ? LawPoint{ratio, ratio - 1, 0} : law_.at(drops_.below[x]);
      out.points.push_back(point);
      certificate.add(law_, initial_[x], drops_.below[x], {drops_.below[x], drops_.rest[x]}, point);
    }
    ++out.reads;
    out.optimum = {drops_.highest, certificate.value(law_)};
    // Which of several tops has that mass is known only where their totals are.
    const double undecided = drops_.ties_exact ? 0 : ratio * top.value();
    out.model_error = certificate.model_error() + undecided;
  }

  // Surely no more than what the model p0 r, normalised, reaches: sum p s - D less max s.
  [[nodiscard]] double reached(double depth, const std::vector<LawPoint>& points) const {
    const std::vector<double> model = model_of(initial_, points);
    Sum lost;
    double magnitude = strength_;
    const double slope = std::abs(depth) + law_.top();
    for (size_t x = 0; x < model.size(); ++x) {
      const double ratio = model[x] / initial_[x];
      const double cost =
          initial_[x] * law_.bregman(ratio, 1, (model[x] - initial_[x]) / initial_[x]);
      lost.add(model[x] * drops_.below[x]);
      lost.add(cost);
      magnitude += model[x] * (drops_.below[x] + slope) + cost;
    }
    return -lost.value() - 64 * kUnitRoundoff * magnitude - error_.absolute;
  }

  // Where the closest dual variables have masses on both sides of 1 (alpha > 2: an outcome at the
  // edge of losing its mass), the ratios in between, of mass 1, solve the problem. Returns how far
  // they can be off, summed with p0: one outcome alone has the mass that the others leave it.
  double interpolate(const DoubleDouble& high, DualSolution& out) const {
    DualSolution above;
    above.depth = out.depth;
    const Certificate less = certify(high, above);
    Sum more;
    for (size_t x = 0; x < initial_.size(); ++x) more.add(initial_[x] * out.points[x].excess);
    const double apart = more.value() - less.excess();
    const double share = apart > 0 ? std::clamp(-less.excess() / apart, 0.0, 1.0) : 1;
    double total = 0;
    double widest = 0;
    for (size_t x = 0; x < initial_.size(); ++x) {
      LawPoint& point = out.points[x];
      const double jump = initial_[x] * std::abs(point.ratio - above.points[x].ratio);
      total += jump;
      widest = std::max(widest, jump);
      point.ratio = share * point.ratio + (1 - share) * above.points[x].ratio;
      point.excess = share * point.excess + (1 - share) * above.points[x].excess;
    }
    return total - widest;
  }

  const Law& law_;
  std::span<const double> initial_;
  const Drops& drops_;
  double strength_;
  DropError error_;
};

}  // namespace candor
