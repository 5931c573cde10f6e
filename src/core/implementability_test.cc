#include "core/implementability.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/lab.h"
#include "core/linear_program.h"
#include "core/solution.h"
#include "core/test_games.h"

namespace candor {
namespace {

using Matrix = std::vector<std::vector<double>>;

struct Study {
  TypeSpace space;
  ReportValues values;
  Implementability answer;
};

Study study(const std::string& rule, const Game& game, size_t count, uint64_t seed = 1) {
  Study out{.space = default_types(game, 0, count, seed), .values = {}, .answer = {}};
  out.values =
      values_of(game, train_types(*make_training_rule(rule).value(), game, out.space).value());
  out.answer = check_implementable(out.values.value, out.values.error);
  return out;
}

// The payment differences p(t) - p(s) <= value[t][t] - value[t][s] as a linear programme: the
// largest p(target) - p(base) that any implementing payments have.
double largest_difference(const Matrix& value, size_t target, size_t base) {
  const size_t n = value.size();
  LinearProgram program;
  program.cost.assign(n, 0.0);
  program.cost[target] = -1;
  program.lower.assign(n, -1e6);
  program.upper.assign(n, 1e6);
  program.lower[base] = program.upper[base] = 0;
  for (size_t t = 0; t < n; ++t) {
    for (size_t s = 0; s < n; ++s) {
      if (s == t) continue;
      std::vector<double>& row = program.rows.emplace_back(n, 0.0);
      row[t] = 1;
      row[s] = -1;
      program.row_lower.push_back(-LinearProgram::kInfinity);
      program.row_upper.push_back(value[t][t] - value[t][s]);
    }
  }
  const LinearSolution solution = solve_linear_program(program);
  EXPECT_EQ(solution.status, LinearSolution::Status::kOptimal);
  return -solution.value;
}

// Every incentive constraint, written out: p(t) - p(s) <= value[t][t] - value[t][s].
double worst_violation(const Matrix& value, const std::vector<double>& payments) {
  double worst = 0;
  for (size_t t = 0; t < value.size(); ++t) {
    for (size_t s = 0; s < value.size(); ++s) {
      worst = std::max(worst, payments[t] - payments[s] - (value[t][t] - value[t][s]));
    }
  }
  return worst;
}

GroupOutcome outcome_of(const Game& game, const Report& type) {
  return solve(with_report(game, 0, type.group_size, type.reward))->groups[0];
}

double payment_of(const Game& game, const Report& type) { return outcome_of(game, type).payment; }

// Def 3.4 for SW-Max (Def 3.1), and payment equivalence (Cor 3.7): p^AFF is among the payments.
TEST(Implementability, SwMaxHasPaymentsAndTheyEncloseTheAffineOnes) {
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    const Game game = random_game({.seed = seed, .kind = static_cast<DivergenceKind>(seed % 8)});
    const Study found = study("sw_max", game, 16, seed);
    ASSERT_TRUE(found.answer.payments_exist) << "seed " << seed;
    EXPECT_LT(worst_violation(found.values.value, found.answer.payments), 1e-10);
    const Enclosure base = outcome_of(game, found.space.types[0]).payment_enclosure;
    for (size_t t = 0; t < found.space.types.size(); ++t) {
      const Enclosure payment = outcome_of(game, found.space.types[t]).payment_enclosure;
      const Enclosure difference = payment - base;
      EXPECT_GE(difference.high, found.answer.low[t]) << "seed " << seed << " type " << t;
      EXPECT_LE(difference.low, found.answer.high[t]) << "seed " << seed << " type " << t;
    }
  }
}

// A second route to "implementable": Bellman-Ford finds payments iff no cycle of any length is
// negative; here every cycle of up to four types is looked at.
double least_short_cycle(const Matrix& value) {
  const size_t n = value.size();
  const auto edge = [&](size_t s, size_t t) { return value[t][t] - value[t][s]; };
  double least = 0;
  for (size_t a = 0; a < n; ++a) {
    for (size_t b = 0; b < n; ++b) {
      least = std::min(least, edge(a, b) + edge(b, a));
      for (size_t c = 0; c < n; ++c) {
        least = std::min(least, edge(a, b) + edge(b, c) + edge(c, a));
        for (size_t d = 0; d < n; ++d) {
          least = std::min(least, edge(a, b) + edge(b, c) + edge(c, d) + edge(d, a));
        }
      }
    }
  }
  return least;
}

// Shortest paths against the dual simplex.
TEST(Implementability, IntervalsAreThoseOfALinearProgramme) {
  for (uint64_t seed = 1; seed <= 12; ++seed) {
    const Game game = random_game({.seed = seed, .kind = static_cast<DivergenceKind>(seed % 8)});
    const Study found = study("sw_max", game, 9, seed);
    const Matrix& value = found.values.value;
    double widest = 0;
    for (size_t t = 1; t < value.size(); ++t) {
      EXPECT_NEAR(found.answer.high[t], largest_difference(value, t, 0), 1e-7) << "seed " << seed;
      EXPECT_NEAR(found.answer.low[t], -largest_difference(value, 0, t), 1e-7) << "seed " << seed;
    }
    for (size_t t = 0; t < value.size(); ++t) {
      for (size_t s = 0; s < t; ++s) {
        widest =
            std::max(widest, largest_difference(value, t, s) + largest_difference(value, s, t));
      }
    }
    EXPECT_NEAR(found.answer.widest, widest, 2e-7) << "seed " << seed;
  }
}

TEST(Implementability, EgalitarianRulesAreCaughtWithAWitness) {
  for (const char* rule : {"max_min", "nash", "median_of_optima", "mean_of_optima"}) {
    int broken = 0;
    for (uint64_t seed = 1; seed <= 20; ++seed) {
      Game game = random_game({.seed = seed, .most_groups = 4, .regularization = 0.3});
      if (game.groups.size() < 2) continue;
      const Study found = study(rule, game, 12, seed);
      const double shortest = least_short_cycle(found.values.value);
      if (found.answer.payments_exist) {
        EXPECT_GT(shortest, -4 * found.answer.tolerance - 1e-13) << rule << " seed " << seed;
        EXPECT_LT(worst_violation(found.values.value, found.answer.payments),
                  1e-9 + 20 * found.answer.tolerance);
        continue;
      }
      ++broken;
      double length = 0;  // the witness, walked by hand
      const std::vector<size_t>& cycle = found.answer.worst_cycle;
      for (size_t i = 0; i < cycle.size(); ++i) {
        const size_t s = cycle[i];
        const size_t t = cycle[(i + 1) % cycle.size()];
        length += found.values.value[t][t] - found.values.value[t][s];
      }
      EXPECT_DOUBLE_EQ(length, found.answer.worst_cycle_length);
      EXPECT_LT(length, 0) << rule << " seed " << seed;
    }
    EXPECT_GT(broken, 0) << rule;
  }
}

TEST(Implementability, ADictatorAnswersToNobody) {
  const Game game = random_game({.seed = 12, .most_groups = 5});
  ASSERT_GE(game.groups.size(), 2U);
  const Study found = study("dictatorship:g1", game, 16);
  EXPECT_TRUE(found.answer.payments_exist);
  EXPECT_EQ(found.answer.widest, 0);  // the same model whatever group 0 says: one payment for all
  EXPECT_EQ(gain_without_payments(found.values.value), 0);
}

TEST(Implementability, WithoutPaymentsOrPayingTheReportLyingGains) {
  const Game game = random_game({.seed = 12, .most_groups = 5, .regularization = 0.5});
  const Study found = study("sw_max", game, 24);
  EXPECT_GT(gain_without_payments(found.values.value), 0.01);
  EXPECT_GT(gain_paying_report(found.values.value), 0.01);
}

TEST(Laboratory, TypesThatAreNoneAreRefused) {
  const Game game = random_game({.seed = 3, .kind = DivergenceKind::kKl});
  const auto rule = make_training_rule("sw_max").value();
  const auto message = [&](std::vector<Report> types, size_t count) {
    const auto lab = run_laboratory(game, 0, {rule.get()}, std::move(types),
                                    {.type_count = count, .largest_steps = 1});
    return lab.ok() ? std::string("accepted") : lab.error().message;
  };
  EXPECT_EQ(message({}, 0), "types: found 0; expected 1 to 512");
  EXPECT_EQ(message({}, 513), "types: found 513; expected 1 to 512");
  EXPECT_EQ(message({game.groups[0]}, 0), "accepted");
  Report type = game.groups[0];
  type.reward[0] = std::nan("");
  EXPECT_NE(message({type}, 0).find("found reward nan"), std::string::npos);
  type = game.groups[0];
  type.reward.pop_back();
  EXPECT_NE(message({type}, 0).find("the game has"), std::string::npos);
  type = game.groups[0];
  type.group_size = -1;
  EXPECT_NE(message({type}, 0).find("found size -1"), std::string::npos);
  type = game.groups[0];
  for (double& value : type.reward) value *= 2;
  EXPECT_NE(message({type}, 0).find("not normalised"), std::string::npos);
}

TEST(Laboratory, AffinePaymentsLieInEveryInterval) {
  const Game game = random_game({.seed = 12, .most_groups = 5, .regularization = 0.5});
  const auto rule = make_training_rule("sw_max").value();
  const Laboratory lab = run_laboratory(game, 0, {rule.get()}, {}, {}).value();
  const RuleStudy& study = lab.rules.at(0);
  ASSERT_EQ(study.affine.size(), lab.space.types.size());
  for (size_t t = 0; t < study.affine.size(); ++t) {
    EXPECT_GE(study.affine[t], study.incentives.low[t]) << lab.space.types[t].name;
    EXPECT_LE(study.affine[t], study.incentives.high[t]) << lab.space.types[t].name;
  }
  EXPECT_LT(*study.gain_affine, 1e-9);
  EXPECT_GT(study.gain_zero, 0.01);
  EXPECT_LE(*study.affine_difference, study.paths.back().forward + 1e-9);
  EXPECT_GE(*study.affine_difference, -study.paths.back().backward - 1e-9);
  ASSERT_EQ(lab.moduli.size(), 3U);
  for (const auto& row : lab.moduli) EXPECT_LE(row.worst_found, row.epsilon * (1 + 1e-9));
  EXPECT_LE(*lab.lemma_e_1, 1 + 1e-12);
  ASSERT_TRUE(lab.fee.has_value());
}

// Thm 3.6 by its proof (Lemma E.4): the path encloses the payment difference and closes.
TEST(PaymentPath, ConvergesToTheAffinePaymentsLikeOneOverN) {
  for (uint64_t seed = 1; seed <= 24; ++seed) {
    Game raw = random_game({.seed = seed, .kind = static_cast<DivergenceKind>(seed % 8)});
    raw.normalization = seed % 2 == 0 ? Normalization::kMax : Normalization::kSum;
    const Game game = make_game(raw).value();
    const auto rule = make_training_rule("sw_max").value();
    const TypeSpace space = default_types(game, 0, 12, seed);
    const Report& from = space.types[0];
    const Report& to = space.types[10];
    const double difference = payment_of(game, to) - payment_of(game, from);
    double first = 0;
    for (const int steps : {1, 4, 16, 64}) {
      const PaymentPath path = payment_path(*rule, game, 0, from, to, steps).value();
      const double width = path.forward + path.backward;
      EXPECT_NEAR(width, path.predicted_width, 1e-11 * (1 + from.group_size)) << "seed " << seed;
      EXPECT_LE(difference, path.forward + 1e-9) << "seed " << seed << " n " << steps;
      EXPECT_GE(difference, -path.backward - 1e-9) << "seed " << seed << " n " << steps;
      if (steps == 1) first = width;
      EXPECT_NEAR(width, first / steps, 1e-10 * (1 + std::abs(first)));
    }
  }
}

// The width formula is about the allocation alone: it holds for rules without any payment.
TEST(PaymentPath, WidthIsTheSameSumForEveryRule) {
  const Game game = random_game({.seed = 12, .most_groups = 5});
  const TypeSpace space = default_types(game, 0, 12, 1);
  for (const std::string& name : training_rule_names()) {
    const auto rule = make_training_rule(name).value();
    const PaymentPath path =
        payment_path(*rule, game, 0, space.types[0], space.types[9], 8).value();
    EXPECT_NEAR(path.forward + path.backward, path.predicted_width, 1e-10) << name;
  }
}

// A rule with no continuity at all: the digits of the report choose the model.
class ScatteredRule : public TrainingRule {
 public:
  [[nodiscard]] std::string name() const override { return "scattered"; }
  [[nodiscard]] Result<TrainedModel> train(const Game& game) const override {
    TrainedModel out{.model = game.initial, .gap = 0};
    double mass = 0;
    for (size_t x = 0; x < out.model.size(); ++x) {
      const double stake = game.groups[0].group_size * game.groups[0].reward[x];
      mass += out.model[x] = 1.01 + std::sin(1e7 * stake + static_cast<double>(x));
    }
    for (double& p : out.model) p /= mass;
    return out;
  }
};

// Ours: the 2n-step path needs no continuity. The width is the formula's, at most (w + w')/n, for a
// rule without any; and menus and tv, where Condition 3.5 fails, have their payments pinned down.
TEST(PaymentPath, NeedsNoContinuity) {
  const ScatteredRule scattered;
  const auto sw_max = make_training_rule("sw_max").value();
  for (uint64_t seed = 1; seed <= 24; ++seed) {
    Game raw = random_game({.seed = seed,
                            .kind = seed % 2 == 0 ? DivergenceKind::kTv : DivergenceKind::kKl,
                            .most_outcomes = 6});
    raw.normalization = seed % 3 == 0 ? Normalization::kSum : Normalization::kMax;
    if (seed % 2 == 1) {
      for (uint64_t k = 1; k <= 5; ++k) {
        raw.candidates.push_back(raw.initial);
        for (size_t x = 0; x < raw.initial.size(); ++x) {
          raw.candidates.back()[x] *= x % 5 == k % 5 ? 8 : 0.2;
        }
      }
    }
    const Game game = make_game(raw).value();
    const TypeSpace space = default_types(game, 0, 12, seed);
    const Report& from = space.types[0];
    const Report& to = space.types.back();
    const double difference = payment_of(game, to) - payment_of(game, from);
    for (const int steps : {1, 30, 1000}) {
      const double widest = (from.group_size + to.group_size) / steps;
      const PaymentPath path = payment_path(*sw_max, game, 0, from, to, steps).value();
      EXPECT_GE(path.forward + path.backward, -1e-9);
      EXPECT_LE(path.forward + path.backward, widest + 1e-9) << "seed " << seed;
      EXPECT_LE(difference, path.forward + 1e-9) << "seed " << seed;
      EXPECT_GE(difference, -path.backward - 1e-9) << "seed " << seed;
      const PaymentPath wild = payment_path(scattered, game, 0, from, to, steps).value();
      EXPECT_NEAR(wild.forward + wild.backward, wild.predicted_width, 1e-9 * (1 + widest));
      EXPECT_LE(std::abs(wild.forward + wild.backward), widest + 1e-9);
    }
  }
}

// Remark w = 1 (Sec. 3): where sizes are public, every implementable rule of ours has its payments
// from its choices, menus included. At size 1 a fixed choice is implementable too, and costs 0.
TEST(PaymentPath, PublicSizesNeedNoStepBetweenSizes) {
  Game game = random_game({.seed = 12, .most_groups = 5});
  for (Report& report : game.groups) report.group_size = 1;
  game.max_size = 1;
  Game menu = game;
  menu.candidates = {game.initial, game.initial};
  menu.candidates[0][0] += 3;
  menu.candidates[1][1] += 3;
  menu = make_game(menu).value();
  for (const char* name : {"sw_max", "dictatorship:g1"}) {
    const auto rule = make_training_rule(name).value();
    for (const Game* one : {&game, &menu}) {
      const TypeSpace space = default_types(*one, 0, 10, 1);
      const ReportValues values = values_of(*one, train_types(*rule, *one, space).value());
      ASSERT_TRUE(check_implementable(values.value, values.error).payments_exist) << name;
      for (size_t t = 1; t < space.types.size(); ++t) {
        ASSERT_EQ(space.types[t].group_size, 1);
        const PaymentPath path =
            payment_path(*rule, *one, 0, space.types[0], space.types[t], 2000).value();
        EXPECT_LE(path.forward + path.backward, 1e-3 + 1e-12) << name;
        if (std::string(name) != "sw_max") {
          EXPECT_NEAR(path.forward, 0, 1e-12);
          continue;
        }
        const double difference =
            payment_of(*one, space.types[t]) - payment_of(*one, space.types[0]);
        EXPECT_NEAR(difference, path.forward, 1e-3 + 1e-12) << name;
      }
    }
  }
}

}  // namespace
}  // namespace candor
