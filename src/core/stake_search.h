#pragma once

#include "core/lie_search.h"

namespace candor {

// Lies of a group that pays what it reports, over all distributions (family "stake"): the best
// stakes of stake_block.h, block by block, made into reports.
//
//   max    for a reported size w' the blocks separate but for one outcome somewhere that must carry
//          a stake of w' itself; sizes are climbed from 1 and from what the best stakes need
//   none   stakes are free
//   sum    stakes add to w': levels, cuts, single outcomes and the free optimum with the rest
//          heaped on one outcome, then transfers between two outcomes
//
// A search: what it finds is a lower bound. Nothing is done in games with candidates, which have
// linear programmes (reachable.h).
void try_stakes(LieSearch& search);

}  // namespace candor
