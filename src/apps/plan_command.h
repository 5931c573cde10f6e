#pragma once

#include <string>

#include "apps/command.h"
#include "study/study.h"

namespace candor {

// `candor plan`: what a study would do, take and need; validates it, trains nothing.
CommandResult run_plan(const std::string& path, const StudyOptions& choice,
                       const CommonOptions& options);

}  // namespace candor
