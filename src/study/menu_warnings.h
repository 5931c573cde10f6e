#pragma once

#include "study/menu_results.h"

namespace candor {

// What a reader of the results must know, as texts: an array.
Result<Json> menu_warnings(const MenuPipeline& pipeline, const MenuRun& run,
                           const MenuResults& results);

}  // namespace candor
