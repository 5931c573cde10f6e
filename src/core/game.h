#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "core/divergence.h"

namespace candor {

// How a reported reward is scaled before anything else (Sec. 2).
enum class Normalization {
  kMax,     // max over all outcomes = 1
  kSum,     // sum over all outcomes = 1
  kNone,    // as reported; must be >= 0
  kMinMax,  // (rm - min) / (max - min) over all outcomes (App. C.3): no constant reward is a report
};

// Whether a reward may be negative before it is normalised: only where its least value becomes 0.
[[nodiscard]] constexpr bool may_be_negative(Normalization normalization) {
  return normalization == Normalization::kMinMax;
}

// What a group sends: its reward on every outcome and its number of agents. Its type has the same
// shape.
struct Report {
  std::string name;
  double group_size = 1;       // w_i; a whole number in a game, any number > 0 inside a sweep
  std::vector<double> reward;  // [m], rm_i, >= 0
  // [m] or empty: the exactly normalised reward less `reward`, where normalising rounded. Whoever
  // changes `reward` clears it.
  std::vector<double> reward_rest = {};
};

// One RLHF game (Sec. 2) over m outcomes that fall into blocks (one per prompt at the sampled
// level; one block otherwise). Welfare, divergence, valuations and payments are means over blocks;
// within a block a model is a distribution.
struct Game {
  Divergence divergence;
  Normalization normalization = Normalization::kMax;
  std::vector<double> initial;                  // [m], > 0, sum 1 in each block
  std::vector<size_t> block_begin;              // [blocks + 1], offsets: 0, ..., m
  std::vector<Report> groups;                   // [n], n >= 1, rewards already normalised
  std::vector<std::vector<double>> candidates;  // [K][m] or empty: every distribution is allowed
  int64_t max_size = (int64_t{1} << 31) - 1;    // bounds sizes in deviations, w_max

  [[nodiscard]] size_t outcome_count() const { return initial.size(); }
  [[nodiscard]] size_t block_count() const { return block_begin.size() - 1; }
};

// Checks a game and brings it to normal form: rescales `initial` (and every candidate) to sum 1 in
// each block, normalises the rewards as declared. `block_begin` may be empty: one block.
//
// Errors   kInvalidArgument, naming the group or outcome: shapes differ, m < 1, n < 1, two groups
// of
//          one name, a size outside 1..max_size, a reward negative (but under min_max) or not
//          finite, an all-zero reward that must be normalised, a constant one under min_max,
//          initial <= 0 or not finite, lambda outside (0, inf), a candidate that is negative or
//          sums to 0 in a block.
Result<Game> make_game(Game raw);

// The error of a reward, from `low` to `high`, that min_max cannot normalise. `what` is its place.
[[nodiscard]] Error cannot_stretch(const std::string& what, const std::string& name, double low,
                                   double high);

// The place of the group of that name; the first one for an empty name.
// Errors: kInvalidArgument, naming the groups that there are.
Result<size_t> find_group(const Game& game, const std::string& name);

// The same game with group `group` reporting something else, taken as it is: whoever wants an
// admissible report normalises it first (sweeps use unclipped mixes, MATH 4).
// REQUIRES: group < n, reward has m finite values.
[[nodiscard]] Game with_report(const Game& game, size_t group, double group_size,
                               std::vector<double> reward);

// Brings a reward into the set of admissible reports of this game's normalisation: negative values
// become 0, then it is rescaled; under `none` values are bounded by the largest that the group has,
// or 1 (an unbounded report is not a type of any group that this mechanism knows); under min_max it
// is shifted and rescaled as the mechanism does with whatever is sent. False where it cannot be
// (all zero; under min_max: constant).
[[nodiscard]] bool make_admissible(const Game& game, size_t group, std::vector<double>& reward);

}  // namespace candor
