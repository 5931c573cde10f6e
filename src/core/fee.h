#pragma once

#include <string>

#include "base/result.h"
#include "core/game.h"

namespace candor {

// The room for a fee (NeurIPS Thm 4.11): p^AFF is the smallest non-negative DSIC payment, and a fee
// that depends on the others' reports only keeps DSIC; it keeps IR iff no type of the group has
// less utility under p^AFF than the fee.
struct FeeRoom {
  double largest = 0;  // inf_t u_i(t) over all types, size included (the infimum is at size 1)
  double error = 0;    // the infimum lies in [largest - error, largest]
  Report type;         // the type with that utility: a larger fee drives it away
};

// Ours: the KL payment, p_i = L log E_{p*} e^{-w_i (rm_i - v_i)/L}, leaves the group the utility
// w_i v_i - p_i = -L log E_{p*} e^{-w_i rm_i/L} = L log E_{p_{-i}} e^{w_i rm_i/L}. Hence
// Ours: the KL fee, largest = (1/B) min_x L log(1 + p_{-i}(x) (e^{1/L} - 1)) with B prompts: the
// utility of the type of size 1 that values x alone. It assumes
//   KL over all distributions     (no candidates: another f, or a menu, has another partition)
//   max normalisation             (a reward of 1 on one outcome and 0 elsewhere is a type)
//   sizes from 1 on               (a group of half an agent would be driven away by less)
// and nothing about the others, lambda or the group's own type. `why`: the assumption that fails.
struct FeeFormula {
  bool holds = false;
  std::string why;
  double largest = 0;  // where it holds
};
// REQUIRES: group < n. Cost: one solve without the group.
[[nodiscard]] FeeFormula kl_fee_formula(const Game& game, size_t group);

// The utility of a type grows with its size and with every reward [ours: ASW* is a maximum of
// functions that do], so under max normalisation the infimum is at size 1 and reward 1 on one
// outcome alone (of KL: kl_fee_formula). Under sum normalisation it is a convex problem, solved by
// its KKT system: p(x) = c where the type's reward is positive, >= c elsewhere; the error is its
// duality gap. Under `none` a group that values nothing has utility 0.
//
// Errors   kInvalidArgument: sum normalisation with tv or with candidates; min_max normalisation,
//          whose domain has no constant report that pays 0, so that Thm 4.11 does not apply.
// Cost     max: at worst one O(m) solve per outcome, most of which p_{-i}(x) <= u rules out.
Result<FeeRoom> fee_room(const Game& game, size_t group);

}  // namespace candor
