#include "lm/policy_loss.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/check.h"

namespace candor {

namespace {

// -min(r A, clip(r) A), and whether the clip holds the gradient back.
struct Clipped {
  double loss = 0;
  bool active = false;
};

Clipped clipped_objective(double ratio, double advantage, double range) {
  const double free = ratio * advantage;
  const double held = std::clamp(ratio, 1 - range, 1 + range) * advantage;
  return {-std::min(free, held), held < free};
}

}  // namespace

LossPart rloo_loss(const PolicyTokens& tokens, const ReplyWeights& replies, double clip_range,
                   double normaliser) {
  const size_t count = replies.advantages.size();
  CANDOR_CHECK(tokens.offsets.size() == count + 1 && replies.weights.size() == count);
  CANDOR_CHECK(tokens.new_logprobs.size() == tokens.old_logprobs.size() &&
               tokens.offsets.back() == static_cast<int64_t>(tokens.new_logprobs.size()));
  LossPart out;
  out.gradient.resize(tokens.new_logprobs.size());
  for (size_t s = 0; s < count; ++s) {
    const auto begin = static_cast<size_t>(tokens.offsets[s]);
    const auto end = static_cast<size_t>(tokens.offsets[s + 1]);
    double log_ratio = 0;
    for (size_t t = begin; t < end; ++t) {
      log_ratio += tokens.new_logprobs[t] - tokens.old_logprobs[t];
    }
    const double ratio = std::exp(log_ratio);
    const double share = replies.weights[s] / normaliser;
    const Clipped clipped = clipped_objective(ratio, replies.advantages[s], clip_range);
    out.loss += share * clipped.loss;
    const double gradient = clipped.active ? 0 : -share * replies.advantages[s] * ratio;
    std::fill(out.gradient.begin() + tokens.offsets[s],
              out.gradient.begin() + tokens.offsets[s + 1], gradient);
    out.clip_fraction += (clipped.active ? 1 : 0) / normaliser;
    out.approx_kl += 0.5 * log_ratio * log_ratio / normaliser;
    out.ratio += ratio / normaliser;
  }
  return out;
}

LossPart ppo_loss(const PolicyTokens& tokens, const ReplyWeights& per_token, double clip_range,
                  double normaliser) {
  const size_t count = tokens.new_logprobs.size();
  CANDOR_CHECK(tokens.old_logprobs.size() == count && per_token.advantages.size() == count &&
               per_token.weights.size() == count);
  LossPart out;
  out.gradient.resize(count);
  for (size_t t = 0; t < count; ++t) {
    const double log_ratio = tokens.new_logprobs[t] - tokens.old_logprobs[t];
    const double ratio = std::exp(log_ratio);
    const double share = per_token.weights[t] / normaliser;
    const Clipped clipped = clipped_objective(ratio, per_token.advantages[t], clip_range);
    out.loss += share * clipped.loss;
    out.gradient[t] = clipped.active ? 0 : -share * per_token.advantages[t] * ratio;
    out.clip_fraction += (clipped.active ? 1 : 0) / normaliser;
    out.approx_kl += 0.5 * log_ratio * log_ratio / normaliser;
    out.ratio += ratio / normaliser;
  }
  return out;
}

LossPart value_loss(const ValueTokens& tokens, double clip_range, double normaliser) {
  const size_t count = tokens.new_values.size();
  CANDOR_CHECK(tokens.old_values.size() == count && tokens.returns.size() == count);
  LossPart out;
  out.gradient.resize(count);
  for (size_t t = 0; t < count; ++t) {
    const double old = tokens.old_values[t];
    const double error = tokens.new_values[t] - tokens.returns[t];
    const double held = std::clamp(tokens.new_values[t], old - clip_range, old + clip_range);
    const double held_error = held - tokens.returns[t];
    const bool active = held_error * held_error > error * error;
    const double larger = active ? held_error : error;
    out.loss += 0.5 * larger * larger / normaliser;
    out.gradient[t] = active ? 0 : error / normaliser;
    out.clip_fraction += (active ? 1 : 0) / normaliser;
  }
  return out;
}

}  // namespace candor
