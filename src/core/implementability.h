#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "core/rule.h"

namespace candor {

// The types that one group might have, each named for the reader, against fixed other reports.
struct TypeSpace {
  size_t group = 0;
  std::vector<Report> types;  // N >= 1, admissible; the first one is the truth where there is one
};

// The truth, other sizes, the constant reward, the other groups' mean, vertices, triples of one
// stake at different sizes, small changes and random rewards. All differ; N is `count` >= 1, less
// where the game has no more types to offer. A grid to start from: that no cycle of it is negative
// does not say that no types of the group close one (cycle_search.h looks further).
[[nodiscard]] TypeSpace default_types(const Game& game, size_t group, size_t count, uint64_t seed);

// The reward rm' with which a group of size `other` has the stake of (`reward`, `size`) up to a
// constant: other rm' = size rm + a constant, so both value every difference of models alike
// [ours]:
//
//   max    rm' = 1 - (1 - rm) size/other
//   sum    rm' = 1/m - (1/m - rm) size/other
//   none   rm' = rm size/other
//
// Nothing where that is no admissible reward (a smaller size may need negative ones).
[[nodiscard]] std::optional<std::vector<double>> equal_stake_reward(
    const Game& game, size_t group, const std::vector<double>& reward, double size, double other);

// A type as it is reported, and the model that the rule makes of that report.
struct TypeModel {
  Report type;
  TrainedModel trained;
};
// Errors: those of the rule, naming the type.
Result<TypeModel> train_type(const TrainingRule& rule, const Game& game, size_t group, Report type);

// What every type makes of every report (Sec. 3):
//   value[t][s] = w_t v(psi(type s); rm_t), the group's valuation by type t of the model that the
//   report of type s brings about.
struct ReportValues {
  std::vector<std::vector<double>> value;  // [N][N]
  // [N][N], bounds |value - exact|: w_t/2 (max rm_t - min rm_t) x TrainedModel::distance of the
  // model, and the rounding of the sum.
  std::vector<std::vector<double>> error;
};
[[nodiscard]] ReportValues values_of(const Game& game, const std::vector<TypeModel>& models);
// Cost: N runs of the rule. Errors: those of the rule, naming the type.
Result<std::vector<TypeModel>> train_types(const TrainingRule& rule, const Game& game,
                                           const TypeSpace& space);

inline constexpr size_t kMostTypes = 512;  // that a user may ask for

// Whether payments exist that make truth dominant on these types (Def 3.4), by Rochet's cycle
// monotonicity: with l(t', t) = value[t][t] - value[t][t'] on the edge t' -> t, payments exist iff
// no cycle is negative, and then p(t) - p(t') <= V(t', t), the length of the shortest path. It says
// nothing about types that are not among these.
struct Implementability {
  bool payments_exist = false;      // false: worst_cycle is a witness, negative beyond `tolerance`
  std::vector<size_t> worst_cycle;  // the cycle of least mean length: t_0 -> t_1 -> ... -> t_0
  double worst_cycle_length = 0;    // the sum of its edges
  double tolerance = 0;             // bounds the error of worst_cycle_length
  // Where payments exist; they meet every constraint within the errors of the values:
  std::vector<double> payments;  // [N], p(t) with p(0) = 0: the largest ones
  // [N], every payment that implements the exact values has p(t) - p(0) in [low, high], which the
  // errors of the values widen.
  std::vector<double> low;
  std::vector<double> high;
  double widest = 0;  // max over pairs of V(t,t') + V(t',t): 0 means unique up to a constant
};

// A witness is certain: an edge counts with the errors of its two values and its own rounding
// added, so only a cycle that is negative whatever they were is one.
//
// Source   Rochet 1987; Sun et al. 2025, Def 3.4 and App. E.
// Cost     O(N^3). REQUIRES: N >= 1; `error` has the shape of `value`.
[[nodiscard]] Implementability check_implementable(const std::vector<std::vector<double>>& value,
                                                   const std::vector<std::vector<double>>& error);

// What the group gains at most by a lie among these types when nobody pays, and when everybody pays
// the valuation that was reported.
[[nodiscard]] double gain_without_payments(const std::vector<std::vector<double>>& value);
[[nodiscard]] double gain_paying_report(const std::vector<std::vector<double>>& value);

// The path of the proof of Thm 3.6 (Lemma E.4) and Cor 3.7: rm -> rm* -> rm' in 2n edges and one
// change of size at the constant reward rm*. Its forward and backward lengths enclose every payment
// difference:
//   -backward <= p(to) - p(from) <= forward          where payments exist at all
// Ours: the 2n-step path needs no continuity. For ANY rule psi
//   forward + backward = (w/n) <theta* - theta, rm* - rm> + (w'/n) <theta' - theta'*, rm' - rm*>
// Proof. An edge t -> t' and its reverse cost <psi(t') - psi(t), w' rm' - w rm> together. On the
// first leg every edge has the same second factor, w (rm* - rm)/n, so the first ones telescope;
// likewise on the last. In between rm* = c is constant, and <theta'* - theta*, (w' - w) c> = 0
// because both models sum to 1. QED. Models and rewards are bounded, so the width is O(1/n): with
// Lemma E.4 EVERY implementable rule has payment equivalence under max or sum normalisation.
// Neither Condition 3.5 nor "psi(rm*, w) is the same for all w" (Thm 3.6) is needed: menus and tv
// included. Remark w = 1 (Sec. 3): where sizes are public (w = w') the step in between is absent,
// and this is the paper's remark that all implementable rules have payment equivalence then.
struct PaymentPath {
  int steps = 0;       // n
  double forward = 0;  // sum of l along the path
  double backward = 0;
  double predicted_width = 0;  // the right-hand side above
};
// Errors: those of the rule; min_max normalisation, which admits no constant reward.
// REQUIRES: steps >= 1, both types admissible.
Result<PaymentPath> payment_path(const TrainingRule& rule, const Game& game, size_t group,
                                 const Report& from, const Report& to, int steps);

// The constant reward of the game's normalisation: 1, or 1/m under sum normalisation; nothing under
// min_max, whose rewards take two values at least: there the argument of Thm 3.6 and Cor 3.7 fails,
// and payments are not unique (MATH 6).
[[nodiscard]] std::optional<std::vector<double>> constant_reward(const Game& game);

}  // namespace candor
