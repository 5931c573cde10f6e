#include "lm/divergence_estimate.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"

namespace candor {

namespace {

// (log r + 2 log 2 - (1 + 1/r) log(1 + r)) / 2
double js_contribution(double x) {
  const double log2 = std::log(2.0);
  const double r = std::exp(x);
  // log(1 + r)/r tends to 1 - r/2; log(1 + r) is x + log(1 + 1/r).
  const double quotient = x < -20 ? 1 - r / 2 : std::log1p(r) / r;
  const double tail = std::log1p(std::exp(-std::abs(x)));  // of the larger of 1 and r
  const double log_sum = std::max(x, 0.0) + tail;
  if (x > 20) return (2 * log2 - tail - std::exp(-x) * log_sum) / 2;
  return (x + 2 * log2 - log_sum - quotient) / 2;
}

double alpha_contribution(double order, double x) {
  if (order > 0) return std::expm1((order - 1) * x) / (order * (order - 1));
  return (std::expm1((order - 1) * x) - (1 - order) * std::expm1(-x)) / (order * (order - 1));
}

// f(0) is infinite: a candidate that gives something probability 0 is infinitely far away.
bool forbids_zeros(const Divergence& divergence) {
  return divergence.kind == DivergenceKind::kReverseKl ||
         divergence.kind == DivergenceKind::kJeffreys ||
         (divergence.kind == DivergenceKind::kAlpha && divergence.alpha < 0);
}

double standard_error(std::span<const ReplyDivergence> replies, double mean,
                      double ReplyDivergence::*field) {
  const auto count = static_cast<double>(replies.size());
  if (count < 2) return 0;
  double squares = 0;
  for (const ReplyDivergence& reply : replies) {
    squares += (reply.*field - mean) * (reply.*field - mean);
  }
  return std::sqrt(squares / (count - 1) / count);
}

}  // namespace

double ratio_contribution(const Divergence& divergence, double log_ratio) {
  const double x = log_ratio;
  switch (divergence.kind) {
    case DivergenceKind::kKl:
      return x;
    case DivergenceKind::kChi2:
      return std::expm1(x);
    case DivergenceKind::kReverseKl:
      // 1 - (1 + x) e^{-x} = e^{-x} (e^x - 1 - x): no cancellation far from 0.
      return x > 1 ? 1 - (1 + x) * std::exp(-x) : std::exp(-x) * (std::expm1(x) - x);
    case DivergenceKind::kJs:
      return js_contribution(x);
    case DivergenceKind::kHellinger:
      return -2 * std::expm1(-x / 2);
    case DivergenceKind::kJeffreys:
      return -x * std::expm1(-x);
    case DivergenceKind::kAlpha:
      return alpha_contribution(divergence.alpha, x);
    case DivergenceKind::kTv:
      return std::max(0.0, -2 * std::expm1(-x));
  }
  CANDOR_CHECK(false, "a divergence without a name");
}

ReplyDivergence reply_divergence(const Divergence& divergence,
                                 std::span<const TokenComparison> tokens) {
  ReplyDivergence out;
  double kl = 0;
  bool clipped = false;
  for (const TokenComparison& token : tokens) {
    kl += token.kl;
    out.log_ratio += token.candidate_log - token.initial_log;
    clipped = clipped || token.clipped;
  }
  if (divergence.kind == DivergenceKind::kKl) {
    out.value = kl;
  } else if (clipped && forbids_zeros(divergence)) {
    out.value = std::numeric_limits<double>::infinity();
  } else {
    out.value = ratio_contribution(divergence, out.log_ratio);
  }
  return out;
}

DivergenceSummary summarize(std::span<const ReplyDivergence> replies) {
  CANDOR_CHECK(!replies.empty());
  DivergenceSummary out;
  const auto count = static_cast<double>(replies.size());
  double magnitudes = 0;
  double largest = 0;
  out.smallest_log_ratio = std::numeric_limits<double>::infinity();
  out.largest_log_ratio = -out.smallest_log_ratio;
  for (const ReplyDivergence& reply : replies) {
    out.mean += reply.value / count;
    out.mean_log_ratio += reply.log_ratio / count;
    magnitudes += std::abs(reply.value);
    largest = std::max(largest, std::abs(reply.value));
    out.smallest_log_ratio = std::min(out.smallest_log_ratio, reply.log_ratio);
    out.largest_log_ratio = std::max(out.largest_log_ratio, reply.log_ratio);
  }
  if (magnitudes > 0) out.largest_share = largest / magnitudes;
  out.standard_error = standard_error(replies, out.mean, &ReplyDivergence::value);
  out.log_ratio_error = standard_error(replies, out.mean_log_ratio, &ReplyDivergence::log_ratio);
  return out;
}

}  // namespace candor
