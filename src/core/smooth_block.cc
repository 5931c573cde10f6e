#include <algorithm>
#include <variant>

#include "core/block_parts.h"
#include "core/divergence_law.h"
#include "core/dual_problem.h"
#include "core/law_payment.h"

namespace candor {

namespace {

// The law with its slopes measured from where this problem has them.
template <typename Law>
Law law_for(const Block& block, const Drops& drops) {
  double top_mass = 0;
  for (size_t x = 0; x < block.outcome_count(); ++x) {
    if (drops.below[x] == 0) top_mass += block.initial[x];
  }
  const Anchor anchor =
      anchor_for(block.divergence, *std::ranges::max_element(drops.below), 1 / top_mass);
  return std::get<Law>(law_of(block.divergence, anchor));
}

template <typename Law>
DualSolution solve_problem(const Law& law, const Block& block, const TotalReward& reward,
                           const Drops& drops) {
  return DualProblem<Law>(law, block.initial, drops, block.divergence.regularization,
                          reward.drop_error())
      .solve();
}

template <typename Law>
BlockSolution solve_with(const Block& block, Scope scope) {
  const TotalReward reward(block);
  Drops drops;
  reward.everyone(drops);
  const DualSolution full = solve_problem(law_for<Law>(block, drops), block, reward, drops);
  BlockSolution out;
  out.reads = full.reads;
  out.allocation = model_of(block.initial, full.points);
  const auto solve_without = [&](size_t group, const Drops& others) {
    const Law law = law_for<Law>(block, others);
    const DualSolution without = solve_problem(law, block, reward, others);
    const typename LawPayment<Law>::Pair pair{.initial = block.initial,
                                              .rewards = block.rewards[group],
                                              .size = block.sizes[group],
                                              .chosen = full.points,
                                              .other = without.points,
                                              .below = others.below,
                                              .depth = without.depth};
    out.reads = std::max(out.reads, without.reads);
    return LeftOut{without.optimum,
                   reward.stake_range(group) > 0 ? LawPayment<Law>(law, pair).value() : 0};
  };
  conclude({block, reward, drops, full.optimum, full.model_error}, scope, solve_without, out);
  return out;
}

}  // namespace

BlockSolution solve_smooth(const Block& block, Scope scope) {
  return std::visit(
      [&](const auto& law) { return solve_with<std::decay_t<decltype(law)>>(block, scope); },
      law_of(block.divergence));
}

}  // namespace candor
