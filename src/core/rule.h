#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "core/game.h"

namespace candor {

// What a training rule makes of the reports.
struct TrainedModel {
  std::vector<double> model;  // [m], sum 1 in each block
  double gap = 0;             // how far its objective may be from the rule's maximum
  // Bounds the L1 distance from the model that the rule defines, mean over blocks; 0: exact.
  double distance = 0;
};

// A training rule psi (Sec. 3): reports in, one model out. Derive from it to put a rule of your own
// through the laboratory (implementability.h): no payment is known here, only the choice.
class TrainingRule {
 public:
  TrainingRule() = default;
  virtual ~TrainingRule() = default;
  TrainingRule(const TrainingRule&) = delete;
  TrainingRule& operator=(const TrainingRule&) = delete;

  [[nodiscard]] virtual std::string name() const = 0;
  // Must depend on `game` alone: the same reports give the same model.
  // Errors: kInvalidArgument where the rule is not defined for these reports.
  [[nodiscard]] virtual Result<TrainedModel> train(const Game& game) const = 0;
  // Why some payments make truth dominant for EVERY type of `group`, the others' reports being
  // those of `game`: one sentence. Nothing where no proof is known.
  [[nodiscard]] virtual std::optional<std::string> proof(const Game& game, size_t group) const {
    (void)game;
    (void)group;
    return std::nullopt;
  }
};

// The rules of MATH 6, by name:
//
//   sw_max              argmax_p sum_i w_i v_i(p) - D(p)          (Def 3.1)
//   max_min             argmax_p min_i v_i(p) - D(p)
//   nash                argmax_p sum_i w_i log v_i(p) - D(p)
//   mean_of_optima      the size-weighted mean of the groups' own optimal models
//   median_of_optima    their size-weighted median outcome by outcome, rescaled to sum 1
//   uniform_mixture     their plain mean
//   dictatorship[:NAME] the optimal model of one group (the first where no name is given)
//
// A group's own optimum is argmax_p w_i v_i(p) - D(p). With candidates the three argmax rules
// choose among them (ties: MATH 1 for sw_max, the lower index for the others) and optima are the
// groups' best candidates; a mean of candidates need not be one.
//
// max_min and nash maximise a concave function of the valuations: Newton on its dual over group
// weights a, where p(a) is the SW-Max model of sizes a; `gap` is the duality gap.
//
// `proof` is known for sw_max, uniform_mixture and dictatorship, and for mean and median where the
// group is alone [Rochet 1987; the cases ours]: with the stake s = w rm, the valuation of a model p
// is <s, p>, and the rule chooses a subgradient of a convex function U of s:
//
//   sw_max            U(s) = max_p <s, p> + sum_{j != i} w_j v_j(p) - D(p), a maximum of affine
//                     functions; the payment <s, p> - U(s) + a constant is p^AFF (Thm 3.3)
//   dictatorship      U(s) = max_p <s, p> - D(p) for the dictator, <s, p> with a fixed p for others
//   uniform_mixture   1/n of the former plus <s, the others' share of the model>
//
// Then a cycle of lies has length >= sum U(s_k) - U(s_k) = 0, with and without candidates,
// whichever of several maxima is taken.
//
// Errors   kInvalidArgument: no such rule; (train) no such dictator; max_min or nash under tv,
// whose
//          optimum is not unique; nash with a group that values nothing.
// Cost     sw_max O(nm); max_min and nash some 20 to 200 times that.
Result<std::unique_ptr<TrainingRule>> make_training_rule(const std::string& name);
[[nodiscard]] const std::vector<std::string>& training_rule_names();

// A rule known by what it chooses for some types of one group, the others' reports being fixed.
struct RuleRow {
  Report type;                // as it is compared: normalised
  std::vector<double> model;  // [m]
};
// Errors (train): the group's report is none of the rows' types.
[[nodiscard]] std::unique_ptr<TrainingRule> make_table_rule(std::string name, size_t group,
                                                            std::vector<RuleRow> rows);

// The SW-Max model of the groups with per-agent weights in place of sizes, over all distributions.
[[nodiscard]] std::vector<double> weighted_optimum(const Game& game,
                                                   const std::vector<double>& weights);

}  // namespace candor
