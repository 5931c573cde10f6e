#include "lm/candidate_model.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "base/strings.h"
#include "lm/mixture_kernels.h"

namespace candor {

namespace {

std::vector<float> coefficients(std::span<const double> weights, int64_t adapter_count) {
  CANDOR_CHECK(static_cast<int64_t>(weights.size()) <= adapter_count);
  std::vector<float> out(static_cast<size_t>(adapter_count), 0.0F);
  for (size_t i = 0; i < weights.size(); ++i) out[i] = static_cast<float>(weights[i]);
  return out;
}

std::vector<float> unit_coefficients(int64_t adapter, int64_t adapter_count) {
  CANDOR_CHECK(adapter >= 0 && adapter < adapter_count);
  std::vector<float> out(static_cast<size_t>(adapter_count), 0.0F);
  out[static_cast<size_t>(adapter)] = 1;
  return out;
}

}  // namespace

CandidateModel initial_candidate(std::string name, int64_t adapter_count) {
  return {std::move(name), {coefficients({}, adapter_count)}, std::nullopt};
}

CandidateModel adapter_candidate(std::string name, int64_t adapter, int64_t adapter_count) {
  return {std::move(name), {unit_coefficients(adapter, adapter_count)}, std::nullopt};
}

CandidateModel soup_candidate(std::string name, std::span<const double> weights,
                              int64_t adapter_count) {
  return {std::move(name), {coefficients(weights, adapter_count)}, std::nullopt};
}

Result<CandidateModel> mixture_candidate(std::string name, const MixtureRule& rule,
                                         int64_t adapter_count) {
  CANDOR_CHECK(static_cast<int64_t>(rule.weights.size()) <= adapter_count);
  CandidateModel out{std::move(name), {coefficients({}, adapter_count)}, std::nullopt};
  // Experts of weight 0 need no rows. With none left the mixture is the initial model.
  MixtureRule counted{rule.divergence, {}};
  CANDOR_TRY(out.mixer, TokenMixer::create(rule));
  for (size_t i = 0; i < rule.weights.size(); ++i) {
    if (rule.weights[i] == 0) continue;
    counted.weights.push_back(rule.weights[i]);
    out.variants.push_back(unit_coefficients(static_cast<int64_t>(i), adapter_count));
  }
  if (counted.weights.empty()) {
    out.mixer.reset();
  } else {
    CANDOR_TRY(out.mixer, TokenMixer::create(counted));
  }
  return out;
}

Result<CandidateModel> candidate_of(const CandidateSpec& item, int64_t adapter_count) {
  if (static_cast<int64_t>(item.weights.size()) > adapter_count) {
    return invalid_argument(str_cat(item.name, ": found ", item.weights.size(), " weights for ",
                                    adapter_count, " adapters"));
  }
  switch (item.kind) {
    case CandidateKind::kInitial:
      return initial_candidate(item.name, adapter_count);
    case CandidateKind::kAdapter:
      if (item.adapter < 0 || item.adapter >= adapter_count) {
        return invalid_argument(str_cat(item.name, ": adapter ", item.adapter, " of ",
                                        adapter_count, "; expected 0 to ", adapter_count - 1));
      }
      return adapter_candidate(item.name, item.adapter, adapter_count);
    case CandidateKind::kSoup:
      for (const double weight : item.weights) {
        if (std::isfinite(static_cast<float>(weight))) continue;
        return invalid_argument(
            str_cat(item.name, ": a weight is ", weight, "; expected a finite number"));
      }
      return soup_candidate(item.name, item.weights, adapter_count);
    case CandidateKind::kMixture:
      break;
  }
  Result<CandidateModel> mixture =
      mixture_candidate(item.name, {item.divergence, item.weights}, adapter_count);
  if (mixture.ok()) return mixture;
  return Error{mixture.error().code, str_cat(item.name, ": ", mixture.error().message)};
}

bool is_initial(const CandidateModel& candidate) {
  return std::ranges::all_of(candidate.variants, [](const std::vector<float>& variant) {
    return std::ranges::all_of(variant, [](float weight) { return weight == 0; });
  });
}

Result<bool> candidate_log_probs(const CandidateModel& candidate,
                                 std::span<const float* const> rows, std::span<double> log_probs) {
  CANDOR_CHECK(rows.size() == candidate.variants.size());
  if (candidate.mixer.has_value()) {
    Result<MixtureCertificate> mixed = candidate.mixer->mix(
        std::span<const float>(rows[0], log_probs.size()), rows.subspan(1), log_probs);
    if (!mixed.ok()) {
      return Error{mixed.error().code, str_cat(candidate.name, ": ", mixed.error().message)};
    }
    return mixed->clipped;
  }
  const double log_sum = wide_log_sum_exp(rows[0], static_cast<int64_t>(log_probs.size()));
  if (!std::isfinite(log_sum)) {
    return invalid_argument(str_cat(candidate.name, ": a logit of the model is not finite"));
  }
  for (size_t v = 0; v < log_probs.size(); ++v) log_probs[v] = rows[0][v] - log_sum;
  return false;
}

}  // namespace candor
