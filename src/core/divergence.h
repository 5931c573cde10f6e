#pragma once

#include <span>
#include <string>

#include "core/game.h"

namespace candor {

// The generator f of an f-divergence D_f(p||p0) = sum_x p0(x) f(p(x)/p0(x)), and what solving with
// it needs (MATH 2). `r` is the ratio p/p0 >= 0; L is the regularization.
//
//   kl     f(r) = L r log r      f' = L (log r + 1)   (f')^{-1}(t) = exp(t/L - 1)
//   chi2   f(r) = L (r - 1)^2    f' = 2L (r - 1)      (f')^{-1}(t) = max(0, 1 + t/(2L))
[[nodiscard]] double generator(const Divergence& divergence, double ratio);
[[nodiscard]] double generator_slope(const Divergence& divergence, double ratio);      // ratio > 0
[[nodiscard]] double generator_curvature(const Divergence& divergence, double ratio);  // ratio > 0
[[nodiscard]] double inverse_slope(const Divergence& divergence, double slope);
// f'(0+); -infinity where no outcome can lose all its mass.
[[nodiscard]] double slope_at_zero(const Divergence& divergence);
// f*(t) = max_{r >= 0} { t r - f(r) }.
[[nodiscard]] double conjugate(const Divergence& divergence, double slope);

// D_f of one block; both arguments sum to 1. 0 log 0 = 0.
[[nodiscard]] double block_divergence(const Divergence& divergence, std::span<const double> model,
                                      std::span<const double> initial);

// "kl" and "chi2", as in files.
[[nodiscard]] std::string divergence_name(DivergenceKind kind);

}  // namespace candor
