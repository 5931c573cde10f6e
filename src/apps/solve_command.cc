#include <cstdio>
#include <memory>

#include "apps/commands.h"
#include "base/strings.h"
#include "core/solution.h"
#include "study/game_file.h"
#include "study/result_files.h"

namespace candor {

namespace {

constexpr size_t kLongestPrintedAllocation = 100000;

struct SolveOptions {
  std::string game;
  bool allocation = false;
};

void print_solution(const Solution& solution) {
  std::vector<std::vector<std::string>> rows = {
      {"group", "size", "valuation", "payment", "utility"}};
  for (const GroupOutcome& group : solution.groups) {
    rows.push_back({group.name, format_short(group.group_size, 10),
                    format_short(group.valuation, 8), format_short(group.payment, 8),
                    format_short(group.utility, 8)});
  }
  print_table(rows);
  std::printf("\nwelfare %s, of which divergence %s; duality gap %s\n",
              format_short(solution.welfare, 10).c_str(),
              format_short(solution.divergence == 0 ? 0 : -solution.divergence, 6).c_str(),
              format_short(solution.gap, 3).c_str());
  if (solution.winner.has_value()) std::printf("winner: candidate %zu\n", *solution.winner);
  std::printf("Units: reward x agents. A group's utility is its valuation minus its payment.\n");
}

Result<Solution> in_file(const std::string& file, Result<Solution> solution) {
  if (solution.ok()) return solution;
  return Error{solution.error().code, str_cat(file, ": ", solution.error().message)};
}

// Large games in files are streamed; everything else is loaded.
Result<Solution> solve_file(const SolveOptions& solve_options, int threads) {
  if (!solve_options.allocation) {
    CANDOR_TRY(const std::optional<MappedGame> mapped, map_game(solve_options.game, threads));
    if (mapped.has_value()) return in_file(solve_options.game, solve_stream(mapped->game, threads));
  }
  CANDOR_TRY(const Game game, load_game(solve_options.game));
  return in_file(solve_options.game, solve(game));
}

CommandResult run_solve(const SolveOptions& solve_options, const CommonOptions& options) {
  CANDOR_TRY(const Solution solution, solve_file(solve_options, options.threads));
  if (options.json()) {
    const bool with_allocation =
        solve_options.allocation ||
        (!solution.allocation.empty() && solution.allocation.size() <= kLongestPrintedAllocation);
    std::printf("%s", to_text(solution_json(solution, with_allocation)).c_str());
  } else {
    print_solution(solution);
  }
  return 0;
}

}  // namespace

void add_solve_command(CLI::App& app, CommonOptions& options) {
  auto own = std::make_shared<SolveOptions>();
  CLI::App* command = add_command(
      app,
      {"solve",
       "The SW-Max model of a game, with every payment and a duality gap; arrays in files of "
       "65536 outcomes or more are streamed, never copied",
       "candor solve catalog/sun2025/fig1_shape.json"},
      options, [own, &options] { return run_solve(*own, options); });
  command->add_option("GAME", own->game, "A game/1 file")->required();
  command->add_flag("--allocation", own->allocation, "Print the allocation however long it is");
}

}  // namespace candor
