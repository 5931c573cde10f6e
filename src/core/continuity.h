#pragma once

#include <cstdint>
#include <vector>

#include "core/game.h"

namespace candor {

// Condition 3.5 and its moduli: how far the SW-Max model can move when the total reward moves by at
// most delta everywhere (Condition 3.5: max_x |s(x) - s'(x)| <= delta implies max_x |p(x) - p'(x)|
// <= epsilon).

// A delta that suffices for epsilon, for kl and chi2 (infinite where every move is within epsilon).
//   kl    paper (Prop E.3): min{ (L/2) log(1/(1-eps)), (L/2) log(1+eps) };  sharp [ours]:
//         L log((1+eps)/(1-eps)), reached by two outcomes of mass 1/2 -+ eps/2
//   chi2  paper: L eps;  sharp: 4 L eps, reached by two outcomes of p0 = 1/2 without a boundary
// REQUIRES: kl or chi2, epsilon > 0.
struct Modulus {
  double paper = 0;
  double sharp = 0;
};
[[nodiscard]] Modulus continuity_modulus(const Divergence& divergence, double epsilon);

// Lemma E.1: max_x |p(x) - p'(x)| <= max_x 2 p0(x) delta / alpha, alpha the least f'' between the
// ratios that the two models reach. Infinity where a model has a zero and f'' vanishes there.
// Shapes: models [m] of `game`.
[[nodiscard]] double curvature_bound(const Game& game, const std::vector<double>& left,
                                     const std::vector<double>& right, double delta);

// max_x |p(x) - p'(x)|
[[nodiscard]] double largest_shift(const std::vector<double>& left,
                                   const std::vector<double>& right);

// The largest shift found when random total rewards of random games (initial models too) move by
// at most delta: a lower bound on the worst case, which the sharp modulus bounds from above.
[[nodiscard]] double search_largest_shift(const Divergence& divergence, double delta, int trials,
                                          uint64_t seed);

}  // namespace candor
