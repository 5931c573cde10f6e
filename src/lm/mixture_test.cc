// Multi-objective decoding: the laws of every divergence by one helper, and against brute force.
#include "lm/mixture.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "base/rng.h"
#include "core/divergence_law.h"
#include "lm/wide_math.h"

namespace candor {
namespace {

using Rows = std::vector<std::vector<float>>;  // logits; row 0 is the initial model's

std::vector<Divergence> all_divergences() {
  std::vector<Divergence> out;
  for (const DivergenceKind kind :
       {DivergenceKind::kKl, DivergenceKind::kChi2, DivergenceKind::kReverseKl, DivergenceKind::kJs,
        DivergenceKind::kHellinger, DivergenceKind::kJeffreys}) {
    out.push_back({.kind = kind});
  }
  for (const double alpha : {-1.5, 0.3, 0.95, 1.05, 1.5, 2.5, 3.0}) {
    out.push_back({.kind = DivergenceKind::kAlpha, .alpha = alpha});
  }
  return out;
}

std::string name_of(const Divergence& divergence) {
  return divergence_name(divergence.kind) +
         (divergence.kind == DivergenceKind::kAlpha ? " " + std::to_string(divergence.alpha) : "");
}

std::vector<double> log_softmax(const std::vector<float>& logits) {
  const double top = *std::ranges::max_element(logits);
  long double sum = 0;
  for (const float logit : logits) sum += expl(static_cast<long double>(logit) - top);
  std::vector<double> out;
  out.reserve(logits.size());
  for (const float logit : logits) {
    out.push_back(static_cast<double>(static_cast<long double>(logit) - top - logl(sum)));
  }
  return out;
}

struct Mixed {
  std::vector<double> logs;
  MixtureCertificate certificate;
};
Mixed mix(const Divergence& divergence, const std::vector<double>& weights, const Rows& rows) {
  const auto mixer = TokenMixer::create({divergence, weights});
  EXPECT_TRUE(mixer.ok()) << (mixer.ok() ? "" : mixer.error().message);
  std::vector<const float*> experts;
  for (size_t i = 1; i < rows.size(); ++i) experts.push_back(rows[i].data());
  Mixed out;
  out.logs.resize(rows[0].size());
  const auto result = mixer->mix(rows[0], experts, out.logs);
  EXPECT_TRUE(result.ok()) << name_of(divergence) << ": "
                           << (result.ok() ? "" : result.error().message);
  if (result.ok()) out.certificate = *result;
  return out;
}

Rows random_rows(RandomStream& random, size_t rows, size_t vocabulary, double spread) {
  Rows out(rows, std::vector<float>(vocabulary));
  for (auto& row : out) {
    for (float& logit : row) logit = static_cast<float>(spread * random.normal());
  }
  return out;
}

// The second route: core's laws, and the normaliser by plain bisection. The top outcome's ratio
// lies between 1 and 1/p_top (MATH 3's bracket).
std::vector<double> brute_force(const Divergence& divergence, const std::vector<double>& weights,
                                const Rows& rows) {
  const std::vector<double> l0 = log_softmax(rows[0]);
  return std::visit(
      [&](const auto& law) {
        std::vector<double> depth(l0.size(), 0.0);
        for (size_t i = 1; i < rows.size(); ++i) {
          const std::vector<double> l = log_softmax(rows[i]);
          for (size_t v = 0; v < l.size(); ++v) {
            depth[v] += weights[i - 1] * law.depth(std::exp(l[v] - l0[v]));
          }
        }
        const auto top = static_cast<size_t>(std::ranges::min_element(depth) - depth.begin());
        const double smallest = depth[top];
        const auto ratio = [&](size_t v, double u) { return law.ratio(u + (depth[v] - smallest)); };
        double low = law.depth(std::exp(-l0[top])) * (1 - 1e-12) - 1e-14;
        double high = law.depth(1) + 1e-9;
        if (law.has_pole()) low = std::max(low, 1e-290);
        for (int step = 0; step < 300; ++step) {
          const double middle = low > 0 ? std::sqrt(low * high) : low + (high - low) / 2;
          double sum = 0;
          for (size_t v = 0; v < l0.size(); ++v) sum += std::exp(l0[v]) * ratio(v, middle);
          (sum > 1 ? low : high) = middle;
        }
        std::vector<double> out;
        for (size_t v = 0; v < l0.size(); ++v) out.push_back(std::exp(l0[v]) * ratio(v, high));
        return out;
      },
      law_of(divergence));
}

double distance(const std::vector<double>& logs, const std::vector<double>& other) {
  double sum = 0;
  for (size_t v = 0; v < logs.size(); ++v) sum += std::abs(std::exp(logs[v]) - std::exp(other[v]));
  return sum / 2;
}

// What every mixture obeys, whatever the divergence.
void check_mixture_laws(const Divergence& divergence, const Rows& rows) {
  SCOPED_TRACE(name_of(divergence));
  const size_t experts = rows.size() - 1;
  const auto expect_equal = [&](const std::vector<double>& logs, const std::vector<double>& row) {
    for (size_t v = 0; v < logs.size(); ++v) {
      ASSERT_NEAR(logs[v], row[v], 2e-12 * (1 + std::abs(row[v]))) << v;
    }
  };
  expect_equal(mix(divergence, std::vector<double>(experts, 0.0), rows).logs, log_softmax(rows[0]));
  for (size_t i = 0; i < experts; ++i) {
    std::vector<double> weights(experts, 0.0);
    weights[i] = 1;
    expect_equal(mix(divergence, weights, rows).logs, log_softmax(rows[i + 1]));
  }
  for (const double total : {0.4, 1.0, 1.7}) {
    const std::vector<double> weights(experts, total / static_cast<double>(experts));
    const Mixed interior = mix(divergence, weights, rows);
    EXPECT_LE(interior.certificate.residual, 1e-11);
    double sum = 0;
    for (const double log : interior.logs) sum += std::exp(log);
    EXPECT_NEAR(sum, 1, 1e-11);
    for (size_t i = 0; i < rows.size(); ++i) {
      if (experts == 1) continue;
      EXPECT_GT(distance(interior.logs, log_softmax(rows[i])), 1e-3) << i;
    }
    const std::vector<double> expected = brute_force(divergence, weights, rows);
    for (size_t v = 0; v < expected.size(); ++v) {
      ASSERT_NEAR(std::exp(interior.logs[v]), expected[v], 1e-10) << total << " " << v;
      EXPECT_TRUE(expected[v] > 0 || interior.certificate.clipped);
    }
  }
}

TEST(Mixture, EveryDivergenceObeysTheLaws) {
  RandomStream random({.seed = 4, .stream = 1});
  for (const Divergence& divergence : all_divergences()) {
    for (int trial = 0; trial < 40; ++trial) {
      const size_t experts = 1 + trial % 4;
      check_mixture_laws(divergence, random_rows(random, experts + 1, 3 + trial % 9, 1.5));
    }
  }
}

// The helper sees a mixture that forgets the power of pi_0, which matters where sum a is not 1.
TEST(Mixture, ThePowerOfTheInitialModelIsSeen) {
  RandomStream random({.seed = 4, .stream = 2});
  const Rows rows = random_rows(random, 3, 7, 1.5);
  const std::vector<double> a = log_softmax(rows[1]);
  const std::vector<double> b = log_softmax(rows[2]);
  std::vector<float> forgetful;
  for (size_t v = 0; v < a.size(); ++v) {
    forgetful.push_back(static_cast<float>(0.3 * a[v] + 0.3 * b[v]));
  }
  const std::vector<double> expected = brute_force({}, {0.3, 0.3}, rows);
  double worst = 0;
  for (size_t v = 0; v < a.size(); ++v) {
    worst = std::max(worst, std::abs(std::exp(log_softmax(forgetful)[v]) - expected[v]));
  }
  EXPECT_GT(worst, 1e-2);
}

TEST(Mixture, FamiliesAgree) {
  RandomStream random({.seed = 4, .stream = 3});
  const auto same = [&](const Divergence& left, const Divergence& right, double tolerance) {
    for (int trial = 0; trial < 20; ++trial) {
      const Rows rows = random_rows(random, 3, 11, 2);
      const Mixed one = mix(left, {0.6, 0.9}, rows);
      const Mixed other = mix(right, {0.6, 0.9}, rows);
      for (size_t v = 0; v < one.logs.size(); ++v) {
        ASSERT_NEAR(std::exp(one.logs[v]), std::exp(other.logs[v]), tolerance) << name_of(left);
      }
    }
  };
  const auto alpha = [](double value) {
    return Divergence{.kind = DivergenceKind::kAlpha, .alpha = value};
  };
  same(alpha(2), {.kind = DivergenceKind::kChi2}, 1e-12);
  same(alpha(0.5), {.kind = DivergenceKind::kHellinger}, 1e-12);
  same(alpha(1e-9), {.kind = DivergenceKind::kReverseKl}, 1e-7);
  same(alpha(1 + 2e-4), {.kind = DivergenceKind::kKl}, 2e-3);
  same(alpha(1 - 2e-4), {.kind = DivergenceKind::kKl}, 2e-3);
  same({.kind = DivergenceKind::kJs, .regularization = 7}, {.kind = DivergenceKind::kJs}, 0);
}

// KL of four experts in the closed form of MATH 8; chi2 with sum a <= 1 is the linear mixture.
TEST(Mixture, ClosedForms) {
  RandomStream random({.seed = 4, .stream = 4});
  const Rows rows = random_rows(random, 5, 50, 3);
  const std::vector<double> weights = {0.1, 0.5, 0.0, 0.7};
  const Mixed kl = mix({}, weights, rows);
  const Mixed chi2 = mix({.kind = DivergenceKind::kChi2}, {0.1, 0.5, 0.0, 0.3}, rows);
  std::vector<double> l[5];
  for (size_t i = 0; i < 5; ++i) l[i] = log_softmax(rows[i]);
  std::vector<double> expected(50);
  double sum = 0;
  for (size_t v = 0; v < 50; ++v) {
    expected[v] = std::exp(-0.3 * l[0][v] + 0.1 * l[1][v] + 0.5 * l[2][v] + 0.7 * l[4][v]);
    sum += expected[v];
  }
  for (size_t v = 0; v < 50; ++v) {
    EXPECT_NEAR(std::exp(kl.logs[v]), expected[v] / sum, 1e-13);
    EXPECT_NEAR(std::exp(chi2.logs[v]),
                0.1 * std::exp(l[0][v]) + 0.1 * std::exp(l[1][v]) + 0.5 * std::exp(l[2][v]) +
                    0.3 * std::exp(l[4][v]),
                1e-13);
  }
  EXPECT_FALSE(chi2.certificate.clipped);
}

// Ratios of 1e-30 and 1e30, equal experts, probabilities that underflow a float: certified, and the
// identity phi'(pi/pi_0) - sum_i a_i phi'(pi_i/pi_0) = constant on every token that is not clipped.
TEST(Mixture, ExtremeRatios) {
  const Rows extreme = {{0, -69, -69, 3, 1, -120}, {-69, 0, -69, 3, 1, 1}, {0, -69, 2, -150, 1, 0}};
  const Rows equal = {{1, 2, 3, -60, 0, 0}, {1, 2, 3, -60, 0, 0}, {1, 2, 3, -60, 0, 0}};
  const Rows sure = {
      {0, -1, -2, -3, -4, -5}, {0, -90, -90, -90, -90, -90}, {-90, 0, -90, -90, -90, -90}};
  for (const Divergence& divergence : all_divergences()) {
    SCOPED_TRACE(name_of(divergence));
    for (const Rows& rows : {extreme, equal, sure}) {
      for (const std::vector<double>& weights :
           std::vector<std::vector<double>>{{0.5, 0.5}, {1e-6, 1 - 1e-6}, {2, 3}, {0.01, 0.01}}) {
        const Mixed mixed = mix(divergence, weights, rows);
        EXPECT_LE(mixed.certificate.residual, 1e-11);
        EXPECT_LE(mixed.certificate.reads, 60);
        const std::vector<double> l0 = log_softmax(rows[0]);
        double low = std::numeric_limits<double>::infinity();
        double high = -low;
        double size = 1;
        for (size_t v = 0; v < l0.size(); ++v) {
          if (std::isinf(mixed.logs[v])) continue;
          double constant = generator_slope(divergence, std::exp(mixed.logs[v] - l0[v]));
          size = std::max(size, std::abs(constant));
          for (size_t i = 0; i < 2; ++i) {
            const double term =
                weights[i] *
                generator_slope(divergence, std::exp(log_softmax(rows[i + 1])[v] - l0[v]));
            size = std::max(size, std::abs(term));
            constant -= term;
          }
          low = std::min(low, constant);
          high = std::max(high, constant);
        }
        EXPECT_LE(high - low, 1e-9 * size);
      }
    }
    const Mixed same = mix(divergence, {0.25, 0.75}, equal);
    EXPECT_LT(distance(same.logs, log_softmax(equal[0])), 1e-14);
  }
}

TEST(Mixture, Refuses) {
  const auto refused = [](const MixtureRule& rule, const std::string& part) {
    const auto mixer = TokenMixer::create(rule);
    ASSERT_FALSE(mixer.ok()) << part;
    EXPECT_EQ(mixer.error().code, ErrorCode::kInvalidArgument);
    EXPECT_NE(mixer.error().message.find(part), std::string::npos) << mixer.error().message;
  };
  refused({{.kind = DivergenceKind::kTv}, {1}}, "tv has no inverse slope");
  refused({{}, {}}, "found no expert");
  refused({{}, {0.5, -0.1}}, "a weight is -0.1");
  refused({{}, {std::nan("")}}, "a weight is nan");
  refused({{.kind = DivergenceKind::kAlpha, .alpha = 1.00001}, {1}}, "use kl");
  refused({{.kind = DivergenceKind::kAlpha, .alpha = 0}, {1}}, "divergence.alpha");
  const std::vector<float> base = {0, 1, 2};
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(),
                          std::numeric_limits<float>::infinity(), -1000.0F}) {
    const std::vector<float> expert = {0, bad, 1};
    const std::vector<const float*> experts = {expert.data()};
    std::vector<double> logs(3);
    for (const Divergence& divergence : all_divergences()) {
      if (divergence.kind == DivergenceKind::kKl && std::isfinite(bad)) continue;
      const auto mixer = TokenMixer::create({divergence, {0.5}});
      const auto result = mixer->mix(base, experts, logs);
      ASSERT_FALSE(result.ok()) << name_of(divergence) << " " << bad;
    }
  }
}

// Token by token is another model than sequence by sequence. Two tokens of a vocabulary of two:
// for KL with a = (1/2, 1/2) the sequence mixture is pi(x) ~ sqrt(pi_1(x) pi_2(x)), whose first
// token also weighs how much the experts agree on what follows; the token-wise one does not look
// ahead. Sequences 00, 01, 10, 11.
TEST(Mixture, TokenByTokenIsNotSequenceBySequence) {
  const auto row = [](double p) {
    return std::vector<float>{static_cast<float>(std::log(p)), static_cast<float>(std::log(1 - p))};
  };
  // P(first = 0), P(second = 0 | first = 0), P(second = 0 | first = 1): base, expert 1, expert 2.
  const double models[3][3] = {{0.5, 0.5, 0.5}, {0.5, 0.9, 0.5}, {0.5, 0.1, 0.5}};
  const double reward[2][4] = {{1, 0, 0.5, 0.5}, {0, 1, 0.2, 0.2}};
  const auto node = [&](size_t which) {
    return mix({}, {0.5, 0.5},
               {row(models[0][which]), row(models[1][which]), row(models[2][which])})
        .logs;
  };
  double token_wise[4];
  double sequence[4];
  double total = 0;
  for (size_t x = 0; x < 4; ++x) {
    const size_t first = x / 2;
    const size_t second = x % 2;
    token_wise[x] = std::exp(node(0)[first] + node(1 + first)[second]);
    double root = 1;
    for (size_t m = 1; m < 3; ++m) {
      const double p = models[m][1 + first];
      root *= models[m][0] * (second == 0 ? p : 1 - p);
    }
    sequence[x] = std::sqrt(root);
    total += sequence[x];
  }
  double welfare[2] = {0, 0};
  for (size_t x = 0; x < 4; ++x) {
    sequence[x] /= total;
    welfare[0] += token_wise[x] * (3 * reward[0][x] + 2 * reward[1][x]);
    welfare[1] += sequence[x] * (3 * reward[0][x] + 2 * reward[1][x]);
  }
  // By hand: the experts' geometric mean of the second token is even either way, sqrt(.9 * .1) = .3
  // each; so the token-wise first token is even, the sequence's has .3 + .3 against .5 + .5.
  EXPECT_NEAR(token_wise[0], 0.25, 1e-7);
  EXPECT_NEAR(sequence[0], 0.3 / 1.6, 1e-7);
  EXPECT_NEAR(token_wise[0] + token_wise[1], 0.5, 1e-7);
  EXPECT_NEAR(sequence[0] + sequence[1], 0.375, 1e-7);
  EXPECT_NEAR(welfare[0], 2.2, 1e-6);
  EXPECT_NEAR(welfare[1], 2.125, 1e-6);
}

TEST(WideMath, AgainstTheLibrary) {
  RandomStream random({.seed = 4, .stream = 5});
  for (int i = 0; i < 200000; ++i) {
    const double x = 1400 * random.uniform() - 700;
    ASSERT_NEAR(wide_exp(x) / std::exp(x), 1, 1e-15) << x;
    const double y = std::exp(x);
    ASSERT_NEAR(wide_log(y), std::log(y), 3e-16 * (1 + std::abs(x))) << y;
    const double small = std::exp(60 * random.uniform() - 50);
    ASSERT_NEAR(wide_log1p(small) / std::log1p(small), 1, 1e-15) << small;
    ASSERT_NEAR(wide_expm1(std::min(small, 600.0)) / std::expm1(std::min(small, 600.0)), 1, 2e-15);
  }
  EXPECT_EQ(wide_exp(-1000), 0);
  EXPECT_EQ(wide_exp(0), 1);
  EXPECT_EQ(wide_log(1), 0);
  EXPECT_EQ(wide_log1p(0), 0);
  EXPECT_EQ(wide_expm1(0), 0);
}

}  // namespace
}  // namespace candor
