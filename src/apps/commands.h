#pragma once

#include <filesystem>
#include <optional>

#include "apps/command.h"
#include "core/solution.h"

namespace candor {

// One function per command of `candor`, each in the file of its name.
void add_solve_command(CLI::App& app, CommonOptions& options);
void add_merge_command(CLI::App& app, CommonOptions& options);
void add_settle_command(CLI::App& app, CommonOptions& options);
void add_audit_command(CLI::App& app, CommonOptions& options);
void add_lab_command(CLI::App& app, CommonOptions& options);
void add_catalog_command(CLI::App& app, CommonOptions& options);
void add_noise_command(CLI::App& app, CommonOptions& options);

// run, quote, plan, report, verify.
void add_study_commands(CLI::App& app, CommonOptions& options);

// A solution for people: one line a group, then welfare, divergence and how exact all that is.
void print_solution(const Solution& solution);
// --tolerance of every command that ends in a solution.
void add_tolerance_option(CLI::App& command, std::optional<double>& tolerance);

// candor-worker, beside the running program.
[[nodiscard]] std::filesystem::path worker_program();

// `candor lm ...` is candor-worker's: replaces this process by it; returns only when that fails.
int forward_to_worker(int argc, char** argv);

}  // namespace candor
