#include "lm/policy_loss.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "base/rng.h"

namespace candor {
namespace {

struct Example {
  std::vector<double> new_logprobs;
  std::vector<double> old_logprobs;
  std::vector<int64_t> offsets;
  std::vector<double> advantages;
  std::vector<double> weights;
  [[nodiscard]] PolicyTokens tokens() const { return {new_logprobs, old_logprobs, offsets}; }
};

Example example(uint64_t seed, bool per_token) {
  RandomStream random({.seed = seed});
  Example out;
  out.offsets = {0, 1, 4, 4 + 5, 4 + 5 + 2};
  for (int64_t t = 0; t < out.offsets.back(); ++t) {
    out.old_logprobs.push_back(-3 * random.uniform());
    out.new_logprobs.push_back(out.old_logprobs.back() + 0.3 * random.normal());
  }
  const size_t count = per_token ? out.new_logprobs.size() : out.offsets.size() - 1;
  for (size_t i = 0; i < count; ++i) {
    out.advantages.push_back(random.normal());
    out.weights.push_back(0.5 + random.uniform());
  }
  return out;
}

// Every gradient against central differences of its own loss.
void expect_gradient(std::vector<double> at, const std::vector<double>& gradient,
                     const std::function<double(const std::vector<double>&)>& loss) {
  ASSERT_EQ(at.size(), gradient.size());
  for (size_t t = 0; t < at.size(); ++t) {
    const double step = 1e-6;
    const double here = at[t];
    at[t] = here + step;
    const double up = loss(at);
    at[t] = here - step;
    const double down = loss(at);
    at[t] = here;
    EXPECT_NEAR(gradient[t], (up - down) / (2 * step), 1e-6) << t;
  }
}

TEST(PolicyLoss, RlooByHand) {
  // Two replies: of two tokens with log-ratio .1 + .2, of one token with -.5; range .2.
  const std::vector<double> old_logprobs = {-1, -2, -1};
  const std::vector<double> new_logprobs = {-0.9, -1.8, -1.5};
  const std::vector<int64_t> offsets = {0, 2, 3};
  const std::vector<double> advantages = {2, -1};
  const std::vector<double> weights = {1, 0.5};
  const LossPart out =
      rloo_loss({new_logprobs, old_logprobs, offsets}, {advantages, weights}, 0.2, 2);
  // r = e^.3 = 1.35 > 1.2 with a gain: held at 1.2. r = e^-.5 = .607 < .8 with a loss: held at .8.
  EXPECT_NEAR(out.loss, -(2 * 1.2 + 0.5 * -1 * 0.8) / 2, 1e-12);
  EXPECT_EQ(out.gradient, (std::vector<double>{0, 0, 0}));
  EXPECT_EQ(out.clip_fraction, 1);
  EXPECT_NEAR(out.approx_kl, (0.045 + 0.125) / 2, 1e-12);
  EXPECT_NEAR(out.ratio, (std::exp(0.3) + std::exp(-0.5)) / 2, 1e-12);
  // The clip is one-sided: the same ratios with the other signs keep their gradients.
  const std::vector<double> turned = {-2, 1};
  const LossPart free = rloo_loss({new_logprobs, old_logprobs, offsets}, {turned, weights}, 0.2, 2);
  EXPECT_NEAR(free.gradient[1], 2 * std::exp(0.3) / 2, 1e-12);
  EXPECT_NEAR(free.gradient[2], -0.5 * std::exp(-0.5) / 2, 1e-12);
}

TEST(PolicyLoss, GradientsAreDerivatives) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    const Example rloo = example(seed, false);
    const auto rloo_at = [&](const std::vector<double>& at) {
      return rloo_loss({at, rloo.old_logprobs, rloo.offsets}, {rloo.advantages, rloo.weights}, 0.2,
                       4);
    };
    expect_gradient(rloo.new_logprobs, rloo_at(rloo.new_logprobs).gradient,
                    [&](const std::vector<double>& at) { return rloo_at(at).loss; });
    const Example ppo = example(seed, true);
    const auto ppo_at = [&](const std::vector<double>& at) {
      return ppo_loss({at, ppo.old_logprobs, ppo.offsets}, {ppo.advantages, ppo.weights}, 0.2, 11);
    };
    expect_gradient(ppo.new_logprobs, ppo_at(ppo.new_logprobs).gradient,
                    [&](const std::vector<double>& at) { return ppo_at(at).loss; });
    const auto value_at = [&](const std::vector<double>& at) {
      return value_loss({at, ppo.old_logprobs, ppo.advantages}, 0.2, 11);
    };
    expect_gradient(ppo.new_logprobs, value_at(ppo.new_logprobs).gradient,
                    [&](const std::vector<double>& at) { return value_at(at).loss; });
  }
}

// Micro-batches of one mini-batch add up to the whole.
TEST(PolicyLoss, PartsAddUp) {
  const Example all = example(3, false);
  const LossPart whole = rloo_loss(all.tokens(), {all.advantages, all.weights}, 0.2, 4);
  LossPart sum;
  for (size_t s = 0; s < 4; ++s) {
    const auto begin = static_cast<size_t>(all.offsets[s]);
    const auto size = static_cast<size_t>(all.offsets[s + 1]) - begin;
    const std::vector<int64_t> offsets = {0, static_cast<int64_t>(size)};
    const LossPart part = rloo_loss(
        {std::span(all.new_logprobs).subspan(begin, size),
         std::span(all.old_logprobs).subspan(begin, size), offsets},
        {std::span(all.advantages).subspan(s, 1), std::span(all.weights).subspan(s, 1)}, 0.2, 4);
    sum.loss += part.loss;
    sum.ratio += part.ratio;
    sum.gradient.insert(sum.gradient.end(), part.gradient.begin(), part.gradient.end());
  }
  EXPECT_NEAR(sum.loss, whole.loss, 1e-12);
  EXPECT_NEAR(sum.ratio, whole.ratio, 1e-12);
  EXPECT_EQ(sum.gradient, whole.gradient);
}

TEST(PolicyLoss, ValuesByHand) {
  // V .9 from .5 (held at .7) to 1: held .09 > free .01, no gradient. V .4 from .5 to 1: free.
  const LossPart out = value_loss(
      {std::vector<double>{0.9, 0.4}, std::vector<double>{0.5, 0.5}, std::vector<double>{1, 1}},
      0.2, 2);
  EXPECT_NEAR(out.loss, 0.5 * (0.09 + 0.36) / 2, 1e-12);
  EXPECT_EQ(out.gradient[0], 0);
  EXPECT_NEAR(out.gradient[1], -0.6 / 2, 1e-12);
  EXPECT_EQ(out.clip_fraction, 0.5);
}

}  // namespace
}  // namespace candor
