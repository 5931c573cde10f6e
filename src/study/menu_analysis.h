#pragma once

#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "study/menu_table.h"

namespace candor {

// What a menu run says beyond its prices. Each function returns JSON for the run directory
// (docs/formats.md); figures are in welfare units (reward x agents).

// sweeps/1 of one settlement: exact pieces of both sweeps, the clipped points beside them, and the
// winning intervals of lambda.
Result<Json> menu_sweeps(const Study& study, const MenuTable& menu, const MenuSettlement& settled);

// The rules one could use instead, on the same table, with welfare, fairness and what lying gains;
// SW-Max with its payments first, per-prompt re-weighting of the initial model's replies last.
Result<Json> menu_baselines(const MenuPipeline& pipeline, const MenuTable& menu,
                            const MenuSettlement& settled);

// The sampled level on the initial model's replies of the same bank (what `quote` would have said
// before any training) beside what was settled. Null where the menu holds no initial model.
Result<Json> predicted_and_realised(const MenuPipeline& pipeline, const MenuTable& menu,
                                    const MenuSettlement& settled);

// Leave-one-out, checkpoint and early-stop prices of the trained models beside the menu's own
// (MATH 8), and the welfare that soups and mixtures leave to direct training. Empty array where
// nothing was trained on several rewards.
[[nodiscard]] Json shortcut_prices(const MenuPipeline& pipeline, const MenuRun& run,
                                   const MenuTable& menu);

// The gain from each misreport of the study when the experts are trained anew, beside the same lie
// on the truthful menu (never above 0), both with a bootstrap interval over prompts.
Result<Json> menu_dependence(const MenuPipeline& pipeline, const MenuRun& run,
                             const MenuTable& menu);

// Checks of this table against itself: each {"name", "passed", "detail"}.
[[nodiscard]] Json menu_self_tests(const MenuPipeline& pipeline, const MenuRun& run,
                                   const MenuTable& menu,
                                   const std::vector<MenuSettlement>& settlements);

// The first candidate of the menu that is a soup of equal weights; K where none is.
[[nodiscard]] size_t uniform_soup(const std::vector<MenuCandidate>& candidates,
                                  const MenuTable& menu);

}  // namespace candor
