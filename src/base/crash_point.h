#pragma once

#include <string_view>

namespace candor {

// A named place where the kill-and-resume tests may stop this process dead (SIGKILL): with
// CANDOR_CRASH_AT=NAME:N in the environment the N-th passage (from 1) through the point NAME kills;
// with CANDOR_CRASH_LOG=FILE every passage appends the name to FILE, so a test can list the places.
// Without either variable it costs one load.
void crash_point(std::string_view name);

}  // namespace candor
