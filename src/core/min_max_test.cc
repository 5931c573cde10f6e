// normalization: min_max through everything that takes a game.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/attack.h"
#include "core/audit.h"
#include "core/best_response.h"
#include "core/fee.h"
#include "core/lab.h"
#include "core/noise.h"
#include "core/shard.h"
#include "core/solution.h"
#include "core/stream.h"
#include "core/sweep.h"
#include "core/test_games.h"

namespace candor {
namespace {

// Raw scores as reward models give them: some negative, on scales of their own.
Game raw_game(const RandomGameOptions& options) {
  Game game = random_game(options);
  RandomStream random({.seed = options.seed, .stream = 23});
  for (Report& report : game.groups) {
    const double stretch = std::exp(2 * random.normal());
    const double shift = 3 * random.normal();
    for (double& value : report.reward) value = stretch * (value + shift);
  }
  game.normalization = Normalization::kMinMax;
  return game;
}

Game min_max_game(const RandomGameOptions& options) { return make_game(raw_game(options)).value(); }

// The same game with its rewards normalised here, handed over as they are.
Game by_hand(Game raw) {
  for (Report& report : raw.groups) {
    double low = std::numeric_limits<double>::infinity();
    double high = -low;
    for (const double value : report.reward) {
      low = value < low ? value : low;
      high = value > high ? value : high;
    }
    for (double& value : report.reward) value = value / (high - low) - low / (high - low);
    for (double& value : report.reward) value = std::clamp(value, 0.0, 1.0);  // rounding
  }
  raw.normalization = Normalization::kNone;
  return make_game(raw).value();
}

bool admissible(const std::vector<double>& reward) {
  return std::ranges::min(reward) == 0 && std::ranges::max(reward) == 1;
}

// App. C.3. A payment sees a group's stake up to a constant, so it is also that of the raw scores
// with the size w / (max - min); welfare then lacks the constants.
TEST(MinMax, IsTheGameNormalisedByHandAndTheRawGameOfOtherSizes) {
  for (uint64_t seed = 0; seed < 160; ++seed) {
    SCOPED_TRACE(seed);
    const Game raw = raw_game(
        {.seed = seed, .kind = static_cast<DivergenceKind>(seed % 8), .blocks = 1 + seed % 3});
    const Solution found = solve(make_game(raw).value()).value();
    const Solution hand = solve(by_hand(raw)).value();
    Game stretched = raw;
    double constants = 0;
    double scale = 1;
    for (Report& report : stretched.groups) {
      const auto [low, high] = std::ranges::minmax(report.reward);
      constants += report.group_size * low / (high - low);
      scale += report.group_size * (1 + std::abs(low) / (high - low));
      report.group_size /= high - low;
    }
    const Solution other = solve(stretched).value();
    EXPECT_NEAR(found.welfare, hand.welfare, 1e-12 * scale);
    EXPECT_NEAR(found.welfare, other.welfare - constants, 1e-11 * scale);
    for (size_t i = 0; i < raw.groups.size(); ++i) {
      EXPECT_NEAR(found.groups[i].valuation, hand.groups[i].valuation, 1e-10 * scale);
      EXPECT_NEAR(found.groups[i].payment, hand.groups[i].payment, 1e-10 * scale);
      EXPECT_NEAR(found.groups[i].payment, other.groups[i].payment, 1e-10 * scale);
    }
  }
}

TEST(MinMax, RefusesWhatHasNoTwoValues) {
  Game raw;
  raw.initial = {1, 1, 1, 1};
  raw.normalization = Normalization::kMinMax;
  raw.block_begin = {0, 2, 4};
  raw.groups = {{"a", 1, {-1, -1, 3, 3}}, {"flat", 1, {.5, .5, .5, .5}}};
  const Result<Game> refused = make_game(raw);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().message,
            "groups[1].reward: group \"flat\" has the reward 0.5 on every outcome; min_max "
            "normalisation needs two that differ");
  raw.groups[1].reward = {-1e308, 1e308, 0, 0};
  EXPECT_NE(make_game(raw).error().message.find("beyond double precision"), std::string::npos);
  raw.groups[1].reward = {0, std::nan(""), 0, 0};
  EXPECT_NE(make_game(raw).error().message.find("groups[1].reward[1]: found nan; expected a finite "
                                                "number"),
            std::string::npos);
  // Constant within each block is no constant: the least and the largest are over all outcomes.
  raw.groups[1].reward = {2, 2, 4, 4};
  EXPECT_EQ(make_game(raw)->groups[1].reward, (std::vector<double>{0, 0, 1, 1}));
}

TEST(MinMax, BringsLiesIntoItsDomain) {
  const Game game = min_max_game({.seed = 3, .most_outcomes = 5, .blocks = 2});
  RandomStream random({.seed = 1, .stream = 1});
  for (int i = 0; i < 200; ++i) {
    std::vector<double> lie(game.outcome_count());
    for (double& value : lie) value = 5 * random.normal();
    ASSERT_TRUE(make_admissible(game, 0, lie));
    EXPECT_TRUE(admissible(lie));
    std::vector<double> again = lie;
    ASSERT_TRUE(make_admissible(game, 0, again));
    EXPECT_EQ(lie, again);
  }
  std::vector<double> flat(game.outcome_count(), 1.0);
  EXPECT_FALSE(make_admissible(game, 0, flat));
}

// ---------------------------------------------------------------- audits

// visit(reward, size) for every admissible report on a grid.
template <typename Visit>
void for_each_report(const Game& game, int steps, double most, const Visit& visit) {
  const size_t m = game.outcome_count();
  std::vector<int> at(m, 0);
  for (bool more = true; more;) {
    if (std::ranges::min(at) == 0 && std::ranges::max(at) == steps) {
      std::vector<double> reward;
      reward.reserve(m);
      for (const int level : at) reward.push_back(static_cast<double>(level) / steps);
      for (double size = 1; size <= most; ++size) visit(reward, size);
    }
    more = false;
    for (size_t x = 0; x < m && !more; ++x) {
      more = ++at[x] <= steps;
      if (!more) at[x] = 0;
    }
  }
}

double grid_best(const Game& game, const AuditOptions& options, int steps) {
  double best = -std::numeric_limits<double>::infinity();
  const auto most = static_cast<double>(game.max_size);
  for_each_report(game, steps, most, [&](const std::vector<double>& reward, double size) {
    const Solution after = solve(with_report(game, 0, size, reward)).value();
    double utility = group_valuation(game, game.groups[0], after.allocation);
    if (options.payments == PaymentRule::kAffine) utility -= after.groups[0].payment;
    if (options.payments == PaymentRule::kGiven) {
      utility -= options.given_prices[0][*after.winner];
    }
    if (options.payments == PaymentRule::kPayReport) {
      utility -= group_valuation(game, {"", size, reward}, after.allocation);
    }
    best = std::max(best, utility);
  });
  return best;
}

Game small_game(uint64_t seed) {
  Game raw = raw_game({.seed = seed,
                       .kind = static_cast<DivergenceKind>(seed % 8),
                       .most_groups = 3,
                       .most_outcomes = seed % 3 == 0 ? 2U : 4U,
                       .blocks = seed % 3 == 0 ? 2U : 1U});
  raw.max_size = 3;
  for (Report& report : raw.groups) report.group_size = std::min(report.group_size, 3.0);
  return make_game(raw).value();
}

// Zero payments: the cut is the best report (KL, shown), or the best found (others).
TEST(MinMax, AuditsMeetEveryReportOfAGrid) {
  for (uint64_t seed = 0; seed < 48; ++seed) {
    SCOPED_TRACE(seed);
    const Game game = small_game(seed);
    for (const PaymentRule rule :
         {PaymentRule::kZero, PaymentRule::kAffine, PaymentRule::kPayReport}) {
      const AuditOptions options{.payments = rule, .given_prices = {}, .random_reports = 40};
      const Audit audit = audit_game(game, options).value();
      const GroupAudit& found = audit.groups[0];
      EXPECT_TRUE(admissible(found.best_report.reward));
      const bool exact =
          rule == PaymentRule::kAffine ||
          (rule == PaymentRule::kZero && game.divergence.kind == DivergenceKind::kKl);
      EXPECT_TRUE(!exact || found.bound == "exact");
      const double grid = grid_best(game, options, game.outcome_count() > 4 ? 4 : 6);
      EXPECT_LE(grid, found.utility_truth + found.certificate + 1e-9);
      if (rule != PaymentRule::kPayReport) {
        EXPECT_LE(grid, found.best_utility + 1e-9);
      }
      EXPECT_FALSE(rule == PaymentRule::kAffine && audit.profitable);
    }
  }
}

// The best response of max normalisation is one under min_max as well, with a 0 and a 1.
TEST(MinMax, BestResponseIsThatOfMax) {
  for (uint64_t seed = 0; seed < 64; ++seed) {
    SCOPED_TRACE(seed);
    const Game game = min_max_game({.seed = seed,
                                    .kind = static_cast<DivergenceKind>(seed % 8),
                                    .most_outcomes = 9,
                                    .blocks = 1 + seed % 2});
    Game largest_one = game;
    largest_one.normalization = Normalization::kMax;
    const BestResponse found = best_response_without_payments(game, 0, 5);
    EXPECT_TRUE(admissible(found.report.reward));
    EXPECT_EQ(found.valuation, best_response_without_payments(largest_one, 0, 5).valuation);
    const Solution lied = solve(with_report(game, 0, 5, found.report.reward)).value();
    EXPECT_NEAR(group_valuation(game, game.groups[0], lied.allocation), found.valuation,
                1e-9 * (1 + found.valuation));
  }
  // Prompts of one reply each: nothing to choose, and the truth is the report.
  Game raw;
  raw.initial = {1, 1, 1};
  raw.block_begin = {0, 1, 2, 3};
  raw.normalization = Normalization::kMinMax;
  raw.groups = {{"a", 2, {-1, 0, 1}}};
  const BestResponse alone = best_response_without_payments(make_game(raw).value(), 0, 7);
  EXPECT_EQ(alone.report.reward, (std::vector<double>{0, .5, 1}));
  EXPECT_NEAR(alone.valuation, 1, 1e-15);
}

// Thm E.2 (1) has its two ends kept; Thm 3.2 (2) has no positive least reward to lower.
TEST(MinMax, TheoremE2AppliesAndTheorem32DoesNot) {
  int gained = 0;
  for (uint64_t seed = 0; seed < 40; ++seed) {
    SCOPED_TRACE(seed);
    const Game game = min_max_game(
        {.seed = seed, .kind = static_cast<DivergenceKind>(seed % 7), .regularization = 8});
    const Audit audit =
        audit_game(game, {.payments = PaymentRule::kZero, .given_prices = {}, .random_reports = 0})
            .value();
    for (const GroupAudit& group : audit.groups) {
      const auto family = [&](const char* name) {
        return std::ranges::find(group.families, std::string(name), &FamilyResult::family);
      };
      EXPECT_EQ(family("theorem_3_2"), group.families.end());
      if (family("theorem_e_2_1") == group.families.end()) continue;  // two outcomes
      EXPECT_GT(family("theorem_e_2_1")->deviation_gain, 0);
      ++gained;
    }
  }
  EXPECT_GT(gained, 60);
}

// Stakes reach from 0 to a whole size: by hand, one group of size 1 that could have B with stakes
// between 0 and 5/7 alone. Under max it reports (1, 1/2); under min_max it cannot.
TEST(MinMax, WhatNeedsASmallStakeIsOutOfReach) {
  Game raw;
  raw.divergence = {.kind = DivergenceKind::kChi2, .regularization = 0.15};
  raw.initial = {.3, .7};
  raw.candidates = {{1, 0}, {.6, .4}, {0, 1}};
  raw.groups = {{"a", 1, {1, 0}}};
  raw.max_size = 1;
  const AuditOptions options{.payments = PaymentRule::kGiven, .given_prices = {{.7, 0, 0}}};
  const GroupAudit max = audit_game(make_game(raw).value(), options)->groups[0];
  EXPECT_NEAR(max.deviation_gain, .3, 1e-12);
  EXPECT_NEAR(max.certificate, .3, 1e-9);
  raw.normalization = Normalization::kMinMax;
  const GroupAudit stretched = audit_game(make_game(raw).value(), options)->groups[0];
  EXPECT_EQ(stretched.deviation_gain, 0);
  EXPECT_NEAR(stretched.certificate, 0, 1e-12);
  EXPECT_EQ(stretched.bound, "exact");
}

TEST(MinMax, LinearProgrammesMeetTheBestReportOfAGrid) {
  int exact = 0;
  int audits = 0;
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    Game raw = raw_game({.seed = seed, .most_groups = 3, .most_outcomes = 3});
    RandomStream random({.seed = seed, .stream = 17});
    for (size_t k = 0, count = 2 + random.below(3); k < count; ++k) {
      std::vector<double>& model = raw.candidates.emplace_back();
      for (size_t x = 0; x < raw.outcome_count(); ++x) model.push_back(0.02 + random.uniform());
    }
    raw.max_size = 3;
    for (Report& group : raw.groups) group.group_size = 1 + static_cast<double>(random.below(3));
    const Game game = make_game(raw).value();
    for (const PaymentRule rule :
         {PaymentRule::kZero, PaymentRule::kGiven, PaymentRule::kPayReport}) {
      AuditOptions options{.payments = rule, .given_prices = {}, .random_reports = 20};
      if (rule == PaymentRule::kGiven) options.given_prices = random_prices(game, random);
      const GroupAudit found = audit_game(game, options)->groups[0];
      EXPECT_TRUE(admissible(found.best_report.reward));
      const double grid = grid_best(game, options, 24);
      EXPECT_LE(grid, found.utility_truth + found.certificate + 1e-9) << "seed " << seed;
      if (found.bound == "exact") {
        EXPECT_LE(grid, found.best_utility + 1e-8) << "seed " << seed;
        ++exact;
      }
      ++audits;
    }
  }
  EXPECT_GT(exact, 9 * audits / 10);
}

TEST(MinMax, SweepsAndAttacks) {
  const Game game = min_max_game({.seed = 21, .most_groups = 4, .blocks = 3});
  ASSERT_GE(game.groups.size(), 2U);
  for (const Misreport kind :
       {Misreport::kSizeInflation, Misreport::kPreferenceMix, Misreport::kPreferenceMixClipped}) {
    const auto points = sweep(game, 0, kind, {0.5, 1.0, 2.0}).value();
    EXPECT_NEAR(points[1].utility, solve(game)->groups[0].utility, 1e-12);
    for (const SweepPoint& point : points) EXPECT_LE(point.utility, points[1].utility + 1e-12);
  }
  const std::vector<Attack> attacks = search_attacks(game, {}).value();
  // Nobody can stay out with a constant; one speaks for both all the same.
  EXPECT_TRUE(std::ranges::any_of(attacks[0].families, [](const FamilyResult& family) {
    return family.family == "one_for_both";
  }));
  for (const Attack& attack : attacks) {
    for (const Report& report : attack.reports) EXPECT_TRUE(admissible(report.reward));
  }
}

// ---------------------------------------------------------------- payments that are not unique

// Two outcomes: a report is a whole number of agents for one of them, s = -2, -1, 1, 2, and no
// report has s = 0. Under KL, lambda 1, uniform p0 the first outcome's mass is (1 + tanh(s/2))/2,
// so with d = tanh(s'/2) - tanh(s/2) for neighbours the intervals add up to
//   (s' - s) d/2 summed = (d(1,2) + d(-2,-1) + 2 d(-1,1)) / 2 = tanh(1) + tanh(1/2) = 1.2237.
TEST(MinMax, PaymentsAreNotUnique) {
  Game raw;
  raw.initial = {1, 1};
  raw.normalization = Normalization::kMinMax;
  raw.groups = {{"a", 1, {1, 0}}};
  raw.max_size = 2;
  const Game game = make_game(raw).value();
  const auto rule = make_training_rule("sw_max").value();
  const Laboratory lab = run_laboratory(game, 0, {rule.get()}, {}, {}).value();
  ASSERT_EQ(lab.space.types.size(), 4U);
  const RuleStudy& study = lab.rules[0];
  ASSERT_TRUE(study.incentives.payments_exist);
  EXPECT_NEAR(study.incentives.widest, std::tanh(1.0) + std::tanh(0.5), 1e-12);
  // Both ends of the intervals, and p^AFF between them, leave no type a lie, by the definition.
  const auto leaves_no_lie = [&](const std::vector<double>& payment) {
    for (const Report& type : lab.space.types) {
      for (size_t s = 0; s < 4; ++s) {
        const auto utility = [&](size_t report) {
          const Report& sent = lab.space.types[report];
          const Solution model = solve(with_report(game, 0, sent.group_size, sent.reward)).value();
          return group_valuation(game, type, model.allocation) - payment[report];
        };
        if (utility(static_cast<size_t>(&type - lab.space.types.data())) < utility(s) - 1e-12) {
          return false;
        }
      }
    }
    return true;
  };
  EXPECT_TRUE(leaves_no_lie(study.incentives.low));
  EXPECT_TRUE(leaves_no_lie(study.incentives.high));
  EXPECT_TRUE(leaves_no_lie(study.affine));
  std::vector<double> beyond = study.incentives.high;
  *std::ranges::max_element(beyond) += 1e-6;
  EXPECT_FALSE(leaves_no_lie(beyond));

  EXPECT_TRUE(study.paths.empty());
  EXPECT_NE(study.no_path.find("Cor 3.7"), std::string::npos);
  EXPECT_FALSE(lab.fee.has_value());
  EXPECT_NE(lab.no_fee.find("Thm 4.11"), std::string::npos);
}

// The same choices with max normalisation, the constant reward and steps towards it among the
// types: the intervals close.
TEST(MinMax, PaymentsAreUniqueUnderMax) {
  Game raw;
  raw.initial = {1, 1};
  raw.groups = {{"a", 1, {1, 0}}};
  raw.max_size = 2;
  std::vector<Report> types;
  for (int step = -64; step <= 64; ++step) {
    const double stake = step / 32.0;
    const double size = std::abs(stake) > 1 ? 2 : 1;
    const double less = 1 - std::abs(stake) / size;
    types.push_back({std::to_string(step), size,
                     stake < 0 ? std::vector<double>{less, 1} : std::vector<double>{1, less}});
  }
  const auto rule = make_training_rule("sw_max").value();
  const Laboratory closed =
      run_laboratory(make_game(raw).value(), 0, {rule.get()}, types, {}).value();
  EXPECT_LT(closed.rules[0].incentives.widest, 0.04);
}

// Every rule of the laboratory runs; types that are not min-max normalised are refused.
TEST(MinMax, Laboratory) {
  const Game game = min_max_game({.seed = 12, .most_groups = 5, .regularization = 0.5});
  std::vector<std::unique_ptr<TrainingRule>> owned;
  std::vector<const TrainingRule*> rules;
  for (const std::string& name : training_rule_names()) {
    owned.push_back(make_training_rule(name).value());
    rules.push_back(owned.back().get());
  }
  const Laboratory lab = run_laboratory(game, 0, rules, {}, {}).value();
  for (const Report& type : lab.space.types) EXPECT_TRUE(admissible(type.reward)) << type.name;
  EXPECT_LT(*lab.rules[0].gain_affine, 1e-9);
  EXPECT_LE(*lab.lemma_e_1, 1 + 1e-12);
  std::vector<Report> types = {game.groups[0]};
  types[0].reward.assign(game.outcome_count(), 1.0);
  const auto refused = run_laboratory(game, 0, {rules[0]}, types, {});
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().message.find("1 in place of 0 for its least value"), std::string::npos);
  EXPECT_FALSE(constant_reward(game).has_value());
}

// Noise is added to normalised rewards and normalised no more (App. B), as under max and sum.
TEST(MinMax, NoiseEntersAfterNormalisation) {
  const Game raw = raw_game({.seed = 5, .most_groups = 3, .most_outcomes = 6});
  const NoiseOptions options{.epsilon = 0.05, .draws = 40, .lies = 8};
  const NoiseStudy found = study_noise(make_game(raw).value(), options).value();
  const NoiseStudy hand = study_noise(by_hand(raw), options).value();
  EXPECT_NEAR(found.expected_loss.value, hand.expected_loss.value, 1e-12);
  EXPECT_NEAR(found.worst_loss, hand.worst_loss, 1e-12);
  EXPECT_LE(found.worst_loss, found.loss_bound);
  for (size_t i = 0; i < found.groups.size(); ++i) {
    const NoiseGroup& group = found.groups[i];
    EXPECT_NEAR(group.truthful_utility.value, hand.groups[i].truthful_utility.value, 1e-12);
    EXPECT_LE(group.expected_gain.value, group.gain_bound);
    EXPECT_GE(group.least_utility, -group.gain_bound);
    EXPECT_NE(group.best_lie, "");
  }
}

// ---------------------------------------------------------------- streamed and sharded

TEST(MinMax, StreamedGamesAgreeWithThoseInMemory) {
  static constexpr double kOrders[] = {-2, 0.3, 0.95, 1.3, 2.5};
  for (uint64_t seed = 0; seed < 400; ++seed) {
    SCOPED_TRACE(seed);
    Game raw = raw_game({.seed = seed,
                         .kind = static_cast<DivergenceKind>(seed % 8),
                         .alpha = kOrders[seed / 8 % 5],
                         .most_outcomes = seed % 10 == 0 ? 3000U : 40U});
    if (seed % 5 == 0) {
      for (double& value : raw.groups[0].reward) value += 1e6;  // far from 0, beside its own width
    }
    const Solution memory = solve(make_game(raw).value()).value();
    const StreamGame made = make_stream_game(view_of(raw), raw.normalization, 1).value();
    const Solution stream = solve_stream(made, 1).value();
    double scale = memory.divergence;
    for (const Report& group : raw.groups) scale += group.group_size;
    EXPECT_NEAR(stream.welfare, memory.welfare, 2e-12 * scale);
    EXPECT_NEAR(stream.divergence, memory.divergence, 2e-12 * scale);
    for (size_t i = 0; i < memory.groups.size(); ++i) {
      EXPECT_NEAR(stream.groups[i].valuation, memory.groups[i].valuation, 2e-12 * scale);
      EXPECT_NEAR(stream.groups[i].payment, memory.groups[i].payment, 2e-12 * scale);
    }
  }
}

TEST(MinMax, StreamedGamesRefuseAsThoseInMemory) {
  Game raw = raw_game({.seed = 4, .most_groups = 2, .most_outcomes = 40});
  raw.groups.resize(1);
  const auto error_of = [&] {
    const auto made = make_stream_game(view_of(raw), raw.normalization, 1);
    const auto held = make_game(raw);
    EXPECT_EQ(made.ok(), held.ok());
    EXPECT_EQ(made.error().message, held.error().message);
    return made.error().message;
  };
  raw.groups[0].reward.assign(raw.outcome_count(), -2.0);
  EXPECT_NE(error_of().find("has the reward -2 on every outcome"), std::string::npos);
  raw.groups[0].reward[0] = std::numeric_limits<double>::infinity();
  EXPECT_NE(error_of().find("groups[0].reward[0]: found inf"), std::string::npos);
}

// 600,000 outcomes are three segments; the extremes that normalise lie in different ones.
TEST(MinMax, ShardsGiveTheBitsOfOneMachine) {
  static constexpr size_t kOutcomes = 600000;
  Game raw;
  RandomStream random({.seed = 6, .stream = 3});
  for (size_t x = 0; x < kOutcomes; ++x) raw.initial.push_back(0.1 + random.uniform());
  for (int group = 0; group < 2; ++group) {
    Report& report = raw.groups.emplace_back();
    report.name = "g" + std::to_string(group);
    report.group_size = 1 + group;
    for (size_t x = 0; x < kOutcomes; ++x) report.reward.push_back(random.uniform() - 3);
    report.reward[10] = -4;
    report.reward[kOutcomes - 1] = 1;
  }
  for (const DivergenceKind kind :
       {DivergenceKind::kKl, DivergenceKind::kChi2, DivergenceKind::kTv, DivergenceKind::kJs}) {
    SCOPED_TRACE(divergence_name(kind));
    raw.divergence = {.kind = kind, .regularization = 0.4};
    const StreamGame view = view_of(raw);
    const StreamGame made = make_stream_game(view, Normalization::kMinMax, 2).value();
    const Solution whole = solve_stream(made, 2).value();
    StreamGame bare = view;
    bare.initial.f64 = nullptr;
    for (StreamGroup& group : bare.groups) group.reward.f64 = nullptr;
    PassHistory history;
    std::optional<Solution> solution;
    for (int round = 0; round < 40 && !solution.has_value(); ++round) {
      std::vector<Accumulator> parts;
      for (size_t shard = 0; shard < 3; ++shard) {
        parts.push_back(
            map_shard(view, Normalization::kMinMax, history, shard_segments(kOutcomes, shard, 3), 1)
                .value());
      }
      Reduced reduced =
          reduce_shards(bare, Normalization::kMinMax, std::move(history), parts).value();
      solution = std::move(reduced.solution);
      history = std::move(reduced.history);
    }
    ASSERT_TRUE(solution.has_value());
    EXPECT_EQ(solution->welfare, whole.welfare);
    for (size_t i = 0; i < 2; ++i) {
      EXPECT_EQ(solution->groups[i].valuation, whole.groups[i].valuation);
      EXPECT_EQ(solution->groups[i].payment, whole.groups[i].payment);
    }
  }
}

}  // namespace
}  // namespace candor
