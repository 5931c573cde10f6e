#include "apps/command.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <optional>

#include "apps/number_option.h"
#include "base/cpu.h"
#include "base/foreign_error.h"
#include "base/interrupt.h"
#include "base/strings.h"

namespace candor {

namespace {

// The outcome of the command that ran; CLI11's callbacks cannot return one.
std::optional<CommandResult>& outcome() {
  static std::optional<CommandResult> value;
  return value;
}

// Every name that could have been meant: subcommands and flags along the chosen path.
std::vector<std::string> known_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands({})) {
    names.push_back(command->get_name());
    if (!command->parsed()) continue;
    for (std::string& name : known_names(*command)) names.push_back(std::move(name));
  }
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

int report_usage_error(const CLI::App& app, const CLI::ParseError& error, int argc, char** argv) {
  std::string hint;
  const std::vector<std::string> names = known_names(app);
  std::string command = app.get_name();
  const CLI::App* chosen = &app;
  for (int i = 1; i < argc && argv[i][0] != '-' && !chosen->get_subcommands({}).empty(); ++i) {
    const auto commands = chosen->get_subcommands({});
    const auto found = std::ranges::find_if(
        commands, [&](const CLI::App* one) { return one->get_name() == argv[i]; });
    const CLI::App* next = found == commands.end() ? nullptr : *found;
    if (next == nullptr) {
      print_note(str_cat(command, ": ", quote(argv[i]), " is not a command",
                         did_you_mean(argv[i], known_names(*chosen)), "\nTry ", command,
                         " --help."));
      return exit_code(ErrorCode::kUsage);
    }
    command += " " + next->get_name();
    chosen = next;
  }
  for (int i = 1; i < argc && hint.empty(); ++i) {
    const std::string word = split(argv[i], '=')[0];
    if (!word.starts_with('-')) continue;  // a value is no misspelt option
    const bool known = std::ranges::find(names, word) != names.end();
    if (!known && std::string(error.what()).find(word) != std::string::npos) {
      hint = did_you_mean(word, names);
    }
  }
  print_note(str_cat(command, ": ", error.what(), hint));
  print_note(str_cat("Try ", command, " --help."));
  return exit_code(ErrorCode::kUsage);
}

bool looks_like_number(const std::string& text) {
  return !text.empty() && text.find_first_not_of("+-0123456789.e%infa") == std::string::npos;
}

}  // namespace

ProgressMode CommonOptions::progress_mode() const {
  if (quiet) return ProgressMode::kQuiet;
  return progress == "json" ? ProgressMode::kJson : ProgressMode::kTerminal;
}

CLI::App* add_command(CLI::App& app, const CommandSpec& spec, CommonOptions& options,
                      std::function<CommandResult()> run) {
  CLI::App* command = app.add_subcommand(spec.name, spec.summary);
  command->set_version_flag("--version", CANDOR_VERSION);
  command->footer("Example:\n  " + spec.example);
  command->add_option("--format", options.format, "What stdout gets: table or json")
      ->check(CLI::IsMember({"table", "json"}));
  command->add_option("--progress", options.progress, "auto: a bar on a terminal; json: JSON lines")
      ->check(CLI::IsMember({"auto", "json"}));
  add_whole(*command, {"--seed", "Of every random number", 0, kLargestSeed}, options.seed);
  add_whole(*command, {"--threads", "0: all cores", 0, 1024}, options.threads);
  command->add_flag("--quiet", options.quiet, "No progress");
  command->callback([run = std::move(run), &options] {
    const CommandResult before = options.before_run ? options.before_run() : CommandResult(0);
    outcome() = before.ok() ? run() : before;
  });
  return command;
}

void add_instruction_set_option(CLI::App& command, std::string& name) {
  const std::vector<std::string> names(kInstructionSetNames.begin(), kInstructionSetNames.end());
  command
      .add_option("--instruction-set", name,
                  "Compute as on a processor with no more than this (default the best here)")
      ->check(CLI::IsMember(names));
}

int run_program(CLI::App& app, int argc, char** argv) {
  install_interrupt_handler();
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& success) {  // --help, --version
    return app.exit(success);
  } catch (const CLI::ParseError& error) {
    return report_usage_error(app, error, argc, argv);
  } catch (const std::exception& exception) {
    const Error error = error_of_exception(exception, app.get_name());
    print_note(error.message);
    return exit_code(error.code);
  }
  if (!outcome().has_value()) return 0;
  if (outcome()->ok()) {
    if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
      print_note(app.get_name() + ": could not write to standard output");
      return exit_code(ErrorCode::kResource);
    }
    return **outcome();
  }
  const Error& error = outcome()->error();
  print_note(str_cat(app.get_name(), ": ", error.message));
  return exit_code(error.code);
}

std::string format_duration(double seconds) {
  const auto text = [](double value, const char* unit) {
    return str_cat(value < 10 ? format_short(value, 2) : std::to_string(std::llround(value)), unit);
  };
  if (seconds < 120) return text(seconds, " s");
  if (seconds < 7200) return text(seconds / 60, " min");
  return text(seconds / 3600, " h");
}

void print_line(const std::string& text) {
  std::printf("%s\n", printable(text, Lines::kKeep).c_str());
}

void print_note(const std::string& text) {
  std::fprintf(stderr, "%s\n", printable(text, Lines::kKeep).c_str());
}

void print_table(const std::vector<std::vector<std::string>>& cells) {
  std::vector<std::vector<std::string>> rows = cells;
  for (auto& row : rows) {
    for (std::string& cell : row) cell = printable(cell);
  }
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()), 0);
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  for (const auto& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      const std::string padding(widths[i] - row[i].size(), ' ');
      // A header stands where its column does, which the first row below it decides.
      const bool header = &row == &rows.front();
      const bool number =
          header ? rows.size() > 1 && i < rows[1].size() && looks_like_number(rows[1][i])
                 : looks_like_number(row[i]);
      const bool right = i > 0 && number;
      line += (i > 0 ? "  " : "") + (right ? padding + row[i] : row[i] + padding);
    }
    std::printf("%s\n", std::string(line.substr(0, line.find_last_not_of(' ') + 1)).c_str());
  }
}

}  // namespace candor
