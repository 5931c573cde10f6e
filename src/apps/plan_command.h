#pragma once

#include <string>

#include "apps/command.h"
#include "study/machine.h"
#include "study/study.h"

namespace candor {

// `candor plan`: what a study would do, take and need; validates it, trains nothing.
CommandResult run_plan(const std::string& path, const StudyOptions& choice,
                       const CommonOptions& options);

// The machine that a study is planned or run for.
Result<Machine> machine_for(const Study& study, const CommonOptions& options);

}  // namespace candor
