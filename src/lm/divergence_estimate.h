#pragma once

#include <cstdint>
#include <span>

#include "core/divergence.h"
#include "lm/menu_score.h"

namespace candor {

// What one reply x ~ p of a candidate says about D_f(p || p0), at UNIT strength (a divergence's
// regularization has no effect; the valuation table applies it). p and p0 are distributions of
// REPLIES: sequences that end in a stop token or are cut at max_new_tokens, so a reply's
// probability is the product of its tokens' probabilities, the stop token's included, and nothing
// after the cut.
//
// KL: the token-wise exact sums over the reply's prefixes,
//
//   sum_t KL(p(.|x_<t) || p0(.|x_<t)),                              >= 0
//
// whose mean over x ~ p is the KL divergence of the replies (MATH 8). Every other divergence, from
// the sequence's ratio r = p(x)/p0(x):
//
//   g(r)/r,   g(r) = f(r) - f(0)(1 - r)   where f(0) is finite: g(0) = 0, so replies that p never
//                                         gives need not be seen for the mean to be D_f exactly
//             g(r) = f(r) - f'(1)(r - 1)  where it is not: g >= 0
//
// A multiple of r - 1 changes no D_f. In logarithms throughout: chi2 r - 1, hellinger
// 2 - 2 r^{-1/2}, js (log r + 2 log 2 - (1 + 1/r) log(1 + r))/2, tv max(0, 2 - 2/r), jeffreys
// (1 - 1/r) log r, reverse_kl 1 - (1 + log r)/r, alpha > 0 (r^{a-1} - 1)/(a (a-1)). One reply's
// value may be below 0; the means are not, up to noise.

// g(r)/r for r = e^log_ratio: of KL log r itself, the other unbiased estimate.
// May be infinite: beyond what a double holds.
[[nodiscard]] double ratio_contribution(const Divergence& divergence, double log_ratio);

struct ReplyDivergence {
  double value = 0;      // infinite where the candidate gives 0 to what f does not let vanish
  double log_ratio = 0;  // log p(x) - log p0(x)
};
[[nodiscard]] ReplyDivergence reply_divergence(const Divergence& divergence,
                                               std::span<const TokenComparison> tokens);

// Whether a mean of replies can be trusted. Heavy tails show in `largest_share`: one reply that
// carries most of the sum of magnitudes means that the estimate rests on it, and that replies which
// matter more were probably not seen.
struct DivergenceSummary {
  double mean = 0;
  double standard_error = 0;  // as if replies were independent
  double largest_share = 0;   // of one reply in the sum of magnitudes; 0 where all are 0
  double mean_log_ratio = 0;  // estimates KL for every divergence
  double log_ratio_error = 0;
  double smallest_log_ratio = 0;
  double largest_log_ratio = 0;
};
// REQUIRES: at least one reply.
[[nodiscard]] DivergenceSummary summarize(std::span<const ReplyDivergence> replies);

}  // namespace candor
