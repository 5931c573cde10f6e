#pragma once

#include <exception>
#include <string_view>

#include "base/result.h"

namespace candor {

// What an exception of a library means where it ends (main, run_stage, a command), on one line:
// kResource where memory ran out; else kInternal, because input that is wrong has been named before
// a library could throw: a bug of ours. `what` names the work that was under way.
[[nodiscard]] Error error_of_exception(const std::exception& exception, std::string_view what);

}  // namespace candor
