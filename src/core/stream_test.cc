#include "core/stream.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>

#include "base/rng.h"
#include "core/test_games.h"

namespace candor {
namespace {

Solution streamed(const Game& game, int threads = 1) {
  const Result<StreamGame> made = make_stream_game(view_of(game), game.normalization);
  EXPECT_TRUE(made.ok());
  const Result<Solution> solution = solve_stream(made.value(), threads);
  EXPECT_TRUE(solution.ok());
  return solution.value();
}

void expect_same(const Solution& stream, const Solution& memory, double tolerance) {
  double scale = memory.divergence;
  for (const GroupOutcome& group : memory.groups) scale += std::abs(group.valuation);
  ASSERT_NEAR(stream.welfare, memory.welfare, tolerance * scale);
  ASSERT_NEAR(stream.divergence, memory.divergence, tolerance * scale);
  for (size_t i = 0; i < memory.groups.size(); ++i) {
    const GroupOutcome& a = stream.groups[i];
    const GroupOutcome& b = memory.groups[i];
    ASSERT_NEAR(a.valuation, b.valuation, tolerance * scale);
    ASSERT_NEAR(a.payment, b.payment, tolerance * scale);
    ASSERT_LE(std::abs(a.payment - b.payment),
              a.payment_error() + b.payment_error() + 1e-13 * scale);
    ASSERT_NEAR(a.welfare_without, b.welfare_without, 2 * tolerance * scale);
  }
}

// Every divergence against the solver that keeps everything in memory.
TEST(Stream, AgreesWithTheSolverInMemory) {
  static constexpr double kOrders[] = {-2, 0.3, 0.95, 1.3, 2.5};
  for (uint64_t seed = 0; seed < 1600; ++seed) {
    SCOPED_TRACE(seed);
    const auto kind = static_cast<DivergenceKind>(seed % 8);
    Game game = random_game({.seed = seed,
                             .kind = kind,
                             .alpha = kOrders[seed / 8 % 5],
                             .most_outcomes = seed % 10 == 0 ? 3000U : 40U});
    if (seed % 3 == 0) game.normalization = Normalization::kNone;
    expect_same(streamed(game), solve(game).value(), 2e-12);
  }
}

Game large_game(Divergence divergence, size_t outcomes) {
  Game game;
  game.divergence = divergence;
  RandomStream random({.seed = 7, .stream = 1});
  for (size_t x = 0; x < outcomes; ++x) game.initial.push_back(0.1 + random.uniform());
  for (size_t i = 0; i < 3; ++i) {
    Report report{.name = "g" + std::to_string(i),
                  .group_size = 1.0 + 2.0 * static_cast<double>(i),
                  .reward = {}};
    for (size_t x = 0; x < outcomes; ++x) report.reward.push_back(random.uniform());
    game.groups.push_back(std::move(report));
  }
  return make_game(game).value();
}

// A top outcome of almost no probability, outcomes about to be clipped, sizes up to 2^31 and
// normalisation by a sum: as near as in memory, and the two enclosures meet.
TEST(Stream, ExtremeGamesConverge) {
  const Divergence divergences[] = {
      {DivergenceKind::kKl, 0.02, 2},    {DivergenceKind::kChi2, 0.0127, 2},
      {DivergenceKind::kJs, 2, 2},       {DivergenceKind::kAlpha, 3, -2},
      {DivergenceKind::kAlpha, 0.5, 10}, {DivergenceKind::kAlpha, 0.1, 1.3}};
  for (const Divergence& divergence : divergences) {
    for (const double size : {3.0, 299641.0}) {
      Game game;
      game.divergence = divergence;
      game.normalization = Normalization::kSum;
      game.initial = {1e-300, 0.3, 0.5, 0.2};
      game.groups.push_back({.name = "a", .group_size = size, .reward = {1, 0.3, 0.3, 0.7}});
      game.groups.push_back({.name = "b", .group_size = 2, .reward = {0.9, 0.1, 0.8, 0.2}});
      game = make_game(game).value();
      SCOPED_TRACE(divergence_name(divergence.kind) + " " + std::to_string(divergence.alpha) + " " +
                   std::to_string(size));
      const Solution memory = solve(game).value();
      const Solution stream = streamed(game);
      EXPECT_TRUE(memory.converged);
      EXPECT_TRUE(stream.converged);
      for (size_t i = 0; i < 2; ++i) {
        const Enclosure met =
            both(memory.groups[i].payment_enclosure, stream.groups[i].payment_enclosure);
        EXPECT_LE(met.low, met.high);
      }
    }
  }
}

// Several segments, a padded last chunk; the same bits for any number of threads.
TEST(Stream, SegmentsAndThreads) {
  for (const Divergence& divergence :
       {Divergence{DivergenceKind::kKl, 1, 2}, Divergence{DivergenceKind::kChi2, 20, 2},
        Divergence{DivergenceKind::kChi2, 0.5, 2}, Divergence{DivergenceKind::kJs, 2, 2},
        Divergence{DivergenceKind::kTv, 0.7, 2}}) {
    const Game game = large_game(divergence, 600'001);
    const Solution one = streamed(game, 1);
    expect_same(one, solve(game).value(), 1e-12);
    const Solution three = streamed(game, 3);
    EXPECT_EQ(one.welfare, three.welfare);
    for (size_t i = 0; i < one.groups.size(); ++i) {
      EXPECT_EQ(one.groups[i].payment, three.groups[i].payment);
    }
    const bool quadratic = divergence.kind != DivergenceKind::kJs;
    EXPECT_LE(one.reads, quadratic ? 5 : 8) << divergence_name(divergence.kind);
  }
  EXPECT_EQ(streamed(large_game({DivergenceKind::kKl, 1, 2}, 5000)).reads, 1);
  EXPECT_EQ(streamed(large_game({DivergenceKind::kChi2, 20, 2}, 5000)).reads, 1);
}

// Stakes of 190 lambda, a model that concentrates on few outcomes: the first chunk's centres are
// far off, and a second read is needed and taken.
TEST(Stream, CoarseCentresTakeASecondRead) {
  const Game game = random_game({.seed = 1320, .most_outcomes = 3000});
  const Solution stream = streamed(game);
  EXPECT_EQ(stream.reads, 2);
  for (const GroupOutcome& group : stream.groups) EXPECT_LT(group.payment_error(), 1e-10);
  expect_same(stream, solve(game).value(), 2e-12);
}

TEST(Stream, SmallPaymentsKeepTheirDigits) {
  for (const double strength : {1e2, 1e5, 1e8}) {
    const Game game = large_game({DivergenceKind::kKl, strength, 2}, 20'000);
    const Solution memory = solve(game).value();
    const Solution stream = streamed(game);
    for (size_t i = 0; i < memory.groups.size(); ++i) {
      EXPECT_NEAR(stream.groups[i].payment / memory.groups[i].payment, 1, 1e-11) << strength;
    }
  }
}

// Nearly all mass lies where the pilot centre, taken from the first outcomes, is not: the shift
// from one to the other is small beside lambda and large beside the payment.
TEST(Stream, CentresFarFromTheMass) {
  for (const double strength : {300.0, 3e3, 3e4, 3e6}) {
    Game game = large_game({DivergenceKind::kKl, strength, 2}, 5000);
    for (size_t x = 0; x < game.initial.size(); ++x) game.initial[x] = x < 4990 ? 1e-9 : 1;
    for (Report& group : game.groups) group.reward_rest.clear();
    game = make_game(game).value();
    const Solution memory = solve(game).value();
    const Solution stream = streamed(game);
    for (size_t i = 0; i < memory.groups.size(); ++i) {
      EXPECT_NEAR(stream.groups[i].payment / memory.groups[i].payment, 1, 1e-10) << strength;
      EXPECT_TRUE(stream.groups[i].payment_enclosure.contains(memory.groups[i].payment));
    }
  }
}

TEST(Stream, WideStakes) {
  const Game game = large_game({DivergenceKind::kKl, 0.002, 2}, 3000);
  const Solution stream = streamed(game);
  expect_same(stream, solve(game).value(), 1e-11);
}

TEST(Stream, SinglePrecisionColumns) {
  const Game game = large_game({DivergenceKind::kKl, 1, 2}, 2000);
  std::vector<std::vector<float>> columns;
  Game rounded = game;
  StreamGame view = view_of(game);
  columns.reserve(game.groups.size());
  for (size_t i = 0; i < game.groups.size(); ++i) {
    columns.emplace_back(game.groups[i].reward.begin(), game.groups[i].reward.end());
    rounded.groups[i].reward.assign(columns[i].begin(), columns[i].end());
    view.groups[i].reward = {.f64 = nullptr, .f32 = columns[i].data(), .size = columns[i].size()};
  }
  const StreamGame made = make_stream_game(view, Normalization::kMax).value();
  expect_same(solve_stream(made).value(), solve(rounded).value(), 1e-12);
}

TEST(Stream, Refuses) {
  const auto error_of = [](Game game, size_t at, double value) {
    game.groups[1].reward[at] = value;
    const Result<StreamGame> made = make_stream_game(view_of(game), Normalization::kMax);
    return made.ok() ? std::string() : made.error().message;
  };
  const Game game = large_game({DivergenceKind::kKl, 1, 2}, 700);
  EXPECT_EQ(error_of(game, 3, 0.5), "");
  EXPECT_NE(error_of(game, 699, std::numeric_limits<double>::quiet_NaN())
                .find("groups[1].reward[699]: found nan"),
            std::string::npos);
  EXPECT_NE(error_of(game, 5, -1).find("groups[1].reward[5]: found -1"), std::string::npos);
  Game zero = game;
  zero.initial[9] = 0;
  EXPECT_NE(make_stream_game(view_of(zero), Normalization::kMax).error().message.find("initial[9]"),
            std::string::npos);
}

}  // namespace
}  // namespace candor
