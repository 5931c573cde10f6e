#pragma once

#include <cstdint>
#include <vector>

#include "core/implementability.h"

namespace candor {

// Looks for types of one group that close a negative cycle of lies (Def 3.4), beyond a grid of
// types that closes none. A local search, which can find a witness and can never prove that there
// is none.
//
// A report acts on its group's interest in models through the stake s = w rm, up to a constant. A
// cycle of two types has length <s_1 - s_2, p_1 - p_2>. Where a rule makes different models of two
// reports of one stake that is 0, and moving s_1 by -e d, d = p_1 - p_2, makes it
// -e <d, p_1(e) - p_2>: negative for small e where the rule is continuous, since p_1(e) - p_2 -> d
// [ours]. So the search starts at the pairs and triples, of the grid and drawn at random, where
// that move promises most, finds how short it must be, and then changes one type at a time as long
// as the length falls:
//
//   its reward, against its own model minus the one that the lie brings, or at random outcomes;
//   its size, at the same stake or at the same reward;
//
// with steps that are halved where none of them helps. Rewards are whole 1/10000 of the largest, so
// that a witness can be copied by hand; sizes are whole, up to max(64, 16 w), w the first type's,
// and the game's max_size.
struct CycleSearchOptions {
  int runs = 512;  // of the rule, at most
  uint64_t seed = 1;
};

struct CycleSearch {
  std::vector<TypeModel> cycle;  // the best found: two types or three; empty where none was tried
  int runs = 0;                  // of the rule
  int types = 0;                 // ... that it was defined for
};

// `grid` holds the models of the types to start from. Cost: `runs` runs of the rule. The result
// depends on the arguments alone. Errors: interruption; types that the rule refuses are passed
// over.
Result<CycleSearch> search_negative_cycle(const TrainingRule& rule, const Game& game, size_t group,
                                          const std::vector<TypeModel>& grid,
                                          const CycleSearchOptions& options);

}  // namespace candor
