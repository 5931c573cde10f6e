#pragma once

#include "apps/command.h"

namespace candor {

// One function per command of `candor`, each in the file of its name.
void add_solve_command(CLI::App& app, CommonOptions& options);
void add_settle_command(CLI::App& app, CommonOptions& options);
void add_audit_command(CLI::App& app, CommonOptions& options);

}  // namespace candor
