#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "core/game.h"

namespace candor {

// Condition 3.5 and its moduli: how far the SW-Max model can move when the total reward moves by at
// most delta everywhere (Condition 3.5: max_x |s(x) - s'(x)| <= delta implies max_x |p(x) - p'(x)|
// <= epsilon).
//
// Ours: sharp moduli, over total rewards of any range (sizes bounded beside lambda can only help).
// Let x rise from a to b = a + epsilon, q = p0(x). By the KKT conditions
// f'(p/p0) = s - mu everywhere, so 2 delta is at least what f' gains at x plus K, the most that it
// falls elsewhere; and a fall of K takes ratios r to g_K(r) = (f')^{-1}(f'(r) - K) at most, of
// which the others, with 1 - a of the mass, must lose epsilon. delta(epsilon) is half the least
// such sum.
//   g_K is convex iff 1/f'' is concave (kl, chi2, alpha from 1 to 2). By Jensen the others do best
//   at one ratio: they are one outcome of p0 1 - q.
//   g_K is concave iff 1/f'' is convex (reverse_kl, js, hellinger, jeffreys, alpha < 1). The least
//   of a concave function on a simplex is at a vertex: one outcome y has all their mass, in the
//   limit where the rest is far behind. r f'' falls, so a smaller p0 moves more easily: x and y are
//   the two outcomes of least p0.
// Either way two outcomes of p0 q and Q carry the mass, and what is left is one-dimensional,
//   delta = (1/2) min_a f'((a+eps)/q) - f'(a/q) + f'((1-a)/Q) - f'((1-a-eps)/Q),
// convex in a because f'' is (all of them but alpha > 2): a search by sections finds the minimum.
//   alpha > 2, c = alpha - 1: r^c - r'^c >= (r - r')^c gives delta >= (L/2c) eps^c (q^-c +
//   (1-q)^-c), which suffices; games of three outcomes come as close as one likes at q = 1/2.
//   tv: none, for any initial model: a tie of s moves all the mass. Nor has a menu.

// A delta that suffices for epsilon whatever the initial model (infinite for epsilon >= 1).
//   paper  Prop E.3; of kl min{ (L/2) log(1/(1-eps)), (L/2) log(1+eps) }, of chi2 L eps
//   sharp  the infimum of the above over initial models: of alpha from 1 to 2, c = alpha - 1,
//          (L/c)((1+eps)^c - (1-eps)^c) [jointly convex in (q, a), so the symmetric point is
//          least], which is L log((1+eps)/(1-eps)) for kl and 4 L eps for chi2; of alpha > 2
//          (L/c)(2 eps)^c; of jeffreys that of kl (two outcomes of vanishing p0); of all others 0:
//          Condition 3.5 fails, because two outcomes of vanishing p0 trade mass for nothing.
struct Modulus {
  std::optional<double> paper;
  double sharp = 0;  // 0: there is none
};
// REQUIRES: epsilon > 0.
[[nodiscard]] Modulus continuity_modulus(const Divergence& divergence, double epsilon);

// The same for the initial model of this game, over all total rewards: the least over blocks and
// pairs of outcomes, positive for every f but tv (0). `sharp`: no larger delta suffices; of alpha >
// 2 it is only known to suffice.
struct InitialModulus {
  double delta = 0;
  bool sharp = true;
};
// REQUIRES: epsilon > 0. Cost: O(m) searches where 1/f'' is concave, else one per block.
[[nodiscard]] InitialModulus initial_modulus(const Game& game, double epsilon);

// Lemma E.1: max_x |p(x) - p'(x)| <= max_x 2 p0(x) delta / alpha, alpha the least f'' between the
// ratios that the two models reach. Infinity where a model has a zero and f'' vanishes there.
// Shapes: models [m] of `game`.
[[nodiscard]] double curvature_bound(const Game& game, const std::vector<double>& left,
                                     const std::vector<double>& right, double delta);

// max_x |p(x) - p'(x)|
[[nodiscard]] double largest_shift(const std::vector<double>& left,
                                   const std::vector<double>& right);

// The largest shift found when total rewards of random models over this game's initial model move
// by at most delta: a lower bound on the worst case, which initial_modulus bounds from above.
[[nodiscard]] double search_largest_shift(const Game& game, double delta, int trials,
                                          uint64_t seed);

}  // namespace candor
