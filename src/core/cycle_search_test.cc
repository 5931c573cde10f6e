#include "core/cycle_search.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <cstdlib>

#include "core/lab.h"
#include "core/solution.h"
#include "core/test_games.h"

namespace candor {
namespace {

// Four outcomes, two or three groups of 1 to 6 agents, kl with lambda 1.
Game small_game(uint64_t seed) {
  RandomStream random({.seed = seed, .stream = 31});
  Game game;
  for (int x = 0; x < 4; ++x) game.initial.push_back(0.05 - std::log1p(-random.uniform()));
  const size_t n = 2 + random.below(2);
  for (size_t i = 0; i < n; ++i) {
    Report& group = game.groups.emplace_back();
    group.name = "g" + std::to_string(i);
    group.group_size = static_cast<double>(1 + random.below(6));
    for (int x = 0; x < 4; ++x) group.reward.push_back(random.uniform());
  }
  return make_game(game).value();
}

RuleStudy study(const std::string& name, const Game& game, std::vector<Report> types = {},
                int search_runs = 512) {
  const auto rule = make_training_rule(name).value();
  return run_laboratory(game, 0, {rule.get()}, std::move(types),
                        {.search_runs = search_runs, .largest_steps = 1})
      .value()
      .rules.at(0);
}

// The length of a cycle of types from the definition, models trained anew.
double length_of(const std::string& name, const Game& game, const std::vector<Report>& types) {
  const auto rule = make_training_rule(name).value();
  double length = 0;
  for (size_t i = 0; i < types.size(); ++i) {
    const Report& from = types[i];
    const Report& to = types[(i + 1) % types.size()];
    const auto model = [&](const Report& type) {
      return rule->train(with_report(game, 0, type.group_size, type.reward))->model;
    };
    length += group_valuation(game, to, model(to)) - group_valuation(game, to, model(from));
  }
  return length;
}

// Rules that are provably not implementable. CANDOR_LAB_GAMES=60 prints the figures of more games.
TEST(CycleSearch, FindsTheWitnessThatTheGridMisses) {
  const char* asked = std::getenv("CANDOR_LAB_GAMES");
  const int games = asked == nullptr ? 6 : std::atoi(asked);
  for (const char* name : {"nash", "mean_of_optima", "median_of_optima", "max_min"}) {
    int grid = 0;
    int found = 0;
    const auto start = std::chrono::steady_clock::now();
    for (uint64_t seed = 1; seed <= static_cast<uint64_t>(games); ++seed) {
      const Game game = small_game(seed);
      grid += study(name, game, {}, 0).verdict == Verdict::kNo ? 1 : 0;
      const RuleStudy result = study(name, game);
      found += result.verdict == Verdict::kNo ? 1 : 0;
      EXPECT_LE(result.rule_runs, 24 + 512);
      if (result.verdict != Verdict::kNo) continue;
      EXPECT_EQ(result.implementable(), false);
      EXPECT_LT(result.incentives.worst_cycle_length, -result.incentives.tolerance);
      const std::vector<Report> witness = result.worst_cycle_types();
      EXPECT_NEAR(length_of(name, game, witness), result.incentives.worst_cycle_length, 1e-9);
      EXPECT_EQ(study(name, game, witness).verdict, Verdict::kNo) << name << " seed " << seed;
    }
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    std::printf("%-16s witness on the grid %d, with the search %d of %d games, %.1f s\n", name,
                grid, found, games, took.count());
    EXPECT_EQ(found, games) << name;
  }
}

// Two reports of one stake: no difference of models is worth more to one than to the other.
TEST(CycleSearch, DefaultTypesHoldTriplesOfOneStake) {
  for (const Normalization normalization :
       {Normalization::kMax, Normalization::kSum, Normalization::kNone}) {
    Game raw = small_game(5);
    raw.normalization = normalization;
    const Game game = make_game(raw).value();
    const TypeSpace space = default_types(game, 0, 24, 1);
    EXPECT_EQ(space.types.size(), 24U);
    int triples = 0;
    for (size_t a = 0; a < 24; ++a) {
      int twins = 0;
      for (size_t b = 0; b < a; ++b) {
        const Report& left = space.types[a];
        const Report& right = space.types[b];
        double low = 1e300;
        double high = -1e300;
        for (size_t x = 0; x < 4; ++x) {
          const double difference =
              left.group_size * left.reward[x] - right.group_size * right.reward[x];
          low = std::min(low, difference);
          high = std::max(high, difference);
        }
        if (high - low < 1e-12 && left.group_size != right.group_size) ++twins;
      }
      if (twins >= 2) ++triples;
    }
    EXPECT_GE(triples, 3) << static_cast<int>(normalization);
  }
}

TEST(CycleSearch, KeepsToItsBudgetAndToItsSeed) {
  const Game game = small_game(3);
  const auto rule = make_training_rule("sw_max").value();  // no witness to stop at
  const auto grid = train_types(*rule, game, default_types(game, 0, 12, 1)).value();
  for (const int runs : {1, 7, 100}) {
    const CycleSearch once = search_negative_cycle(*rule, game, 0, grid, {.runs = runs}).value();
    const CycleSearch again = search_negative_cycle(*rule, game, 0, grid, {.runs = runs}).value();
    EXPECT_LE(once.runs, runs);
    EXPECT_LE(once.types, once.runs);
    ASSERT_EQ(once.cycle.size(), again.cycle.size());
    for (size_t i = 0; i < once.cycle.size(); ++i) {
      EXPECT_EQ(once.cycle[i].type.reward, again.cycle[i].type.reward);
    }
  }
}

// What is implementable is never broken: the search works on sw_max, whose proof it does not see.
TEST(CycleSearch, FindsNothingWhereThereIsNothing) {
  for (uint64_t seed = 1; seed <= 16; ++seed) {
    Game raw = random_game({.seed = seed, .kind = static_cast<DivergenceKind>(seed % 8)});
    raw.normalization = static_cast<Normalization>(seed % 3);
    if (seed % 4 == 0) {
      raw.candidates.assign(3, raw.initial);
      for (size_t k = 0; k < 3; ++k) raw.candidates[k][0] += static_cast<double>(k);
    }
    const Game game = make_game(raw).value();
    for (const char* name : {"sw_max", "uniform_mixture", "dictatorship"}) {
      const auto rule = make_training_rule(name).value();
      ASSERT_TRUE(rule->proof(game, 0).has_value());
      const auto grid = train_types(*rule, game, default_types(game, 0, 24, seed)).value();
      const CycleSearch search = search_negative_cycle(*rule, game, 0, grid, {}).value();
      EXPECT_GT(search.runs, 0);
      const ReportValues values = values_of(game, search.cycle);
      EXPECT_TRUE(check_implementable(values.value, values.error).payments_exist)
          << name << " seed " << seed;
    }
  }
}

// The convex potential of a proof, checked as what it is: U(s') - U(s) >= <s' - s, p(s)>.
TEST(Verdict, ThePotentialOfSwMaxIsConvexWithTheModelAsSubgradient) {
  for (uint64_t seed = 1; seed <= 24; ++seed) {
    Game game = random_game({.seed = seed, .kind = static_cast<DivergenceKind>(seed % 8)});
    if (seed % 3 == 0) {
      game.candidates.assign(4, game.initial);
      for (size_t k = 0; k < 4; ++k) game.candidates[k][k % game.outcome_count()] += 0.5;
      game = make_game(game).value();
    }
    const TypeSpace space = default_types(game, 0, 16, seed);
    const auto rule = make_training_rule("sw_max").value();
    for (const Report& from : space.types) {
      const Game at = with_report(game, 0, from.group_size, from.reward);
      const std::vector<double> model = rule->train(at)->model;
      const double potential = solve(at)->welfare;  // U is the welfare as the stake varies
      for (const Report& to : space.types) {
        const double other = solve(with_report(game, 0, to.group_size, to.reward))->welfare;
        const double slope = group_valuation(game, to, model) - group_valuation(game, from, model);
        EXPECT_GE(other - potential, slope - 1e-9 * (1 + std::abs(other))) << "seed " << seed;
      }
    }
  }
}

TEST(Verdict, SaysWhatIsProvedWhatIsRefutedAndWhatIsNeither) {
  const Game game = small_game(1);
  for (const char* name : {"sw_max", "uniform_mixture", "dictatorship", "dictatorship:g1"}) {
    const RuleStudy found = study(name, game);
    EXPECT_EQ(found.verdict, Verdict::kProved) << name;
    EXPECT_EQ(found.implementable(), true);
    EXPECT_EQ(found.rule_runs, 24) << "a proof needs no search";
    EXPECT_FALSE(found.paths.empty());
  }
  const RuleStudy no = study("max_min", game);
  EXPECT_EQ(no.verdict, Verdict::kNo);
  EXPECT_TRUE(no.paths.empty() && no.incentives.low.empty());
  EXPECT_NE(no.no_path.find("no payments"), std::string::npos);
  // Types that are given are looked at, and no others.
  const RuleStudy given = study("max_min", game, {game.groups[0]});
  EXPECT_EQ(given.verdict, Verdict::kNoneFound);
  EXPECT_EQ(given.implementable(), std::nullopt);
  EXPECT_EQ(given.rule_runs, 1);
  EXPECT_EQ(given.types_searched, 1);
  // Alone, a group gets its own optimum from the mean and the median: an affine maximizer.
  Game alone = game;
  alone.groups.resize(1);
  EXPECT_EQ(study("mean_of_optima", alone).verdict, Verdict::kProved);
  EXPECT_EQ(study("median_of_optima", alone).verdict, Verdict::kProved);
  EXPECT_EQ(study("nash", alone).verdict, Verdict::kNo);
}

// A rule that leans a little against the group's stake, by less than its own error: no witness.
class Wobbly : public TrainingRule {
 public:
  explicit Wobbly(double distance) : distance_(distance) {}
  [[nodiscard]] std::string name() const override { return "wobbly"; }
  [[nodiscard]] Result<TrainedModel> train(const Game& game) const override {
    const double lean = 1e-6 * (game.groups[0].reward[0] > game.groups[0].reward[1] ? -1 : 1);
    TrainedModel out{.model = game.initial, .gap = 0, .distance = distance_};
    out.model[0] += lean;
    out.model[1] -= lean;
    return out;
  }

 private:
  double distance_;
};

TEST(Verdict, NoIsSaidOnlyBeyondTheRulesOwnError) {
  const Game game = small_game(2);
  const auto verdict = [&](double distance) {
    const Wobbly rule(distance);
    return run_laboratory(game, 0, {&rule}, {}, {.largest_steps = 1})->rules.at(0).verdict;
  };
  EXPECT_EQ(verdict(0), Verdict::kNo);
  EXPECT_EQ(verdict(1e-7), Verdict::kNo);
  EXPECT_EQ(verdict(4.1e-6), Verdict::kNoneFound);  // the two models differ by 4e-6 in L1
}

}  // namespace
}  // namespace candor
