#include "exact_game.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace candor {
namespace {

ExactGame two_groups(const std::string& name, double lambda, double alpha) {
  ExactGame game;
  game.divergence = name;
  game.lambda = lambda;
  game.alpha = alpha;
  game.initial = {1, 3};
  game.groups = {{"a", 3, {1, 0.25}}, {"b", 2, {0.125, 1}}};
  return game;
}

// |found - expected| <= 10^-digits |expected|, and the solver says so too.
void expect_close(const ExactValue& found, const Real& expected, int digits) {
  const Real::Precision precision(120);
  const Real slack = abs(expected) * power_of_ten(-digits);
  EXPECT_TRUE(abs(found.value - expected) <= slack)
      << found.value.text(40) << " is not " << expected.text(40);
}

Real number(const std::string& text) {
  Real out;
  mpfr_set_str(out.raw(), text.c_str(), 10, MPFR_RNDN);
  return out;
}

// f of MATH 2 as its table writes it, r > 0.
Real generator(const std::string& name, const Real& l, const Real& a, const Real& r) {
  const Real one(1);
  const Real two(2);
  if (name == "kl") return l * r * log(r);
  if (name == "chi2") return l * (r - one) * (r - one);
  if (name == "reverse_kl") return -l * log(r);
  if (name == "js") return l / two * (r * log(r) - (r + one) * log((r + one) / two));
  if (name == "hellinger") return l * pow(sqrt(r) - one, two);
  if (name == "jeffreys") return l * (r - one) * log(r);
  return l * (pow(r, a) - a * r - (one - a)) / (a * (a - one));
}

// The largest welfare over models (p, 1 - p) by thirds: nothing of the dual.
Real best_of_two(const ExactGame& game, const std::vector<double>& totals) {
  const Real initial = Real(game.initial[0]) / Real(game.initial[0] + game.initial[1]);
  const auto welfare = [&](const Real& p) {
    const Real rest = Real(1) - initial;
    const auto f = [&](const Real& r) {
      return generator(game.divergence, Real(game.lambda), Real(game.alpha), r);
    };
    return p * Real(totals[0]) + (Real(1) - p) * Real(totals[1]) - initial * f(p / initial) -
           rest * f((Real(1) - p) / rest);
  };
  Real low = power_of_ten(-60);
  Real high = Real(1) - low;
  for (int step = 0; step < 420; ++step) {
    const Real third = (high - low) / Real(3);
    (welfare(low + third) < welfare(high - third) ? low : high) =
        welfare(low + third) < welfare(high - third) ? low + third : high - third;
  }
  return welfare(low);
}

TEST(ExactGame, WelfareIsTheLargestOfAllModelsForEveryLaw) {
  struct Case {
    std::string name;
    double alpha;
  };
  for (const Case& one : std::vector<Case>{{"kl", 0},
                                           {"chi2", 0},
                                           {"reverse_kl", 0},
                                           {"js", 0},
                                           {"hellinger", 0},
                                           {"jeffreys", 0},
                                           {"alpha", -3},
                                           {"alpha", 0.3},
                                           {"alpha", 1 - 1e-9},
                                           {"alpha", 1 + 1e-9},
                                           {"alpha", 1.5},
                                           {"alpha", 2.5},
                                           {"alpha", 40}}) {
    SCOPED_TRACE(one.name + " " + std::to_string(one.alpha));
    const ExactGame game = two_groups(one.name, 2.5, one.alpha);
    const ExactSolution solution = solve_exactly(game);
    ASSERT_TRUE(solution.settled);
    const Real::Precision precision(140);
    const Real full = best_of_two(game, {3.25, 2.75});
    const Real others = best_of_two(game, {0.25, 2});
    expect_close(solution.welfare, full, 60);
    expect_close(solution.groups[0].welfare_without, others, 60);
    // The payment by its definition, and the identities of the other numbers.
    const ExactOutcome& a = solution.groups[0];
    expect_close(a.payment, others - (full - a.valuation.value), 55);
    const Real valuations = a.valuation.value + solution.groups[1].valuation.value;
    expect_close(solution.divergence, valuations - full, 55);
  }
}

TEST(ExactGame, GamesOfTheLiteratureOfFaults) {
  ExactGame game;
  game.divergence = "alpha";
  game.alpha = 1.000000001;
  game.lambda = 0.01;
  game.initial = {1, 1};
  game.groups = {{"a", 10, {1, 0}}, {"b", 9, {0, 1}}};
  ExactSolution solution = solve_exactly(game);
  ASSERT_TRUE(solution.settled);
  const Real::Precision precision(100);
  expect_close(solution.welfare, number("9.9930685281989297539"), 19);
  // From another program (Python's mpmath, 150 digits, bisection): the double 1.000000001.
  expect_close(solution.groups[1].payment, number("3.344331812925130452979232e-43"), 24);
  expect_close(solution.groups[1].utility, number("3.720057260392165626086489e-46"), 24);
  game.alpha = 1.001;
  game.lambda = 0.001;
  game.groups = {{"a", 1, {1, 0.1}}, {"b", 1, {0.5, 1}}};
  solution = solve_exactly(game);
  ASSERT_TRUE(solution.settled);
  expect_close(solution.welfare, number("1.4993073052321871802"), 19);
  expect_close(solution.groups[0].payment, Real(0.5), 60);
  expect_close(solution.groups[1].payment, number("1.12271531162494516719416608324e-222"), 29);
}

TEST(ExactGame, Chi2PaymentIsTheVarianceInsideAndFourWhereOnlyTheOthersClip) {
  ExactGame game = two_groups("chi2", 40, 0);
  const Real::Precision precision(100);
  ExactSolution solution = solve_exactly(game);
  ASSERT_TRUE(solution.settled);
  // w^2 Var / (4 L), Var = (1/4)(3/4)(3/4)^2.
  expect_close(solution.groups[0].payment, Real(9 * 0.25 * 0.75 * 0.5625) / Real(160), 60);
  game = two_groups("chi2", 1, 0);
  game.initial = {0.5, 0.5};
  game.groups = {{"a", 10, {1, 0}}, {"b", 10, {0, 1}}};
  solution = solve_exactly(game);
  ASSERT_TRUE(solution.settled);
  expect_close(solution.groups[0].payment, Real(4), 60);
}

TEST(ExactGame, EqualLawsGiveEqualNumbers) {
  struct Case {
    std::string name;
    double lambda, alpha, other_lambda;
  };
  for (const Case& one : std::vector<Case>{{"hellinger", 0.5, 0.5, 0.25}, {"chi2", 0.5, 2, 1}}) {
    const ExactSolution named = solve_exactly(two_groups(one.name, one.lambda, 0));
    const ExactSolution order = solve_exactly(two_groups("alpha", one.other_lambda, one.alpha));
    ASSERT_TRUE(named.settled && order.settled);
    expect_close(named.welfare, order.welfare.value, 60);
    expect_close(named.groups[0].payment, order.groups[0].payment.value, 60);
    expect_close(named.groups[1].utility, order.groups[1].utility.value, 60);
  }
}

TEST(ExactGame, TinyNumbersAreNotZero) {
  // p*(2) = 1 / (1 + e^1000): the group that wants it gets that and pays most of it.
  ExactGame game = two_groups("kl", 0.01, 0);
  game.initial = {1, 1};
  game.normalization = "none";
  game.groups = {{"a", 10, {1, 0}}, {"b", 1, {0, 0x1p-20}}};
  game.lambda = 0.0078125;  // 10 / L = 1280
  const ExactSolution solution = solve_exactly(game);
  ASSERT_TRUE(solution.settled);
  const Real::Precision precision(800);
  const Real l(0.0078125);
  const Real lost = exp((Real(0x1p-20) - Real(10)) / l);
  expect_close(solution.groups[1].valuation, Real(0x1p-20) * lost / (Real(1) + lost), 59);
  // p = L log E_{p*} exp(-w (rm - v)/L) (MATH 3)
  const Real v = Real(0x1p-20) * lost / (Real(1) + lost);
  const Real mean = (exp(v / l) + lost * exp((v - Real(0x1p-20)) / l)) / (Real(1) + lost);
  expect_close(solution.groups[1].payment, l * log(mean), 59);
}

TEST(ExactGame, OutcomesExactlyAtTheEdgeHaveNoMass) {
  // mean S - min S = 2L exactly: the second outcome is just lost (MATH 3).
  ExactGame game;
  game.divergence = "chi2";
  game.lambda = 1;
  game.initial = {1, 1};
  game.groups = {{"a", 4, {1, 0}}, {"b", 1, {1, 0}}};
  game.groups[1].reward = {1, 1};
  const ExactSolution solution = solve_exactly(game);
  ASSERT_TRUE(solution.settled);
  const Real::Precision precision(100);
  expect_close(solution.groups[0].valuation, Real(4), 60);
  expect_close(solution.divergence, Real(1), 60);
  EXPECT_TRUE(abs(solution.groups[1].payment.value) <= power_of_ten(-399));
}

TEST(ExactGame, TvMovesMassAndBreaksTiesByTheGroupsInOrder) {
  ExactGame game;
  game.divergence = "tv";
  game.lambda = 0.25;
  game.initial = {1, 2, 1};
  game.groups = {{"a", 1, {1, 0, 0.5}}, {"b", 1, {0, 1, 0.5}}};
  const ExactSolution solution = solve_exactly(game);
  const Real::Precision precision(100);
  // All totals tie; without a outcome 2 loses exactly 2L to outcome 1: a tie again.
  expect_close(solution.welfare, Real(1), 60);
  expect_close(solution.groups[0].valuation, Real(0.375), 60);
  // Without a: outcome 0 gives .25 to outcome 1 at a cost of .5 * .25: .75 - .125 + .125.
  expect_close(solution.groups[0].payment, Real(0.125), 60);
  game.lambda = 0.2;
  game.groups[1].reward = {1, 0, 0.5};
  const ExactSolution joined = solve_exactly(game);
  expect_close(joined.welfare, Real(2) - Real(0.4) * Real(0.75), 15);
}

TEST(ExactGame, NormalisationIsExact) {
  // Rewards that the normalisation brings to (1, 1/3) and (0, 1): 1/3 is no double.
  ExactGame game = two_groups("js", 2, 0);
  game.groups[0].reward = {3, 1};
  game.groups[1].reward = {0, 7};
  const ExactSolution third = solve_exactly(game);
  const Real::Precision precision(140);
  const auto shifted = [&](double factor, double shift) {
    ExactGame other = game;
    for (auto& group : other.groups) {
      for (double& value : group.reward) value = factor * value + shift;
    }
    return other;
  };
  expect_close(solve_exactly(shifted(3, 0)).welfare, third.welfare.value, 60);
  // min_max of (3, 1) is (1, 0), whatever is added; sum of it (3/4, 1/4).
  ExactGame plain = game;
  plain.normalization = "none";
  plain.groups[0].reward = {1, 0};
  plain.groups[1].reward = {0, 1};
  for (const std::string law : {"js", "tv"}) {
    ExactGame stretched = shifted(1, -5);
    stretched.normalization = "min_max";
    stretched.divergence = plain.divergence = law;
    expect_close(solve_exactly(stretched).groups[0].payment,
                 solve_exactly(plain).groups[0].payment.value, 60);
    ExactGame summed = game;
    summed.normalization = "sum";
    summed.divergence = law;
    plain.groups[0].reward = {0.75, 0.25};
    expect_close(solve_exactly(summed).groups[0].payment,
                 solve_exactly(plain).groups[0].payment.value, 60);
    plain.groups[0].reward = {1, 0};
  }
}

TEST(ExactGame, BlocksAreMeansAndCandidatesAMenu) {
  ExactGame game = two_groups("js", 2, 0);
  const ExactSolution one = solve_exactly(game);
  game.initial = {1, 3, 2, 6};
  game.block_begin = {0, 2, 4};
  for (auto& group : game.groups) {
    group.reward.insert(group.reward.end(), group.reward.begin(), group.reward.begin() + 2);
  }
  const ExactSolution two = solve_exactly(game);
  const Real::Precision precision(100);
  expect_close(two.welfare, one.welfare.value, 60);
  expect_close(two.groups[1].payment, one.groups[1].payment.value, 60);
  ExactGame menu = two_groups("kl", 2, 0);
  menu.candidates = {{1, 3}, {1, 0}, {1, 0}, {0, 1}};
  const ExactSolution chosen = solve_exactly(menu);
  ASSERT_TRUE(chosen.settled);
  // 3.25 - 2 log 4 = .477, 2.75 - 2 log(4/3) = 2.175, initial 2.875.
  EXPECT_EQ(chosen.winner, 0U);
  expect_close(chosen.groups[0].payment, Real(0), 60);
  menu.groups[0].size = 60;
  EXPECT_EQ(solve_exactly(menu).winner, 1U);
}

}  // namespace
}  // namespace candor
