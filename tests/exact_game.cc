#include "exact_game.h"

#include <gmpxx.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <numeric>
#include <stdexcept>

namespace candor {

namespace {

enum class Law { kKl, kChi2, kReverseKl, kJs, kHellinger, kJeffreys, kAlphaBelow1, kAlphaAbove1 };

Law law_named(const std::string& name, double alpha) {
  if (name == "alpha") return alpha < 1 ? Law::kAlphaBelow1 : Law::kAlphaAbove1;
  static const std::array<std::pair<const char*, Law>, 6> kLaws = {{{"kl", Law::kKl},
                                                                    {"chi2", Law::kChi2},
                                                                    {"reverse_kl", Law::kReverseKl},
                                                                    {"js", Law::kJs},
                                                                    {"hellinger", Law::kHellinger},
                                                                    {"jeffreys", Law::kJeffreys}}};
  for (const auto& [known, law] : kLaws) {
    if (name == known) return law;
  }
  throw std::invalid_argument("no law is named " + name);
}

// Wright's omega, w + log w = z: Newton in doubles, then at full precision. The doubles solve for
// y = log w, e^y + y = z, which is convex, from a point above the root.
Real wright_omega(const Real& z) {
  const double rough = z.to_double();
  Real w = z;  // beyond 1e15 its logarithm is the first correction
  if (rough < 1e15) {
    double y = rough > 1 ? std::log(rough) : rough;
    for (int step = 0; rough > -40 && step < 60; ++step) {
      const double power = std::exp(y);
      const double move = (power + y - rough) / (power + 1);
      y -= move;
      if (std::abs(move) < 1e-14 * (1 + std::abs(y))) break;
    }
    w = rough > -40 ? exp(Real(y)) : exp(z);
  }
  Real error(1e-9);
  Real unit;
  mpfr_set_ui_2exp(unit.raw(), 1, -mpfr_get_prec(unit.raw()) / 2, MPFR_RNDN);
  for (int step = 0; step < 60; ++step) {
    const Real next = w * (Real(1) + z - log(w)) / (Real(1) + w);
    error = abs(next - w) / next;
    w = next;
    if (error < unit) return w;  // quadratic: the step made left its square
  }
  throw std::runtime_error("omega does not converge");
}

// One outcome at a slope: r = (f')^{-1}(slope), by how much r grows with the slope, f(r).
struct Point {
  Real ratio;
  Real growth;  // dr/dt = 1/f''(r)
  Real generator;
};

// A law of MATH 2 with what its slopes are measured from. The slope t of an outcome is given by
// `distance`, at full relative accuracy:
//   pole (reverse_kl, js, hellinger, alpha < 1)   f'(inf) - t
//   clip (chi2, alpha > 1)                        t - f'(0+)
//   jeffreys                                      t
class Generator {
 public:
  Generator(const ExactGame& game)
      : law_(law_named(game.divergence, game.alpha)), strength_(game.lambda), order_(game.alpha) {}

  [[nodiscard]] Law law() const { return law_; }
  [[nodiscard]] const Real& strength() const { return strength_; }
  [[nodiscard]] bool has_pole() const {
    return law_ == Law::kReverseKl || law_ == Law::kJs || law_ == Law::kHellinger ||
           law_ == Law::kAlphaBelow1;
  }
  [[nodiscard]] bool clips() const { return law_ == Law::kChi2 || law_ == Law::kAlphaAbove1; }

  // The distance at which the ratio is reached.
  [[nodiscard]] Real distance_of(const Real& ratio) const {
    const Real& l = strength_;
    switch (law_) {
      case Law::kReverseKl:
        return l / ratio;
      case Law::kJs:
        return l / Real(2) * log1p(Real(1) / ratio);
      case Law::kHellinger:
        return l / sqrt(ratio);
      case Law::kAlphaBelow1:
        return l * exp((order_ - Real(1)) * log(ratio)) / (Real(1) - order_);
      case Law::kChi2:
        return Real(2) * l * ratio;
      case Law::kAlphaAbove1:
        return l * exp((order_ - Real(1)) * log(ratio)) / (order_ - Real(1));
      default:  // jeffreys
        return l * (log(ratio) + Real(1) - Real(1) / ratio);
    }
  }

  // The point at a distance; without the generator where only masses are wanted.
  [[nodiscard]] Point at(const Real& distance, bool with_generator) const {
    const Real& l = strength_;
    Point out;
    const Real one(1);
    const Real two(2);
    switch (law_) {
      case Law::kReverseKl: {
        out.ratio = l / distance;
        out.growth = out.ratio / distance;
        if (with_generator) out.generator = l * (out.ratio - one - log(out.ratio));
        break;
      }
      case Law::kJs: {
        out.ratio = one / expm1(two * distance / l);
        out.growth = two / l * out.ratio * (one + out.ratio);
        if (with_generator) out.generator = generator(out.ratio);
        break;
      }
      case Law::kHellinger: {
        const Real root = l / distance;
        out.ratio = root * root;
        out.growth = two * out.ratio / distance;
        if (with_generator) out.generator = l * (root - one) * (root - one);
        break;
      }
      case Law::kChi2: {
        out.growth = one / (two * l);
        out.ratio = distance * out.growth;
        if (with_generator) out.generator = generator(out.ratio);
        break;
      }
      case Law::kAlphaBelow1:
      case Law::kAlphaAbove1: {
        const Real slope = abs(order_ - one);
        const Real power = slope * distance / l;  // r^{a-1}
        out.ratio = exp(log(power) / (order_ - one));
        out.growth = out.ratio / (slope * distance);
        if (with_generator) {
          out.generator = l * (out.ratio * power - order_ * out.ratio - (one - order_)) /
                          (order_ * (order_ - one));
        }
        break;
      }
      default: {  // jeffreys
        const Real omega = wright_omega(one - distance / l);
        out.ratio = one / omega;
        out.growth = out.ratio * out.ratio / (l * (one + out.ratio));
        if (with_generator) out.generator = -l * (out.ratio - one) * log(omega);
        break;
      }
    }
    return out;
  }

  // f(r); infinite where it is.
  [[nodiscard]] Real generator(const Real& r) const {
    const Real& l = strength_;
    const Real one(1);
    const bool zero = r == Real(0);
    const auto x_log_x = [](const Real& x) { return x == Real(0) ? Real(0) : x * log(x); };
    switch (law_) {
      case Law::kKl:
        return l * x_log_x(r);
      case Law::kChi2:
        return l * (r - one) * (r - one);
      case Law::kReverseKl:
        return l * (r - one - log(r));
      case Law::kJs:
        return l / Real(2) * (x_log_x(r) - (r + one) * log((r + one) / Real(2)));
      case Law::kHellinger:
        return l * (sqrt(r) - one) * (sqrt(r) - one);
      case Law::kJeffreys:
        return l * (r - one) * log(r);
      default:
        if (zero && order_ > Real(0)) return l / order_;
        if (zero) return one / Real(0);
        return l * (exp(order_ * log(r)) - order_ * r - (one - order_)) / (order_ * (order_ - one));
    }
  }

 private:
  Law law_;
  Real strength_;
  Real order_;
};

// Where the dual was found at a lower precision.
struct Start {
  bool known = false;
  Real log_offset;
  size_t edge = 0;
};

struct Optimum {
  std::vector<Real> model;  // [m], p*
  Real welfare;
  Real divergence;
  bool proved = false;
};

// SW-Max over one block for one total reward s. The unknown is `offset`, of which the distance of
// outcome x is
//   pole: offset + (s_max - s(x)); clip: offset + (s(x) - s(edge)); jeffreys: offset - L - (s_max -
//   s(x))
class BlockProblem {
 public:
  BlockProblem(const Generator& generator, const std::vector<Real>& initial,
               const std::vector<Real>& totals, int digits)
      : generator_(generator), initial_(initial), totals_(totals), digits_(digits) {
    highest_ = *std::max_element(totals.begin(), totals.end());
    for (const Real& total : totals) gaps_.push_back(highest_ - total);
  }

  [[nodiscard]] Optimum solve(Start& start) {
    const Real lowest_gap = *std::max_element(gaps_.begin(), gaps_.end());
    if (lowest_gap == Real(0)) return {initial_, highest_, Real(0), true};
    if (generator_.law() == Law::kKl) return kl();
    if (generator_.clips()) sort_edges();
    if (!(start.known && polish(start))) {
      start.known = search(start) && !at_edge_;
      if (start.known) polish(start);
      proved_ = proved_ || at_edge_;
    }
    return at(start);
  }

 private:
  struct Mass {
    Real mass;
    Real slope;  // d mass / d log offset
  };

  // ASW* = L log Z, p* = p0 e^{s/L} / Z.
  [[nodiscard]] Optimum kl() const {
    Optimum out;
    const Real& l = generator_.strength();
    Real partition(0);
    for (size_t x = 0; x < gaps_.size(); ++x) {
      out.model.push_back(initial_[x] * exp(-gaps_[x] / l));
      partition += out.model.back();
    }
    out.welfare = highest_ + l * log(partition);
    Real value(0);
    for (size_t x = 0; x < gaps_.size(); ++x) {
      out.model[x] /= partition;
      value += out.model[x] * totals_[x];
    }
    out.divergence = value - out.welfare;
    out.proved = true;
    return out;
  }

  void sort_edges() {
    order_.resize(gaps_.size());
    std::iota(order_.begin(), order_.end(), size_t{0});
    std::sort(order_.begin(), order_.end(),
              [&](size_t a, size_t b) { return gaps_[a] < gaps_[b]; });
  }

  // Distance of an outcome; nothing where it has no mass.
  [[nodiscard]] std::optional<Real> distance(size_t x, const Real& offset, size_t edge) const {
    if (generator_.has_pole()) return offset + gaps_[x];
    if (!generator_.clips()) return offset - generator_.strength() - gaps_[x];
    const Real out = offset + (gaps_[order_[edge]] - gaps_[x]);
    if (!(out > Real(0))) return std::nullopt;
    return out;
  }

  [[nodiscard]] Mass mass_at(const Real& offset, size_t edge) const {
    Mass out{Real(0), Real(0)};
    for (size_t x = 0; x < gaps_.size(); ++x) {
      const std::optional<Real> from = distance(x, offset, edge);
      if (!from.has_value()) continue;
      const Point point = generator_.at(*from, false);
      out.mass += initial_[x] * point.ratio;
      out.slope += initial_[x] * point.growth;
    }
    out.slope *= generator_.has_pole() ? -offset : offset;
    return out;
  }

  // Newton in (log offset, log mass) from where a lower precision ended.
  bool polish(Start& start) {
    const Real wanted = power_of_ten(-(digits_ - 12));
    const Real half = power_of_ten(-(digits_ / 2 + 6));
    Real previous = Real(1) / Real(0);
    for (int step = 0; step < 40; ++step) {
      const Mass found = mass_at(exp(start.log_offset), start.edge);
      if (!(found.mass > Real(0)) || !found.mass.is_finite()) return false;
      const Real move = -log(found.mass) * found.mass / found.slope;
      const Real size = abs(move);
      if (!move.is_finite() || size > Real(1e6)) return false;
      start.log_offset = start.log_offset + move;  // at this precision, not the start's
      const Real scale = Real(1) + abs(start.log_offset);
      const bool stalls = step > 2 && size > previous / Real(4) && size < half * scale;
      if ((size <= half * scale || size <= wanted * scale || stalls) && proves(start, size)) {
        return proved_ = true;
      }
      if (stalls) return false;
      previous = size;
    }
    return false;
  }

  // The mass lies on both sides of 1 a little below and above the root.
  [[nodiscard]] bool proves(const Start& start, const Real& last_move) const {
    const Real margin = max(last_move * last_move * Real(1e6),
                            power_of_ten(-(digits_ - 30)) * (Real(1) + abs(start.log_offset)));
    const Real below = mass_at(exp(start.log_offset - margin), start.edge).mass;
    const Real above = mass_at(exp(start.log_offset + margin), start.edge).mass;
    return (below > Real(1) && above < Real(1)) || (below < Real(1) && above > Real(1));
  }

  // The root from nothing: a bracket, then Newton inside it with bisection where that leaves it.
  bool search(Start& start) {
    Real low;
    Real high;
    if (!bracket(start, low, high)) return false;
    const bool falls = generator_.has_pole();
    Real x = (low + high) / Real(2);
    Real last = high - low;
    for (int step = 0; step < 20000; ++step) {
      const Mass found = mass_at(exp(x), start.edge);
      const bool too_far_right = falls ? found.mass < Real(1) : found.mass > Real(1);
      (too_far_right ? high : low) = x;
      const Real move = -log(found.mass) * found.mass / found.slope;
      const Real next = x + move;
      const bool inside = move.is_finite() && next > low && next < high;
      const Real scale = Real(1) + abs(x);
      if ((inside && abs(move) < power_of_ten(-25) * scale) ||
          high - low < power_of_ten(-30) * scale) {
        start.log_offset = inside ? next : x;
        return true;
      }
      const bool shrinks = abs(move) < Real(0.75) * last;
      x = inside && (shrinks || step == 0) ? next : (low + high) / Real(2);
      last = inside ? abs(move) : high - low;
    }
    return false;
  }

  // p0 r <= 1 everywhere and p0 r >= 1/m somewhere.
  bool bracket(Start& start, Real& low, Real& high) {
    const Real outcomes(static_cast<double>(gaps_.size()));
    if (generator_.clips()) return clipped_bracket(start, low, high);
    const bool pole = generator_.has_pole();
    for (size_t x = 0; x < gaps_.size(); ++x) {
      const Real full = generator_.distance_of(Real(1) / initial_[x]);
      const Real part = generator_.distance_of(Real(1) / (outcomes * initial_[x]));
      if (pole) {
        low = x == 0 ? full - gaps_[x] : max(low, full - gaps_[x]);
        high = x == 0 ? part - gaps_[x] : max(high, part - gaps_[x]);
      } else {
        high = x == 0 ? full + gaps_[x] : min(high, full + gaps_[x]);
        low = x == 0 ? part + gaps_[x] : min(low, part + gaps_[x]);
      }
    }
    if (!pole) {
      low = max(low, Real(0)) + generator_.strength();
      high = max(high, Real(0)) + generator_.strength();
    }
    const Real hair(1e-20);
    low = log(low) - hair;
    high = log(high) + hair;
    return true;
  }

  // The edges between which the root lies: outcomes come in one by one as the dual falls.
  bool clipped_bracket(Start& start, Real& low, Real& high) {
    size_t below = 0;
    size_t above = order_.size();
    while (above - below > 1) {
      const size_t middle = (below + above) / 2;
      (mass_at(Real(0), middle).mass <= Real(1) ? below : above) = middle;
    }
    start.edge = below;
    // Outcomes of equal totals come in together: the last of them leads.
    Real widest = above < order_.size() ? gaps_[order_[above]] - gaps_[order_[below]] : Real(0);
    if (above == order_.size()) {
      for (size_t x = 0; x < gaps_.size(); ++x) {
        const Real reach = gaps_[x] + generator_.distance_of(Real(1) / initial_[x]);
        widest = x == 0 ? reach : min(widest, reach);
      }
      widest = widest - gaps_[order_[below]];
    }
    at_edge_ = abs(mass_at(Real(0), below).mass - Real(1)) < power_of_ten(-(digits_ - 15));
    if (at_edge_ || !(widest > Real(0))) return false;
    high = log(widest) + Real(1e-20);
    Real drop(1);
    low = high - drop;
    while (mass_at(exp(low), below).mass > Real(1)) {
      drop *= Real(2);
      low = high - drop;
      if (drop > Real(1e12)) return false;
    }
    return true;
  }

  [[nodiscard]] Optimum at(const Start& start) const {
    Optimum out;
    out.proved = proved_;
    Real offset = start.known ? exp(start.log_offset) : Real(0);
    out.divergence = Real(0);
    out.welfare = Real(0);
    for (size_t x = 0; x < gaps_.size(); ++x) {
      const std::optional<Real> from = distance(x, offset, start.edge);
      Point point;
      if (from.has_value()) {
        point = generator_.at(*from, true);
      } else {
        point.ratio = Real(0);
        point.generator = generator_.generator(Real(0));
      }
      out.divergence += initial_[x] * point.generator;
      out.model.push_back(initial_[x] * point.ratio);
      out.welfare -= out.model.back() * gaps_[x];
    }
    out.welfare += highest_ - out.divergence;
    return out;
  }

  const Generator& generator_;
  const std::vector<Real>& initial_;
  const std::vector<Real>& totals_;
  int digits_;
  Real highest_;
  std::vector<Real> gaps_;     // [m], s_max - s
  std::vector<size_t> order_;  // outcomes by gap
  bool proved_ = false;
  bool at_edge_ = false;
};

// The numbers of a game, in one order: welfare, divergence, then per group valuation, payment,
// utility, welfare_without.
struct Numbers {
  std::vector<Real> values;
  std::vector<bool> zeros;  // which are 0 by what the game looks like
  Real scale;
  bool proved = true;
  std::optional<size_t> winner;
};

std::vector<size_t> blocks_of(const ExactGame& game) {
  return game.block_begin.empty() ? std::vector<size_t>{0, game.initial.size()} : game.block_begin;
}

// The game normalised, at the precision of the moment.
struct NormalGame {
  std::vector<size_t> begin;
  std::vector<Real> initial;
  std::vector<Real> sizes;
  std::vector<std::vector<Real>> stakes;  // [n][m], w_i rm_i
  Real scale;

  [[nodiscard]] size_t blocks() const { return begin.size() - 1; }
};

std::vector<Real> rescaled(const std::vector<double>& model, const std::vector<size_t>& begin) {
  std::vector<Real> out(model.begin(), model.end());
  for (size_t b = 0; b + 1 < begin.size(); ++b) {
    Real total(0);
    for (size_t x = begin[b]; x < begin[b + 1]; ++x) total += out[x];
    for (size_t x = begin[b]; x < begin[b + 1]; ++x) out[x] /= total;
  }
  return out;
}

NormalGame normalise(const ExactGame& game) {
  NormalGame out;
  out.begin = blocks_of(game);
  out.initial = rescaled(game.initial, out.begin);
  out.scale = Real(1);
  for (const ExactGame::Group& group : game.groups) {
    Real divisor(1);
    Real least(0);
    if (game.normalization == "min_max") least = Real(std::ranges::min(group.reward));
    if (game.normalization == "max" || game.normalization == "min_max") {
      divisor = Real(std::ranges::max(group.reward)) - least;
    }
    if (game.normalization == "sum") {
      divisor = Real(0);
      for (const double value : group.reward) divisor += Real(value);
    }
    out.sizes.emplace_back(group.size);
    std::vector<Real>& row = out.stakes.emplace_back();
    for (const double value : group.reward) {
      row.push_back(Real(group.size) * (Real(value) - least) / divisor);
    }
    out.scale += *std::max_element(row.begin(), row.end());
  }
  return out;
}

// Numbers from the means over blocks.
void add_numbers(Numbers& out, const Real& welfare, const Real& divergence,
                 const std::vector<Real>& valuations, const std::vector<Real>& payments) {
  out.values = {welfare, divergence};
  for (size_t i = 0; i < valuations.size(); ++i) {
    out.values.push_back(valuations[i]);
    out.values.push_back(payments[i]);
    out.values.push_back(valuations[i] - payments[i]);
    out.values.push_back(welfare - valuations[i] + payments[i]);
  }
  out.zeros.resize(out.values.size());
}

bool is_constant(const std::vector<Real>& numbers) {
  return std::ranges::all_of(numbers, [&](const Real& one) { return one == numbers[0]; });
}

// One block of a normalised game.
struct ExactBlock {
  std::vector<Real> initial;
  std::vector<std::vector<Real>> stakes;  // [n][m of the block]

  ExactBlock(const NormalGame& game, size_t block) {
    const auto part = [&](const std::vector<Real>& row) {
      return std::vector<Real>(row.begin() + static_cast<ptrdiff_t>(game.begin[block]),
                               row.begin() + static_cast<ptrdiff_t>(game.begin[block + 1]));
    };
    initial = part(game.initial);
    for (const auto& row : game.stakes) stakes.push_back(part(row));
  }
  // s, or s_{-i} without a group.
  [[nodiscard]] std::vector<Real> totals(size_t skip) const {
    std::vector<Real> sums(initial.size());
    for (size_t i = 0; i < stakes.size(); ++i) {
      for (size_t x = 0; i != skip && x < sums.size(); ++x) sums[x] += stakes[i][x];
    }
    return sums;
  }
};

Numbers solve_at(const ExactGame& game, int digits, std::vector<Start>& starts) {
  const Real::Precision precision(digits);
  const NormalGame normal = normalise(game);
  const Generator generator(game);
  const size_t n = game.groups.size();
  starts.resize(normal.blocks() * (n + 1));
  Numbers out;
  out.scale = normal.scale;
  Real welfare(0);
  Real divergence(0);
  std::vector<Real> valuations(n);
  std::vector<Real> payments(n);
  // Until a block says otherwise.
  bool idle = true;
  std::vector<bool> pays_nothing(n, true);
  std::vector<bool> alone(n, true);
  for (size_t b = 0; b < normal.blocks(); ++b) {
    const ExactBlock block(normal, b);
    const auto optimum = [&](const std::vector<Real>& totals, size_t index) {
      Optimum found =
          BlockProblem(generator, block.initial, totals, digits).solve(starts[b * (n + 1) + index]);
      out.proved = out.proved && found.proved;
      return found;
    };
    const std::vector<Real> all = block.totals(n);
    const Optimum best = optimum(all, n);
    idle = idle && is_constant(all);
    welfare += best.welfare;
    divergence += best.divergence;
    for (size_t i = 0; i < n; ++i) {
      Real valuation(0);
      for (size_t x = 0; x < all.size(); ++x) valuation += best.model[x] * block.stakes[i][x];
      valuations[i] += valuation;
      const std::vector<Real> rest = block.totals(i);
      alone[i] = alone[i] && is_constant(rest) && rest[0] == Real(0);
      if (is_constant(block.stakes[i])) continue;  // moves nothing: pays 0
      pays_nothing[i] = false;
      payments[i] += optimum(rest, i).welfare - (best.welfare - valuation);
    }
  }
  const Real blocks(static_cast<double>(normal.blocks()));
  for (size_t i = 0; i < n; ++i) {
    valuations[i] /= blocks;
    payments[i] /= blocks;
  }
  add_numbers(out, welfare / blocks, divergence / blocks, valuations, payments);
  out.zeros[1] = idle;
  for (size_t i = 0; i < n; ++i) {
    out.zeros[3 + 4 * i] = pays_nothing[i];
    out.zeros[5 + 4 * i] = alone[i];
  }
  return out;
}

// A menu of candidates (MATH 4); totals closer than the precision tells apart are ties.
Numbers solve_menu_at(const ExactGame& game, int digits) {
  const Real::Precision precision(digits);
  const NormalGame normal = normalise(game);
  const Generator generator(game);
  const size_t n = game.groups.size();
  const Real blocks(static_cast<double>(normal.blocks()));
  Numbers out;
  out.scale = normal.scale;
  std::vector<Real> divergences;
  std::vector<std::vector<Real>> valuations(n);  // [n][K]
  for (const std::vector<double>& candidate : game.candidates) {
    const std::vector<Real> model = rescaled(candidate, normal.begin);
    Real divergence(0);
    for (size_t x = 0; x < model.size(); ++x) {
      divergence += normal.initial[x] * generator.generator(model[x] / normal.initial[x]) / blocks;
    }
    divergences.push_back(divergence);
    for (size_t i = 0; i < n; ++i) {
      Real value(0);
      for (size_t x = 0; x < model.size(); ++x) value += model[x] * normal.stakes[i][x] / blocks;
      valuations[i].push_back(value);
    }
  }
  const auto welfare = [&](size_t k, size_t skip) {
    Real total = -divergences[k];
    for (size_t i = 0; i < n; ++i) {
      if (i != skip) total += valuations[i][k];
    }
    return total;
  };
  const Real tie = power_of_ten(-(digits - 20)) * normal.scale;
  const auto precedes = [&](size_t a, size_t b) {
    const Real ahead = welfare(a, n) - welfare(b, n);
    if (!(abs(ahead) <= tie)) return ahead > Real(0);
    for (size_t i = 0; i < n; ++i) {
      const Real more = valuations[i][a] - valuations[i][b];
      if (abs(more) > tie) return more > Real(0);
    }
    return false;
  };
  size_t best = 0;
  for (size_t k = 1; k < divergences.size(); ++k) {
    if (precedes(k, best)) best = k;
  }
  std::vector<Real> chosen;
  std::vector<Real> payments;
  for (size_t i = 0; i < n; ++i) {
    Real without = welfare(best, i);
    for (size_t k = 0; k < divergences.size(); ++k) without = max(without, welfare(k, i));
    chosen.push_back(valuations[i][best]);
    payments.push_back(without - welfare(best, i));
  }
  add_numbers(out, welfare(best, n), divergences[best], chosen, payments);
  out.winner = best;
  return out;
}

// tv in rational numbers.
class TvGame {
 public:
  explicit TvGame(const ExactGame& game) : game_(game), begin_(blocks_of(game)) {
    for (const ExactGame::Group& group : game.groups) {
      mpq_class divisor(1);
      mpq_class least(0);
      if (game.normalization == "min_max") least = mpq_class(std::ranges::min(group.reward));
      if (game.normalization == "max" || game.normalization == "min_max") {
        divisor = mpq_class(std::ranges::max(group.reward)) - least;
      }
      if (game.normalization == "sum") {
        divisor = 0;
        for (const double value : group.reward) divisor += mpq_class(value);
      }
      std::vector<mpq_class>& row = stakes_.emplace_back();
      for (const double value : group.reward) {
        row.emplace_back(mpq_class(group.size) * (mpq_class(value) - least) / divisor);
      }
    }
  }

  // [2 + 4n] as Numbers.
  [[nodiscard]] std::vector<mpq_class> solve() const {
    const size_t n = game_.groups.size();
    mpq_class welfare = 0;
    mpq_class divergence = 0;
    std::vector<mpq_class> valuations(n);
    std::vector<mpq_class> payments(n);
    for (size_t b = 0; b + 1 < begin_.size(); ++b) {
      const Optimum best = optimum(b, n);
      welfare += best.welfare;
      divergence += best.divergence;
      for (size_t i = 0; i < n; ++i) {
        valuations[i] += best.values[i];
        payments[i] += optimum(b, i).welfare - (best.welfare - best.values[i]);
      }
    }
    const mpq_class blocks(static_cast<unsigned long>(begin_.size() - 1));
    std::vector<mpq_class> out = {welfare / blocks, divergence / blocks};
    for (size_t i = 0; i < n; ++i) {
      out.emplace_back(valuations[i] / blocks);
      out.emplace_back(payments[i] / blocks);
      out.emplace_back((valuations[i] - payments[i]) / blocks);
      out.emplace_back((welfare - valuations[i] + payments[i]) / blocks);
    }
    return out;
  }

 private:
  struct Optimum {
    mpq_class welfare;
    mpq_class divergence;
    std::vector<mpq_class> values;  // [n], w_i v_i
  };

  // Whether the groups, asked in order, would rather have a than b (MATH 1).
  [[nodiscard]] bool preferred(size_t a, size_t b) const {
    for (const auto& row : stakes_) {
      if (row[a] != row[b]) return row[a] > row[b];
    }
    return a < b;
  }

  [[nodiscard]] Optimum optimum(size_t block, size_t skip) const {
    const size_t begin = begin_[block];
    const size_t end = begin_[block + 1];
    std::vector<mpq_class> totals(end - begin);
    for (size_t i = 0; i < stakes_.size(); ++i) {
      for (size_t x = begin; i != skip && x < end; ++x) totals[x - begin] += stakes_[i][x];
    }
    size_t top = begin;
    for (size_t x = begin + 1; x < end; ++x) {
      const int order = cmp(totals[x - begin], totals[top - begin]);
      if (order > 0 || (order == 0 && preferred(x, top))) top = x;
    }
    // A unit of mass moved from x to the top gains s(top) - s(x) and costs 2L.
    std::vector<mpq_class> mass(end - begin);  // as reported
    const mpq_class cost = 2 * mpq_class(game_.lambda);
    mpq_class moved = 0;
    mpq_class whole = 0;
    for (size_t x = begin; x < end; ++x) {
      mass[x - begin] = mpq_class(game_.initial[x]);
      whole += mass[x - begin];
      if (x == top) continue;
      const mpq_class ahead = totals[top - begin] - totals[x - begin];
      const int order = cmp(ahead, cost);
      if (order < 0 || (order == 0 && !preferred(top, x))) continue;
      moved += mass[x - begin];
      mass[x - begin] = 0;
    }
    mass[top - begin] += moved;
    Optimum out;
    out.divergence = cost * moved / whole;
    out.welfare = -out.divergence;
    for (size_t x = begin; x < end; ++x) {
      if (mass[x - begin] != 0) out.welfare += mass[x - begin] * totals[x - begin] / whole;
    }
    for (const auto& row : stakes_) {
      mpq_class value = 0;
      for (size_t x = begin; x < end; ++x) {
        if (mass[x - begin] != 0) value += mass[x - begin] * row[x];
      }
      out.values.emplace_back(value / whole);
    }
    return out;
  }

  const ExactGame& game_;
  std::vector<size_t> begin_;
  std::vector<std::vector<mpq_class>> stakes_;  // [n][m], w_i rm_i
};

ExactSolution solution_of(const std::vector<Real>& values, const std::vector<Real>& errors) {
  ExactSolution out;
  const auto value = [&](size_t index) { return ExactValue{values[index], errors[index]}; };
  out.welfare = value(0);
  out.divergence = value(1);
  for (size_t at = 2; at < values.size(); at += 4) {
    out.groups.push_back({value(at), value(at + 1), value(at + 2), value(at + 3)});
  }
  return out;
}

ExactSolution solve_tv(const ExactGame& game) {
  const Real::Precision precision(120);
  std::vector<Real> values;
  std::vector<Real> errors;
  for (const mpq_class& number : TvGame(game).solve()) {
    mpfr_set_q(values.emplace_back().raw(), number.get_mpq_t(), MPFR_RNDN);
    errors.push_back(abs(values.back()) * power_of_ten(-110));
  }
  ExactSolution out = solution_of(values, errors);
  out.settled = true;
  return out;
}

}  // namespace

ExactSolution solve_exactly(const ExactGame& game) {
  const bool menu = !game.candidates.empty();
  if (game.divergence == "tv" && !menu) return solve_tv(game);
  // The first finds the roots; then pairs are compared.
  static constexpr std::array kDigits = {50, 115, 180, 300, 480, 700};
  std::vector<Start> starts;
  Numbers before;
  ExactSolution out;
  for (size_t step = 0; step < kDigits.size(); ++step) {
    Numbers now = menu ? solve_menu_at(game, kDigits[step]) : solve_at(game, kDigits[step], starts);
    const Real::Precision precision(kDigits[step]);
    if (step >= 2) {
      std::vector<Real> errors;
      bool settled = now.proved && before.proved && now.winner == before.winner;
      const Real floor = now.scale * power_of_ten(-(kDigits[step - 1] - 25));
      for (size_t k = 0; k < now.values.size(); ++k) {
        if (now.zeros[k]) now.values[k] = Real(0);
        errors.push_back(now.zeros[k] ? Real(0) : abs(now.values[k] - before.values[k]) + floor);
        const Real allowed =
            max(abs(now.values[k]) * power_of_ten(-60), now.scale * power_of_ten(-400));
        settled = settled && now.values[k].is_finite() && errors.back() <= allowed;
      }
      out = solution_of(now.values, errors);
      out.winner = now.winner;
      out.digits = kDigits[step];
      out.settled = settled;
      if (settled) return out;
    }
    before = std::move(now);
  }
  return out;
}

}  // namespace candor
