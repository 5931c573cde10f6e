#include "lm/mixture.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "base/check.h"
#include "base/strings.h"
#include "lm/mixture_kernels.h"

namespace candor {

struct MixtureScratch {
  std::vector<double> l0;     // the initial model's log-probabilities
  std::vector<double> p0;     // and probabilities
  std::vector<double> blend;  // of the experts' ratios
};

namespace {

constexpr double kLargestWeight = 1e6;
constexpr double kLargestLog = 690;    // e^690 times a weight and a sum still fits a double
constexpr double kGoodEnough = 1e-13;  // where the root stops early
constexpr double kLimit = 1e-11;       // of a residual that is handed out
constexpr int kMostReads = 200;

MixtureScratch& scratch_of(size_t count) {
  thread_local MixtureScratch scratch;
  scratch.l0.resize(count);
  scratch.p0.resize(count);
  scratch.blend.assign(count, 0.0);
  return scratch;
}

// A point of a one-dimensional search: how far the sum is from 1 (in the search's own scale), and
// the derivative.
struct Point {
  double excess = 0;
  double slope = 0;
};

// The root of a monotone function inside [low, high] by Newton's steps; a step that leaves the
// bracket, or one that gains too little, is replaced by a bisection.
struct Search {
  double low = 0;
  double high = 0;
  double start = 0;
  bool rising = false;  // which way the function goes
  bool convex = false;  // Newton's steps then come from one side and need no bisection
};

// Halves a bracket that may span many orders of magnitude on either side of 0.
double middle_of(double low, double high) {
  if (high - low < 100) return low + (high - low) / 2;
  return std::sinh((std::asinh(low) + std::asinh(high)) / 2);
}

double find_root(Search search, const std::function<Point(double)>& at, int& reads) {
  // The bracket is exact; rounding may put the root a little outside.
  search.low -= 1e-12 * (1 + std::abs(search.low));
  search.high += 1e-12 * (1 + std::abs(search.high));
  double x = std::clamp(search.start, search.low, search.high);
  double best = x;
  double best_excess = std::numeric_limits<double>::infinity();
  double last_excess = best_excess;
  while (reads < kMostReads) {
    const Point point = at(x);
    ++reads;
    const double size = std::abs(point.excess);
    if (size < best_excess) {
      best = x;
      best_excess = size;
    }
    if (size <= kGoodEnough) break;
    const bool root_is_above = (point.excess < 0) == search.rising;
    (root_is_above ? search.low : search.high) = x;
    double next = x - point.excess / point.slope;
    const bool slow = !search.convex && size > 0.5 * last_excess;
    const bool inside = next >= search.low && next <= search.high;
    if (!std::isfinite(next) || !inside || slow) {
      if (std::abs(next - x) <= 1e-15 * std::abs(x)) break;  // no step any more: the root
      next = middle_of(search.low, search.high);
    }
    if (next == x || search.low >= search.high) break;
    last_excess = slow ? std::numeric_limits<double>::infinity() : size;
    x = next;
  }
  return best;
}

// In the logarithm of the sum: for unknowns where the sum is near a power or an exponential of u.
Point log_point(const MixtureSums& sums) { return {std::log(sums.sum), sums.slope / sums.sum}; }

// The place of the smallest (largest) entry and the initial probability there.
struct Extreme {
  double value = 0;
  double log_initial = 0;
};
Extreme extreme_of(const MixtureScratch& scratch, double value) {
  const auto found = std::ranges::find(scratch.blend, value);
  CANDOR_CHECK(found != scratch.blend.end(), "a blend of log-ratios is not a number");
  return {value, scratch.l0[static_cast<size_t>(found - scratch.blend.begin())]};
}

// phi' = (r^q - 1)/q up to a factor: r = (B + C)_+^{1/q} with B = sum_i a_i r_i^q and C = the
// constant. q < 0 (reverse_kl -1, hellinger -1/2, alpha - 1) has a pole at B + C = 0: the unknown
// is u = C + min B, the distance from it, searched in its logarithm. One outcome holds at most mass
// 1, so u >= p_top^{-q}; at u = 1 no ratio exceeds 1, so u <= 1. q > 0 (chi2 1, alpha - 1) clips at
// 0: the unknown is C itself; some ratio is at least 1 and at C = 1 all are, so
// 1 - max B <= C <= 1; for q <= 1 the sum is convex in C.
int solve_power(const MixtureScratch& scratch, double power, double total, std::span<double> out) {
  const auto count = static_cast<int64_t>(out.size());
  const double exponent = 1 / power;
  int reads = 0;
  double origin = 0;
  double unknown = 0;
  if (power < 0) {
    const Extreme lowest = extreme_of(scratch, smallest(scratch.blend.data(), count));
    origin = lowest.value;
    const auto at = [&](double t) {
      const double u = std::exp(t);
      const MixtureSums sums =
          power_sums(scratch.p0.data(), scratch.blend.data(), origin, u, exponent, count);
      return log_point({sums.sum, sums.slope * u});
    };
    const double guess = origin + 1 - total;  // where the experts' ratios are 1
    const double low = -power * lowest.log_initial;
    unknown = std::exp(find_root({low, 0, guess > 0 ? std::log(guess) : low, false}, at, reads));
  } else {
    const double top = largest(scratch.blend.data(), count);
    const auto at = [&](double u) {
      const MixtureSums sums =
          power_sums(scratch.p0.data(), scratch.blend.data(), 0, u, exponent, count);
      return Point{sums.sum - 1, sums.slope};
    };
    unknown = find_root({1 - top, 1, 1 - total, true, power <= 1}, at, reads);
  }
  power_logs(scratch.l0.data(), scratch.blend.data(), origin, unknown, exponent, out.data(), count);
  return reads;
}

// phi' = (1/2) log(2r/(r+1)): 1 + 1/r = K prod_i (1 + 1/r_i)^{a_i}. With g = that product - 1 and
// u the distance of K from its pole 1/(1 + min g):
//   1/r = (g - min g)/(1 + min g) + u (1 + g),   p_top <= u (1 + min g) <= 1.
int solve_js(const MixtureScratch& scratch, double total, std::span<double> out) {
  const auto count = static_cast<int64_t>(out.size());
  const Extreme lowest = extreme_of(scratch, smallest(scratch.blend.data(), count));
  const double scale = std::log1p(lowest.value);
  int reads = 0;
  const auto at = [&](double t) {
    const double u = std::exp(t);
    const MixtureSums sums =
        js_sums(scratch.p0.data(), scratch.blend.data(), lowest.value, u, count);
    return log_point({sums.sum, sums.slope * u});
  };
  const double guess =  // where the experts' ratios are 1: K = 2^{1 - sum a}
      std::expm1((1 - total) * std::log(2.0)) + lowest.value / (1 + lowest.value);
  const double low = lowest.log_initial - scale;
  const double u =
      std::exp(find_root({low, -scale, guess > 0 ? std::log(guess) : low, false}, at, reads));
  js_logs(scratch.l0.data(), scratch.blend.data(), lowest.value, u, out.data(), count);
  return reads;
}

// phi' = log r + 1 - 1/r: r = 1/omega(1 + e), e = B + Z its depth below 0. The unknown is the top
// outcome's depth u = min B + Z: its ratio is at least 1 and at most 1/p_top.
int solve_jeffreys(const MixtureScratch& scratch, std::span<double> out) {
  const auto count = static_cast<int64_t>(out.size());
  const Extreme lowest = extreme_of(scratch, smallest(scratch.blend.data(), count));
  int reads = 0;
  const auto at = [&](double u) {
    return log_point(
        jeffreys_sums(scratch.p0.data(), scratch.blend.data(), lowest.value, u, count));
  };
  const double low = lowest.log_initial - 1 + std::exp(lowest.log_initial);
  const double u = find_root({low, 0, lowest.value, false}, at, reads);
  jeffreys_logs(scratch.l0.data(), scratch.blend.data(), lowest.value, u, out.data(), count);
  return reads;
}

Error not_finite() { return invalid_argument("mixture: a logit of a model is not finite"); }

Error too_far(double found, double limit) {
  return invalid_argument(str_cat(
      "mixture: an expert's probability of a token is e^", found,
      " times the initial model's, or its inverse; this divergence is mixed up to e^", limit));
}

}  // namespace

TokenMixer::TokenMixer(MixtureRule rule) : rule_(std::move(rule)) {
  for (const double weight : rule_.weights) total_ += weight;
  switch (rule_.divergence.kind) {
    case DivergenceKind::kKl:
    case DivergenceKind::kTv:  // refused by create
      break;
    case DivergenceKind::kChi2:
      family_ = Family::kPower;
      power_ = 1;
      break;
    case DivergenceKind::kReverseKl:
      family_ = Family::kPower;
      power_ = -1;
      break;
    case DivergenceKind::kHellinger:
      family_ = Family::kPower;
      power_ = -0.5;
      break;
    case DivergenceKind::kAlpha:
      family_ = Family::kPower;
      power_ = rule_.divergence.alpha - 1;
      break;
    case DivergenceKind::kJs:
      family_ = Family::kJs;
      break;
    case DivergenceKind::kJeffreys:
      family_ = Family::kJeffreys;
      break;
  }
}

Result<TokenMixer> TokenMixer::create(const MixtureRule& rule) {
  if (rule.divergence.kind == DivergenceKind::kTv) {
    return invalid_argument(
        "the divergence tv has no inverse slope, so experts trained under it cannot be "
        "mixed; use kl, chi2, reverse_kl, js, hellinger, jeffreys or alpha");
  }
  CANDOR_RETURN_IF_ERROR(check_divergence(rule.divergence));
  if (rule.divergence.kind == DivergenceKind::kAlpha &&
      std::abs(rule.divergence.alpha - 1) < 1e-4) {
    return invalid_argument(str_cat("divergence.alpha: found ", rule.divergence.alpha,
                                    "; within 1e-4 of 1 use kl, its limit"));
  }
  if (rule.weights.empty()) return invalid_argument("found no expert; expected 1 or more");
  for (const double weight : rule.weights) {
    if (!(weight >= 0 && weight <= kLargestWeight)) {
      return invalid_argument(str_cat("a weight is ", weight, "; expected 0 to ", kLargestWeight));
    }
  }
  return TokenMixer(rule);
}

// (1 - sum a) l_0 + sum_i a_i l_i, normalised: KL's mixture, and under every divergence that of
// weights that are all 0. The experts' own normalisers cancel.
Status TokenMixer::mix_closed(std::span<const float> initial, std::span<const float* const> experts,
                              std::span<double> log_probs) const {
  const auto count = static_cast<int64_t>(initial.size());
  std::ranges::fill(log_probs, 0.0);
  add_weighted_logits(initial.data(), 1 - total_, log_probs.data(), count);
  for (size_t i = 0; i < experts.size(); ++i) {
    if (rule_.weights[i] == 0) continue;
    add_weighted_logits(experts[i], rule_.weights[i], log_probs.data(), count);
  }
  const double log_z = wide_log_sum_exp(log_probs.data(), count);
  if (!std::isfinite(log_z)) return not_finite();
  for (double& value : log_probs) value -= log_z;
  return {};
}

// The blend of the experts' ratios that the divergence's root is taken over.
Status TokenMixer::blend(std::span<const float> initial, std::span<const float* const> experts,
                         MixtureScratch& scratch) const {
  const auto count = static_cast<int64_t>(initial.size());
  const double initial_sum = wide_log_sum_exp(initial.data(), count);
  if (!std::isfinite(initial_sum)) return not_finite();
  initial_probabilities(initial.data(), initial_sum, scratch.l0.data(), scratch.p0.data(), count);
  const double steepness = family_ == Family::kPower ? std::max(1.0, std::abs(power_)) : 1.0;
  for (size_t i = 0; i < experts.size(); ++i) {
    if (rule_.weights[i] == 0) continue;
    const double expert_sum = wide_log_sum_exp(experts[i], count);
    if (!std::isfinite(expert_sum)) return not_finite();
    const ExpertPass pass{experts[i], expert_sum, rule_.weights[i], scratch.l0.data(), count};
    const double distance = largest_log_ratio(pass);
    if (!(distance * steepness <= kLargestLog)) return too_far(distance, kLargestLog / steepness);
    if (family_ == Family::kPower) add_powers(pass, power_, scratch.blend.data());
    if (family_ == Family::kJs) add_js_depths(pass, scratch.blend.data());
    if (family_ == Family::kJeffreys) add_jeffreys_depths(pass, scratch.blend.data());
  }
  if (family_ == Family::kJs) {
    const double depth = largest(scratch.blend.data(), count);
    if (!(depth <= kLargestLog)) return too_far(depth, kLargestLog);
    expm1_all(scratch.blend.data(), count);
  }
  return {};
}

Result<MixtureCertificate> TokenMixer::mix(std::span<const float> initial,
                                           std::span<const float* const> experts,
                                           std::span<double> log_probs) const {
  CANDOR_CHECK(experts.size() == rule_.weights.size() && initial.size() == log_probs.size() &&
               !initial.empty());
  const auto count = static_cast<int64_t>(initial.size());
  MixtureCertificate out{.reads = 1};
  if (family_ == Family::kKl || total_ == 0) {
    CANDOR_RETURN_IF_ERROR(mix_closed(initial, experts, log_probs));
  } else {
    MixtureScratch& scratch = scratch_of(initial.size());
    CANDOR_RETURN_IF_ERROR(blend(initial, experts, scratch));
    if (family_ == Family::kPower) out.reads = solve_power(scratch, power_, total_, log_probs);
    if (family_ == Family::kJs) out.reads = solve_js(scratch, total_, log_probs);
    if (family_ == Family::kJeffreys) out.reads = solve_jeffreys(scratch, log_probs);
  }
  out.residual = std::abs(std::expm1(wide_log_sum_exp(log_probs.data(), count)));
  out.clipped = smallest(log_probs.data(), count) == -std::numeric_limits<double>::infinity();
  if (out.residual <= kLimit) return out;
  return Error{ErrorCode::kInternal,
               str_cat("mixture (", divergence_name(rule_.divergence.kind),
                       "): the probabilities sum to 1 within ", out.residual, " after ", out.reads,
                       " passes; ", kLimit, " is required")};
}

}  // namespace candor
