#pragma once

#include <cstdint>

namespace candor {

// The passes over the vocabulary behind TokenMixer (mixture.h), compiled for several instruction
// sets. Arrays have `count` entries; l0 and p0 are the initial model's log-probabilities and
// probabilities. Sums have a fixed order. Cost: about 1 ns per entry and exp, log or root.

// log sum_v exp(logits[v]), in double.
[[nodiscard]] double wide_log_sum_exp(const float* logits, int64_t count);
[[nodiscard]] double wide_log_sum_exp(const double* logs, int64_t count);
// l0 = logits - log_sum; p0 = exp(l0).
void initial_probabilities(const float* logits, double log_sum, double* l0, double* p0,
                           int64_t count);

// An expert's log-ratio l - l0 with l = logits - log_sum, its weight in the mixture.
struct ExpertPass {
  const float* logits;
  double log_sum;
  double weight;
  const double* l0;
  int64_t count;
};
// max_v |l - l0|.
[[nodiscard]] double largest_log_ratio(const ExpertPass& expert);
// out += weight * l (logits without their normaliser, which the mixture's own takes up).
void add_weighted_logits(const float* logits, double weight, double* out, int64_t count);
void add_powers(const ExpertPass& expert, double power, double* blend);  // += w r^power
void add_js_depths(const ExpertPass& expert, double* blend);             // += w log(1 + 1/r)
void add_jeffreys_depths(const ExpertPass& expert, double* blend);       // += w (1/r - 1 - log r)
// blend = e^blend - 1.
void expm1_all(double* blend, int64_t count);

[[nodiscard]] double smallest(const double* values, int64_t count);
[[nodiscard]] double largest(const double* values, int64_t count);

// sum_v p0 r(v; u) and its derivative in the unknown u.
struct MixtureSums {
  double sum = 0;
  double slope = 0;
};

// r = x^exponent, 0 where x <= 0, for x = (blend - origin) + u.
[[nodiscard]] MixtureSums power_sums(const double* p0, const double* blend, double origin, double u,
                                     double exponent, int64_t count);
// out = l0 + log r.
void power_logs(const double* l0, const double* blend, double origin, double u, double exponent,
                double* out, int64_t count);

// r = 1/x, x = (blend - lowest)/(1 + lowest) + u (1 + blend): js with blend = g (mixture.cc).
[[nodiscard]] MixtureSums js_sums(const double* p0, const double* blend, double lowest, double u,
                                  int64_t count);
void js_logs(const double* l0, const double* blend, double lowest, double u, double* out,
             int64_t count);

// r = 1/omega(1 + u + (blend - lowest)): jeffreys.
[[nodiscard]] MixtureSums jeffreys_sums(const double* p0, const double* blend, double lowest,
                                        double u, int64_t count);
void jeffreys_logs(const double* l0, const double* blend, double lowest, double u, double* out,
                   int64_t count);

// sum_v p (log p - log p0), 0 where p is 0; never below 0.
[[nodiscard]] double kl_of_logs(const double* logs, const double* initial_logs, int64_t count);

}  // namespace candor
