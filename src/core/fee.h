#pragma once

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

// The utility of a type grows with its size and with every reward [ours: ASW* is a maximum of
// functions that do], so under max normalisation the infimum is at size 1 and reward 1 on one
// outcome alone; KL: min_x L log(1 + p_{-i}(x) (e^{1/L} - 1)). Under sum normalisation it is a
// convex problem, solved by its KKT system: p(x) = c where the type's reward is positive, >= c
// elsewhere; the error is its duality gap. Under `none` a group that values nothing has utility 0.
//
// Errors   kInvalidArgument: sum normalisation with tv or with candidates; min_max normalisation,
//          whose domain has no constant report that pays 0, so that Thm 4.11 does not apply.
// Cost     max: at worst one O(m) solve per outcome, most of which p_{-i}(x) <= u rules out.
Result<FeeRoom> fee_room(const Game& game, size_t group);

}  // namespace candor
