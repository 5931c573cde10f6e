#include "lm/mixture_kernels.h"

#include "lm/wide_math.h"

namespace candor {

namespace {

using Lanes = std::array<double, kWideLanes>;

template <typename Term>
inline double sum_lanes(int64_t count, const Term& term) {
  Lanes lanes{};
  int64_t i = 0;
  for (; i + kWideLanes <= count; i += kWideLanes) {
    for (int64_t lane = 0; lane < kWideLanes; ++lane) {
      lanes[static_cast<size_t>(lane)] += term(i + lane);
    }
  }
  double sum = 0;
  for (const double lane : lanes) sum += lane;
  for (; i < count; ++i) sum += term(i);
  return sum;
}

// The same for a value and its derivative: term(i, value, slope).
template <typename Term>
inline MixtureSums sum_both(int64_t count, const Term& term) {
  Lanes values{};
  Lanes slopes{};
  int64_t i = 0;
  for (; i + kWideLanes <= count; i += kWideLanes) {
    for (int64_t lane = 0; lane < kWideLanes; ++lane) {
      double value = 0;
      double slope = 0;
      term(i + lane, value, slope);
      values[static_cast<size_t>(lane)] += value;
      slopes[static_cast<size_t>(lane)] += slope;
    }
  }
  MixtureSums out;
  for (const double value : values) out.sum += value;
  for (const double slope : slopes) out.slope += slope;
  for (; i < count; ++i) {
    double value = 0;
    double slope = 0;
    term(i, value, slope);
    out.sum += value;
    out.slope += slope;
  }
  return out;
}

template <typename Term>
inline double max_lanes(int64_t count, const Term& term) {
  Lanes lanes;
  lanes.fill(-std::numeric_limits<double>::infinity());
  int64_t i = 0;
  for (; i + kWideLanes <= count; i += kWideLanes) {
    for (int64_t lane = 0; lane < kWideLanes; ++lane) {
      double& best = lanes[static_cast<size_t>(lane)];
      const double value = term(i + lane);
      best = value > best ? value : best;
    }
  }
  double best = *std::max_element(lanes.begin(), lanes.end());
  for (; i < count; ++i) best = std::max(best, term(i));
  return best;
}

// Wright's omega, w + log w = z, as core/divergence.cc but without branches: the cited fourth-order
// correction, three times, from a guess by region. z > -708.
inline double wide_omega(double z) {
  const double x = z - 1;
  const double around_one = std::max(1e-3, 1 + x / 2 + x * x / 16 - x * x * x / 192);
  const double above = z - wide_log(std::max(z, 1.0));
  double w = z < -2 ? wide_exp(z) : z > 4.141592653589793 ? above : around_one;
  for (int step = 0; step < 3; ++step) {
    const double residual = z - w - wide_log(w);
    const double slope = 1 + w;
    const double inner = 2 * slope * (slope + 2 * residual / 3);
    w *= 1 + residual / slope * (inner - residual) / (inner - 2 * residual);
  }
  return w;
}

inline double log_ratio(const ExpertPass& expert, int64_t i) {
  return (double{expert.logits[i]} - expert.log_sum) - expert.l0[i];
}

}  // namespace

CANDOR_WIDE_CLONES double wide_log_sum_exp(const float* logits, int64_t count) {
  const double top = max_lanes(count, [&](int64_t i) { return double{logits[i]}; });
  return top + std::log(sum_lanes(count, [&](int64_t i) { return wide_exp(logits[i] - top); }));
}

CANDOR_WIDE_CLONES double wide_log_sum_exp(const double* logs, int64_t count) {
  const double top = max_lanes(count, [&](int64_t i) { return logs[i]; });
  return top + std::log(sum_lanes(count, [&](int64_t i) { return wide_exp(logs[i] - top); }));
}

CANDOR_WIDE_CLONES void initial_probabilities(const float* logits, double log_sum, double* l0,
                                              double* p0, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    l0[i] = logits[i] - log_sum;
    p0[i] = wide_exp(l0[i]);
  }
}

CANDOR_WIDE_CLONES double largest_log_ratio(const ExpertPass& expert) {
  return max_lanes(expert.count, [&](int64_t i) { return std::abs(log_ratio(expert, i)); });
}

CANDOR_WIDE_CLONES void add_weighted_logits(const float* logits, double weight, double* out,
                                            int64_t count) {
  for (int64_t i = 0; i < count; ++i) out[i] += weight * logits[i];
}

CANDOR_WIDE_CLONES void add_powers(const ExpertPass& expert, double power, double* blend) {
  for (int64_t i = 0; i < expert.count; ++i) {
    blend[i] += expert.weight * wide_exp(power * log_ratio(expert, i));
  }
}

CANDOR_WIDE_CLONES void add_js_depths(const ExpertPass& expert, double* blend) {
  for (int64_t i = 0; i < expert.count; ++i) {
    blend[i] += expert.weight * wide_log1p(wide_exp(-log_ratio(expert, i)));
  }
}

CANDOR_WIDE_CLONES void add_jeffreys_depths(const ExpertPass& expert, double* blend) {
  for (int64_t i = 0; i < expert.count; ++i) {
    const double x = log_ratio(expert, i);
    blend[i] += expert.weight * (wide_exp(-x) - 1 - x);
  }
}

CANDOR_WIDE_CLONES void expm1_all(double* blend, int64_t count) {
  for (int64_t i = 0; i < count; ++i) blend[i] = wide_expm1(blend[i]);
}

CANDOR_WIDE_CLONES double smallest(const double* values, int64_t count) {
  return -max_lanes(count, [&](int64_t i) { return -values[i]; });
}

CANDOR_WIDE_CLONES double largest(const double* values, int64_t count) {
  return max_lanes(count, [&](int64_t i) { return values[i]; });
}

CANDOR_WIDE_CLONES MixtureSums power_sums(const double* p0, const double* blend, double origin,
                                          double u, double exponent, int64_t count) {
  if (exponent == -1) {  // reverse_kl
    return sum_both(count, [&](int64_t i, double& value, double& slope) {
      const double inverse = 1 / ((blend[i] - origin) + u);
      value = p0[i] * inverse;
      slope = -value * inverse;
    });
  }
  if (exponent == -2) {  // hellinger
    return sum_both(count, [&](int64_t i, double& value, double& slope) {
      const double inverse = 1 / ((blend[i] - origin) + u);
      value = p0[i] * inverse * inverse;
      slope = -2 * value * inverse;
    });
  }
  if (exponent == 1) {  // chi2
    return sum_both(count, [&](int64_t i, double& value, double& slope) {
      const double x = (blend[i] - origin) + u;
      value = p0[i] * std::max(0.0, x);
      slope = x > 0 ? p0[i] : 0.0;
    });
  }
  return sum_both(count, [&](int64_t i, double& value, double& slope) {
    const double x = (blend[i] - origin) + u;
    value = p0[i] * wide_exp(exponent * wide_log(x));
    value = x > 0 ? value : 0.0;
    slope = x > 0 ? exponent * value / x : 0.0;
  });
}

CANDOR_WIDE_CLONES void power_logs(const double* l0, const double* blend, double origin, double u,
                                   double exponent, double* out, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    const double x = (blend[i] - origin) + u;
    out[i] = x > 0 ? l0[i] + exponent * wide_log(x) : -std::numeric_limits<double>::infinity();
  }
}

CANDOR_WIDE_CLONES MixtureSums js_sums(const double* p0, const double* blend, double lowest,
                                       double u, int64_t count) {
  const double scale = 1 / (1 + lowest);
  return sum_both(count, [&](int64_t i, double& value, double& slope) {
    const double lifted = 1 + blend[i];
    const double inverse = 1 / ((blend[i] - lowest) * scale + u * lifted);
    value = p0[i] * inverse;
    slope = -value * inverse * lifted;
  });
}

CANDOR_WIDE_CLONES void js_logs(const double* l0, const double* blend, double lowest, double u,
                                double* out, int64_t count) {
  const double scale = 1 / (1 + lowest);
  for (int64_t i = 0; i < count; ++i) {
    out[i] = l0[i] - wide_log((blend[i] - lowest) * scale + u * (1 + blend[i]));
  }
}

CANDOR_WIDE_CLONES MixtureSums jeffreys_sums(const double* p0, const double* blend, double lowest,
                                             double u, int64_t count) {
  return sum_both(count, [&](int64_t i, double& value, double& slope) {
    const double w = wide_omega(1 + u + (blend[i] - lowest));
    value = p0[i] / w;
    slope = -value / (1 + w);
  });
}

CANDOR_WIDE_CLONES void jeffreys_logs(const double* l0, const double* blend, double lowest,
                                      double u, double* out, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    const double z = 1 + u + (blend[i] - lowest);
    const double w = wide_omega(z);
    // log w = z - w, which keeps its digits where w is small.
    out[i] = l0[i] - (w < 1 ? z - w : wide_log(w));
  }
}

CANDOR_WIDE_CLONES double kl_of_logs(const double* logs, const double* initial_logs,
                                     int64_t count) {
  const double sum = sum_lanes(count, [&](int64_t i) {
    const double p = wide_exp(logs[i]);
    return p > 0 ? p * (logs[i] - initial_logs[i]) : 0.0;
  });
  return std::max(0.0, sum);
}

}  // namespace candor
