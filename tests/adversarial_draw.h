#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "exact_game.h"

namespace candor {

// The rows of the table of results: every law of MATH 2, alpha in bands.
[[nodiscard]] const std::vector<std::string>& adversarial_laws();

// A game near the limits of its law, from its seed alone: orders near 0, 1 and 2; lambda from 1e-8
// of the stakes to 1e4; sizes to 2^31 - 1; initial models over hundreds of orders of magnitude;
// rewards that nearly tie, are constant or equal across groups; opposed huge groups; outcomes at
// the edge of losing their mass. Law `seed % laws`.
struct AdversarialGame {
  size_t law = 0;  // of adversarial_laws()
  ExactGame game;
  // Outcome x of the large game stands for copies[x] outcomes (a power of two) of equal rewards
  // with equal shares of its mass; empty for a small game. The truth is the small game's.
  std::vector<size_t> copies;
  bool single = false;  // rewards are single-precision numbers: streamed as such
};
[[nodiscard]] AdversarialGame draw_adversarial(uint64_t seed);

// The same game with every outcome in its copies, side by side.
[[nodiscard]] ExactGame with_copies(const AdversarialGame& drawn);

}  // namespace candor
