#include "core/shard.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/rng.h"

namespace candor {
namespace {

struct Columns {
  std::vector<double> initial;
  std::vector<std::vector<float>> rewards;
  StreamGame game;
};

// 600,000 outcomes are three segments.
Columns columns(DivergenceKind kind, double alpha, double strength, uint64_t seed) {
  static constexpr size_t kOutcomes = 600000;
  Columns out;
  RandomStream random({.seed = seed, .stream = 3});
  for (size_t x = 0; x < kOutcomes; ++x) out.initial.push_back(0.1 + random.uniform());
  for (int group = 0; group < 3; ++group) {
    std::vector<float>& row = out.rewards.emplace_back();
    for (size_t x = 0; x < kOutcomes; ++x) row.push_back(static_cast<float>(random.uniform()));
  }
  out.game.divergence = {.kind = kind, .regularization = strength, .alpha = alpha};
  out.game.initial = {.f64 = out.initial.data(), .size = kOutcomes};
  for (size_t i = 0; i < 3; ++i) {
    StreamGroup group;
    group.name = "g" + std::to_string(i);
    group.group_size = static_cast<double>(i + 1);
    group.reward = {.f32 = out.rewards[i].data(), .size = kOutcomes};
    out.game.groups.push_back(group);
  }
  return out;
}

// The game without its data, as whoever reduces has it.
StreamGame bare(StreamGame game) {
  game.initial.f64 = nullptr;
  for (StreamGroup& group : game.groups) group.reward.f32 = nullptr;
  return game;
}

struct Sharded {
  Solution solution;
  size_t rounds = 0;
};

Sharded solve_in_shards(const StreamGame& game, size_t shards) {
  PassHistory history;
  for (size_t round = 1; round < 100; ++round) {
    std::vector<Accumulator> parts;
    for (size_t shard = 0; shard < shards; ++shard) {
      const SegmentRange range = shard_segments(game.outcome_count(), shard, shards);
      parts.push_back(map_shard(game, Normalization::kMax, history, range, 1).value());
    }
    Reduced reduced =
        reduce_shards(bare(game), Normalization::kMax, std::move(history), parts).value();
    if (reduced.solution.has_value()) return {*reduced.solution, round};
    history = std::move(reduced.history);
  }
  ADD_FAILURE() << "no end";
  return {};
}

TEST(Shard, EveryNumberOfShardsGivesTheBitsOfOneMachine) {
  struct Case {
    DivergenceKind kind;
    double alpha, strength;
    size_t rounds;  // 0: whatever Newton takes
  };
  for (const Case& one : std::vector<Case>{{DivergenceKind::kKl, 2, 0.5, 2},
                                           {DivergenceKind::kChi2, 2, 20, 2},
                                           {DivergenceKind::kChi2, 2, 0.2, 0},
                                           {DivergenceKind::kJs, 2, 0.5, 0},
                                           {DivergenceKind::kJeffreys, 2, 0.5, 0},
                                           {DivergenceKind::kHellinger, 2, 0.5, 0},
                                           {DivergenceKind::kReverseKl, 2, 0.5, 0},
                                           {DivergenceKind::kAlpha, 1.5, 0.5, 0},
                                           {DivergenceKind::kAlpha, 3, 0.5, 0},
                                           {DivergenceKind::kTv, 2, 0.4, 3}}) {
    SCOPED_TRACE(divergence_name(one.kind));
    const Columns data = columns(one.kind, one.alpha, one.strength, 5);
    const Solution whole =
        solve_stream(make_stream_game(data.game, Normalization::kMax, 2).value(), 2).value();
    for (const size_t shards : {size_t{2}, size_t{7}}) {
      const Sharded found = solve_in_shards(data.game, shards);
      EXPECT_EQ(found.solution.welfare, whole.welfare);
      EXPECT_EQ(found.solution.divergence, whole.divergence);
      EXPECT_EQ(found.solution.gap(), whole.gap());
      EXPECT_EQ(found.solution.reads, whole.reads);
      for (size_t i = 0; i < 3; ++i) {
        EXPECT_EQ(found.solution.groups[i].payment, whole.groups[i].payment);
        EXPECT_EQ(found.solution.groups[i].valuation, whole.groups[i].valuation);
      }
      if (one.rounds > 0) {
        EXPECT_EQ(found.rounds, one.rounds);
      }
      EXPECT_LE(found.rounds, 12U);
    }
  }
}

TEST(Shard, WhatDoesNotBelongTogetherIsRefused) {
  const Columns data = columns(DivergenceKind::kKl, 2, 0.5, 5);
  const auto map = [&](size_t shard) {
    return map_shard(data.game, Normalization::kMax, {}, shard_segments(600000, shard, 3), 1)
        .value();
  };
  const Accumulator first = map(0);
  const auto refused = [&](const std::vector<Accumulator>& parts, const PassHistory& history) {
    const auto out = reduce_shards(bare(data.game), Normalization::kMax, history, parts);
    EXPECT_FALSE(out.ok());
    return out.ok() ? "" : out.error().message;
  };
  EXPECT_NE(refused({first, map(1)}, {}).find("segment 2 of 3 is missing"), std::string::npos);
  EXPECT_NE(refused({first, first, map(1), map(2)}, {}).find("comes twice"), std::string::npos);
  Accumulator other = map(1);
  other.pass = "kl";
  EXPECT_NE(refused({first, other, map(2)}, {}).find("two passes"), std::string::npos);
  Accumulator broken = map(1);
  broken.parts[0].pop_back();
  EXPECT_NE(refused({first, broken, map(2)}, {}).find("has 23 numbers"), std::string::npos);
  broken = map(1);
  broken.parts[0][0] = std::nan("");
  EXPECT_NE(refused({first, broken, map(2)}, {}).find("not finite"), std::string::npos);
  // An outcome's index comes from outside: it is one.
  const Columns tv = columns(DivergenceKind::kTv, 2, 0.5, 5);
  const SegmentRange all{0, 3};
  PassHistory history;
  for (int round = 0; round < 8; ++round) {
    const auto part = map_shard(tv.game, Normalization::kMax, history, all, 1).value();
    if (part.pass == "top") {
      for (const double index : {-1.0, 0.5, 600000.0, 1e300}) {
        Accumulator wrong = part;
        wrong.parts[1][3] = index;
        const auto out = reduce_shards(bare(tv.game), Normalization::kMax, history, {wrong});
        ASSERT_FALSE(out.ok()) << index;
        EXPECT_NE(out.error().message.find("expected one of 600000 outcomes"), std::string::npos);
      }
      break;
    }
    history.push_back({part.pass, part.parts});
    ASSERT_LT(round, 7) << "no pass looks for the top outcome";
  }
  Columns negative = columns(DivergenceKind::kKl, 2, 0.5, 5);
  negative.rewards[1][300000] = -1;
  const auto bad = map_shard(negative.game, Normalization::kMax, {}, {1, 2}, 1);
  ASSERT_FALSE(bad.ok());
  EXPECT_NE(bad.error().message.find("groups[1].reward[300000]: found -1"), std::string::npos);
  EXPECT_TRUE(map_shard(negative.game, Normalization::kMax, {}, {0, 1}, 1).ok());
}

}  // namespace
}  // namespace candor
