#pragma once

#include "base/json.h"
#include "core/divergence.h"

namespace candor {

// The field "divergence" of games and studies: {"name", "lambda", "alpha"?}; alpha belongs to the
// name "alpha" alone and must be given there. Records errors in `in`.
Divergence read_divergence(JsonReader& in);

[[nodiscard]] Json divergence_json(const Divergence& divergence);

}  // namespace candor
