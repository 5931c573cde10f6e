#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <functional>
#include <string>

#include "base/json.h"
#include "base/progress.h"
#include "base/result.h"

namespace candor {

// What every command takes (DESIGN section 4).
struct CommonOptions {
  std::string format = "table";
  std::string progress = "auto";
  uint64_t seed = 1;
  int threads = 0;  // 0: all cores
  bool quiet = false;
  std::function<Result<int>()> before_run;  // called before the chosen command

  [[nodiscard]] bool json() const { return format == "json"; }
  [[nodiscard]] ProgressMode progress_mode() const;
};

// A command's work: the exit code, or the error to print. Exit 1 means that a check failed.
using CommandResult = Result<int>;

// Adds a command with the common flags; `run` is called after parsing when it was chosen. `example`
// ends its help.
struct CommandSpec {
  std::string name;
  std::string summary;
  std::string example;
};
CLI::App* add_command(CLI::App& app, const CommandSpec& spec, CommonOptions& options,
                      std::function<CommandResult()> run);

// --instruction-set of every command whose numbers may depend on it.
void add_instruction_set_option(CLI::App& command, std::string& name);

// Parses, runs the chosen command, prints its error; returns the exit code. Foreign exceptions end
// here.
int run_program(CLI::App& app, int argc, char** argv);

// Prints a line for people. Names come from files: what a terminal would obey is escaped.
void print_line(const std::string& text);
// The same on standard error.
void print_note(const std::string& text);

// Prints rows with aligned columns, the first row as a header; numbers to the right. Cells are
// escaped as lines are.
void print_table(const std::vector<std::vector<std::string>>& rows);

// "9.5 min": in seconds below two minutes, in minutes below two hours, in hours above.
[[nodiscard]] std::string format_duration(double seconds);

}  // namespace candor
