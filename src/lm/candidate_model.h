#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "lm/mixture.h"

namespace candor {

// A candidate model of a menu as rows of a batch: each variant is the base model under one mixture
// of the row adapters. One variant is the candidate itself (the initial model, a soup, an adapter);
// of a decoding mixture the first is the initial model and the others are the experts that count.
struct CandidateModel {
  std::string name;
  std::vector<std::vector<float>> variants;  // [variants][adapters]
  std::optional<TokenMixer> mixer;           // of a mixture
};

// The same as a file or a study declares it.
enum class CandidateKind { kInitial, kSoup, kMixture, kAdapter };
struct CandidateSpec {
  std::string name;
  CandidateKind kind = CandidateKind::kInitial;
  std::vector<double> weights = {};  // of kSoup and kMixture: experts first
  Divergence divergence = {};        // of kMixture
  int64_t adapter = 0;               // of kAdapter
};
// Errors: an adapter or weights beyond `adapter_count`; a weight that is not finite; as TokenMixer.
Result<CandidateModel> candidate_of(const CandidateSpec& item, int64_t adapter_count);

// `adapter_count` row adapters in all: experts first, then directly trained models.
[[nodiscard]] CandidateModel initial_candidate(std::string name, int64_t adapter_count);
[[nodiscard]] CandidateModel adapter_candidate(std::string name, int64_t adapter,
                                               int64_t adapter_count);
// Rewarded soup: theta_init + sum_i weights[i] (theta_i - theta_init), experts first (MATH 8).
[[nodiscard]] CandidateModel soup_candidate(std::string name, std::span<const double> weights,
                                            int64_t adapter_count);
// Multi-objective decoding of the first rule.weights.size() adapters. Errors: as TokenMixer.
Result<CandidateModel> mixture_candidate(std::string name, const MixtureRule& rule,
                                         int64_t adapter_count);

// Is the candidate the initial model, its adapters all at 0?
[[nodiscard]] bool is_initial(const CandidateModel& candidate);

// The candidate's log-probabilities [V] from its variants' logits (`rows`: variants x [V]).
// Returns: whether a token is clipped. Errors: as TokenMixer::mix; a logit that is not finite.
Result<bool> candidate_log_probs(const CandidateModel& candidate,
                                 std::span<const float* const> rows, std::span<double> log_probs);

}  // namespace candor
