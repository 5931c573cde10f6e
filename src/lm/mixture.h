#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "core/divergence.h"

namespace candor {

// Multi-objective decoding (MOD) of N experts: the model that
//
//   phi'(pi/pi_0) = sum_i a_i phi'(pi_i/pi_0) - Z,    sum pi = 1
//
// defines, phi the generator of an f-divergence at unit strength (a factor lambda cancels), pi_0
// the initial model. Where expert i maximises E rm_i - beta_i D_phi and the mixture is to maximise
// sum_i w_i E rm_i - lambda D_phi, the weights are a_i = w_i beta_i / lambda (MATH 8). a = e_i is
// expert i, a = 0 is pi_0. KL: log pi = (1 - sum_i a_i) log pi_0 + sum_i a_i log pi_i - log Z.
//
// That is an identity of SEQUENCE distributions, exact where nothing is clipped. Here it is applied
// to the next token's distributions, each normalised: another model, close and not equal (a test
// enumerates a case). So a mixture's values and divergence are measured on what it samples, never
// inferred from the identity.
struct MixtureRule {
  Divergence divergence;        // regularization has no effect
  std::vector<double> weights;  // a_i, one per expert, 0 to 1e6; their sum may be any
};

// What the root of the normaliser is worth.
struct MixtureCertificate {
  double residual = 0;   // |sum pi - 1| of the probabilities handed out
  int reads = 0;         // passes over the vocabulary
  bool clipped = false;  // a token has probability 0 (chi2, alpha > 1): the identity's limit
};

struct MixtureScratch;  // per thread; mixture.cc

class TokenMixer {
 public:
  // Errors: kInvalidArgument: no expert; a weight out of range; tv, which has no inverse slope; an
  // alpha within 1e-4 of 1, which is kl.
  static Result<TokenMixer> create(const MixtureRule& rule);

  [[nodiscard]] const MixtureRule& rule() const { return rule_; }

  // log_probs [V] of the mixture, natural logs, -infinity for a clipped token.
  // Shapes   initial [V], experts N x [V]: logits, normalised here.
  // Returns  a certificate with residual <= 1e-11.
  // Errors   kInvalidArgument: a logit is not finite; a log-ratio of expert to initial model beyond
  //          what the divergence can hold in doubles (690 nats, less for a steep alpha); kInternal:
  //          the root was not found to that accuracy. Never a number that is not certified.
  // Cost     at 49,152 tokens and two experts, one core with AVX-512: kl 0.13 ms, chi2, reverse_kl,
  //          js and hellinger 0.6 to 1 ms, alpha 3 ms, jeffreys 20 ms.
  // Threads  any number at a time: scratch is per thread.
  Result<MixtureCertificate> mix(std::span<const float> initial,
                                 std::span<const float* const> experts,
                                 std::span<double> log_probs) const;

 private:
  // The shapes of (phi')^{-1} (mixture.cc).
  enum class Family { kKl, kPower, kJs, kJeffreys };
  explicit TokenMixer(MixtureRule rule);
  Status mix_closed(std::span<const float> initial, std::span<const float* const> experts,
                    std::span<double> log_probs) const;
  Status blend(std::span<const float> initial, std::span<const float* const> experts,
               MixtureScratch& scratch) const;

  MixtureRule rule_;
  Family family_ = Family::kKl;
  double power_ = 0;  // of kPower: phi' is (r^power - 1)/power, up to a factor
  double total_ = 0;  // sum of the weights
};

}  // namespace candor
