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
struct MenuCandidate {
  std::string name;
  std::vector<std::vector<float>> variants;  // [variants][adapters]
  std::optional<TokenMixer> mixer;           // of a mixture
};

// The same as a file or a study declares it.
enum class MenuKind { kInitial, kSoup, kMixture, kAdapter };
struct MenuItem {
  std::string name;
  MenuKind kind = MenuKind::kInitial;
  std::vector<double> weights = {};  // of kSoup and kMixture: experts first
  Divergence divergence = {};        // of kMixture
  int64_t adapter = 0;               // of kAdapter
};
// Errors: an adapter or weights beyond `adapter_count`; a weight that is not finite; as TokenMixer.
Result<MenuCandidate> candidate_of(const MenuItem& item, int64_t adapter_count);

// `adapter_count` row adapters in all: experts first, then directly trained models.
[[nodiscard]] MenuCandidate initial_candidate(std::string name, int64_t adapter_count);
[[nodiscard]] MenuCandidate adapter_candidate(std::string name, int64_t adapter,
                                              int64_t adapter_count);
// Rewarded soup: theta_init + sum_i weights[i] (theta_i - theta_init), experts first (MATH 8).
[[nodiscard]] MenuCandidate soup_candidate(std::string name, std::span<const double> weights,
                                           int64_t adapter_count);
// Multi-objective decoding of the first rule.weights.size() adapters. Errors: as TokenMixer.
Result<MenuCandidate> mixture_candidate(std::string name, const MixtureRule& rule,
                                        int64_t adapter_count);

// Is the candidate the initial model, its adapters all at 0?
[[nodiscard]] bool is_initial(const MenuCandidate& candidate);

// The candidate's log-probabilities [V] from its variants' logits (`rows`: variants x [V]).
// Returns: whether a token is clipped. Errors: as TokenMixer::mix; a logit that is not finite.
Result<bool> candidate_log_probs(const MenuCandidate& candidate, std::span<const float* const> rows,
                                 std::span<double> log_probs);

}  // namespace candor
