#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/result.h"

namespace candor {

// Which f-divergence, and how strong (MATH 2). `regularization` is the paper's strength, `lambda`
// in files; it is part of f.
enum class DivergenceKind {
  kKl,
  kChi2,
  kReverseKl,
  kJs,
  kHellinger,
  kJeffreys,
  kAlpha,
  kTv,
};
struct Divergence {
  DivergenceKind kind = DivergenceKind::kKl;
  double regularization = 1.0;  // > 0
  double alpha = 2.0;           // of kAlpha only: finite, not 0 and not 1
};

// The generator f of an f-divergence D_f(p||p0) = sum_x p0(x) f(p(x)/p0(x)), and what solving with
// it needs (MATH 2). `r` is the ratio p/p0 >= 0; L is the regularization.
//
//   kl          L r log r                              f' = L (log r + 1)
//   chi2        L (r - 1)^2                            f' = 2L (r - 1)
//   reverse_kl  -L log r                               f' = -L/r
//   js          (L/2)[r log r - (r+1) log((r+1)/2)]    f' = (L/2) log(2r/(r+1))
//   hellinger   L (sqrt r - 1)^2                       f' = L (1 - 1/sqrt r)
//   jeffreys    L (r-1) log r                          f' = L (log r + 1 - 1/r)
//   alpha       L (r^a - a r - (1-a)) / (a(a-1))       f' = L (r^(a-1) - 1)/(a-1)
//   tv          L |r - 1|                              f' = L sign(r-1), 0 at r = 1; f'' = 0
[[nodiscard]] double generator(const Divergence& divergence, double ratio);
[[nodiscard]] double generator_slope(const Divergence& divergence, double ratio);      // ratio > 0
[[nodiscard]] double generator_curvature(const Divergence& divergence, double ratio);  // ratio > 0
// (f')^{-1}, 0 below f'(0+) and infinity at and above f'(inf); of tv the r nearest to 1.
[[nodiscard]] double inverse_slope(const Divergence& divergence, double slope);
// f'(0+); -infinity where no outcome can lose all its mass.
[[nodiscard]] double slope_at_zero(const Divergence& divergence);
// f'(inf); infinity where a ratio can grow without bound.
[[nodiscard]] double slope_at_infinity(const Divergence& divergence);
// f*(t) = max_{r >= 0} { t r - f(r) }; infinity above f'(inf).
[[nodiscard]] double conjugate(const Divergence& divergence, double slope);

// D_f of one block; both arguments sum to 1. Every term is >= 0, so nothing cancels where the two
// are close; infinity where the model has a zero and f(0) is infinite.
[[nodiscard]] double block_divergence(const Divergence& divergence, std::span<const double> model,
                                      std::span<const double> initial);

// Errors: kInvalidArgument: the regularization is not a finite number above 0, or alpha not one
// other than 0 and 1.
Status check_divergence(const Divergence& divergence);

// "kl", "chi2", ..., as in files; all names in the order of DivergenceKind.
[[nodiscard]] const std::vector<std::string>& divergence_names();
[[nodiscard]] const std::string& divergence_name(DivergenceKind kind);

}  // namespace candor
