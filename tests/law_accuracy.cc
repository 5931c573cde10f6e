// How accurate the functions of every law are (core/divergence_law.h), and the vectorised
// exponentials of the streamed kernels, against 60 digits: a markdown table of the largest relative
// errors found in units of 2^-53, each with the arguments that gave it.
//
//   law_accuracy [DRAWS]      default 20000 of every function and law
//
// Arguments are ratios from 1e-300 to 1e300 and what follows from them. An error counts where truth
// and result are normal doubles; the other columns count results that are 0, infinite, subnormal or
// NaN where the truth is not.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "base/rng.h"
#include "base/strings.h"
#include "core/divergence_law.h"
#include "core/stream_kernels.h"
#include "real.h"

namespace candor {
namespace {

constexpr double kUnit = 0x1p-53;

double draw_power(RandomStream& random, double low, double high) {
  return std::pow(10.0, low + (high - low) * random.uniform());
}

// f, f' and (f')^{-1} of MATH 2 with f(1) = f'(1) = 0, at 400 digits.
struct Exact {
  std::string name;
  double order = 0;  // of power laws
  Real l = Real(1);

  [[nodiscard]] bool is_power() const { return name != "js" && name != "jeffreys"; }
  [[nodiscard]] Real a() const { return Real(order); }

  [[nodiscard]] Real f(const Real& r) const {
    const Real one(1);
    if (name == "js") {
      const Real first = r == Real(0) ? Real(0) : r * log(r);
      return l / Real(2) * (first - (r + one) * log((r + one) / Real(2)));
    }
    if (name == "jeffreys") return l * (r - one) * log(r);
    if (order == 1) return l * ((r == Real(0) ? Real(0) : r * log(r)) - r + one);
    if (order == 0) return l * (r - one - log(r));
    const Real power = r == Real(0) ? Real(0) : exp(a() * log(r));
    return l * (power - a() * r - (one - a())) / (a() * (a() - one));
  }
  // f', as far from f'(1) = 0.
  [[nodiscard]] Real slope(const Real& r) const {
    const Real one(1);
    if (name == "js") return l / Real(2) * log(Real(2) * r / (r + one));
    if (name == "jeffreys") return l * (log(r) + one - one / r);
    if (order == 1) return l * log(r);
    return l * expm1((a() - one) * log(r)) / (a() - one);
  }
  [[nodiscard]] Real curvature(const Real& r) const {
    const Real one(1);
    if (name == "js") return l / Real(2) / (r * (one + r));
    if (name == "jeffreys") return l * (one / r + one / (r * r));
    return l * exp((a() - Real(2)) * log(r));
  }
  // f'(inf) where there is a pole.
  [[nodiscard]] Real pole() const {
    if (name == "js") return l / Real(2) * log(Real(2));
    return l / (Real(1) - a());
  }
  // (f')^{-1}
  [[nodiscard]] Real inverse(const Real& t) const {
    const Real one(1);
    if (name == "js") return one / expm1(Real(2) * (pole() - t) / l);
    if (name == "jeffreys") return inverse_jeffreys(one - t / l);
    if (order == 1) return exp(t / l);
    const Real base = one + (a() - one) * t / l;
    if (!(base > Real(0))) return order > 1 ? Real(0) : one / Real(0);
    return exp(log1p((a() - one) * t / l) / (a() - one));
  }

 private:
  // 1/w, w + log w = z, by Newton in log w.
  static Real inverse_jeffreys(const Real& z) {
    Real y(z.to_double() > 1 ? std::log(z.to_double()) : z.to_double());
    for (int step = 0; step < 400; ++step) {
      const Real w = exp(y);
      const Real move = (w + y - z) / (w + Real(1));
      y = y - move;
      if (abs(move) < power_of_ten(-60) * (Real(1) + abs(y))) break;
    }
    return exp(-y);
  }
};

struct Cell {
  double units = 0;
  std::string where;
  uint64_t draws = 0;
  uint64_t lost = 0;  // 0, infinite, subnormal or NaN where the truth is a normal double

  void see(double computed, const Real& truth, const std::string& arguments) {
    if (!truth.is_finite()) return;
    const double size = std::abs(truth.to_double());
    if (!(size >= std::numeric_limits<double>::min() && std::isfinite(size))) return;
    ++draws;
    if (!(std::abs(computed) >= std::numeric_limits<double>::min()) || std::isinf(computed)) {
      ++lost;
      if (units == 0) where = arguments;
      return;
    }
    const double found = (abs(Real(computed) - truth) / (abs(truth) * Real(kUnit))).to_double();
    if (found > units) {
      units = found;
      where = arguments;
    }
  }
};

void print(const std::string& law, const std::string& function, const Cell& cell) {
  std::printf("| %s | %s | %.3g | %llu of %llu | %s |\n", law.c_str(), function.c_str(), cell.units,
              static_cast<unsigned long long>(cell.lost),
              static_cast<unsigned long long>(cell.draws), cell.where.c_str());
}

double draw_ratio(RandomStream& random) {
  switch (random.below(4)) {
    case 0:
      return draw_power(random, -300, 300);
    case 1:
      return draw_power(random, -10, 10);
    case 2:
      return 1 + (random.below(2) == 0 ? -1 : 1) * draw_power(random, -15, -0.5);
    default:
      return 0.2 + 3 * random.uniform();
  }
}

template <typename Law>
void measure(const std::string& title, const Law& law, const Exact& exact, int draws) {
  RandomStream random({.seed = 4, .stream = 0x6c617761});
  std::map<std::string, Cell> cells;
  const Real top = law.has_pole() ? exact.pole() : Real(0);
  for (int i = 0; i < draws; ++i) {
    const double r = draw_ratio(random);
    const Real ratio(r);
    const std::string at = str_cat("r = ", r);
    cells["depth(r)"].see(law.depth(r), top - exact.slope(ratio), at);
    cells["curvature(r)"].see(law.curvature(r), exact.curvature(ratio), at);
    const double depth = law.depth(r);
    if (std::isfinite(depth)) {
      const LawPoint point = law.at(depth);
      const Real slope = top - Real(depth);
      const Real solved = exact.inverse(slope);
      cells["conjugate(at(depth), depth)"].see(law.conjugate(point, depth),
                                               slope * solved - exact.f(solved),
                                               str_cat("depth = ", depth));
      cells["ratio(depth)"].see(law.ratio(depth), exact.inverse(top - Real(depth)),
                                str_cat("depth = ", depth));
    }
    const double other = random.below(2) == 0
                             ? draw_ratio(random)
                             : r * (1 + (random.uniform() - 0.5) * draw_power(random, -14, 0));
    const double d = other - r;
    const Real change = Real(other) - ratio;
    cells["bregman(to, from, d)"].see(
        law.bregman(other, r, d),
        exact.f(Real(other)) - exact.f(ratio) - exact.slope(ratio) * change,
        str_cat("to = ", other, ", from = ", r));
    // Slopes that change the ratio by 1e-14 of itself to many times over.
    const double reach = random.below(2) == 0 ? 1 : law.curvature(r) * r;
    const double u = (random.below(2) == 0 ? -1 : 1) * draw_power(random, -14, 1) * reach;
    const Real change_of_ratio = exact.inverse(exact.slope(ratio) + Real(u)) - ratio;
    if (std::isfinite(u) && abs(change_of_ratio) > ratio * power_of_ten(-200)) {
      cells["difference(r, u)"].see(law.difference(law.at(law.depth(r)), u), change_of_ratio,
                                    str_cat(at, ", u = ", u));
    }
  }
  for (const auto& [function, cell] : cells) print(title, function, cell);
}

void measure_omega(int draws) {
  RandomStream random({.seed = 5, .stream = 0x6c617761});
  Cell cell;
  const Exact jeffreys{.name = "jeffreys"};
  for (int i = 0; i < draws; ++i) {
    double z = 1 + 12 * (random.uniform() - 0.5);
    if (i % 3 == 1) z = -720 * random.uniform();
    if (i % 3 == 2) z = draw_power(random, -3, 300);
    const Real omega = Real(1) / jeffreys.inverse(Real(1) - Real(z));
    cell.see(law_detail::wright_omega(z), omega, str_cat("z = ", z));
  }
  print("jeffreys", "wright_omega(z)", cell);
}

// One outcome of mass 1 beside padding of the highest reward: what the kernel sums is one term.
// Rewards are multiples of 2^-20, so that nothing rounds before the exponentials.
void measure_kernels(int draws) {
  RandomStream random({.seed = 6, .stream = 0x6c617761});
  static constexpr double kTop = 1024;
  std::vector<double> initial(stream::kChunk, 0.0);
  std::vector<double> reward(stream::kChunk, kTop);
  initial[0] = 1;
  Cell power;
  Cell curve;
  const Real log2 = log(Real(2));
  for (int i = 0; i < draws; ++i) {
    const double below = std::floor(0x1p20 * random.uniform() * (i % 2 == 0 ? 3 : 1000)) * 0x1p-20;
    reward[0] = kTop - below;
    const double lift = (random.below(2) == 0 ? -1 : 1) * draw_power(random, -6, 1.5);
    const double centre = reward[0] - std::round(lift * 0x1p30) * 0x1p-30;
    const stream::ChunkView view{.initial = {.f64 = initial.data()},
                                 .rewards = {{.f64 = reward.data()}}};
    const stream::KlRates rates{.rate = {1.0}, .top = {kTop}, .centre = {centre}, .wide = {false}};
    stream::KlSums sums{.lean = {0}, .curve = {0}, .other_exponent = {0}, .others = {0}};
    stream::kl_chunk(view, rates, sums);
    power.see(sums.mass, exp(-Real(below) * log2), str_cat("2^-", below));
    const Real y = (Real(reward[0]) - Real(centre)) * log2;
    if (below > 900) continue;  // curve itself may be subnormal
    curve.see(sums.curve[0] / sums.mass, exp(-y) - Real(1) + y, str_cat("y = ", y.to_double()));
  }
  print("kl kernel", "2^x (kl_chunk mass)", power);
  print("kl kernel", "phi(y) (curve / mass)", curve);
}

// As law_of() measures slopes where nothing is known of the ratios.
Anchor anchor_of(double order) { return order < 0.9 ? Anchor::kPole : Anchor::kOne; }

int run(int draws) {
  const Real::Precision precision(400);
  std::printf("| law | function | largest error, 2^-53 | lost | where |\n|---|---|--:|--:|---|\n");
  for (const double order : {1.0, 2.0, 0.0, 0.5, -2.0, -40.0, 0.3, 0.89, 1 - 1e-3, 1 - 1e-9,
                             1 + 1e-9, 1 + 1e-3, 1.5, 2 - 1e-12, 2.5, 40.0, 1e-9}) {
    measure(str_cat("power ", order), PowerLaw(order, 1, anchor_of(order)),
            Exact{.name = "power", .order = order}, draws);
  }
  measure("js", JensenShannonLaw(1, Anchor::kPole), Exact{.name = "js"}, draws);
  measure("jeffreys", JeffreysLaw(1), Exact{.name = "jeffreys"}, draws);
  measure_omega(draws);
  measure_kernels(draws);
  return 0;
}

}  // namespace
}  // namespace candor

int main(int argc, char** argv) {
  const int draws = argc > 1 ? std::atoi(argv[1]) : 20000;
  if (draws < 1) {
    std::fputs("usage: law_accuracy [DRAWS]\n", stderr);
    return 2;
  }
  return candor::run(draws);
}
