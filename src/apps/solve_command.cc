#include <cstdio>
#include <memory>

#include "apps/commands.h"
#include "apps/number_option.h"
#include "base/file.h"
#include "base/strings.h"
#include "core/solution.h"
#include "study/game_file.h"
#include "study/result_files.h"
#include "study/shard_file.h"

namespace candor {

namespace {

constexpr size_t kLongestPrintedAllocation = 100000;

struct SolveArguments {
  std::string game;
  bool allocation = false;
  std::optional<double> tolerance;
  std::string shard;  // i/N
  std::string state;
  std::string out;
};

}  // namespace

void print_solution(const Solution& solution) {
  std::vector<std::vector<std::string>> rows = {
      {"group", "size", "valuation", "payment", "utility"}};
  for (const GroupOutcome& group : solution.groups) {
    rows.push_back({group.name, format_short(group.group_size, 10),
                    format_short(group.valuation, 8), format_short(group.payment, 8),
                    format_short(group.utility, 8)});
  }
  print_table(rows);
  std::printf("\nwelfare %s, of which divergence %s\n", format_short(solution.welfare, 10).c_str(),
              format_short(solution.divergence == 0 ? 0 : -solution.divergence, 6).c_str());
  if (solution.winner.has_value()) std::printf("winner: candidate %zu\n", *solution.winner);
  const std::string error = format_short(solution.error(), 2);
  if (solution.converged) {
    std::printf("Every number is within %s of the exact game's.\n", error.c_str());
  } else {
    std::printf(
        "NOT CONVERGED: a number may be %s from the exact game's; the tolerance is %s. Nobody may "
        "invoice from this.\n",
        error.c_str(), format_short(solution.tolerance, 2).c_str());
  }
  std::printf("Units: reward x agents. A group's utility is its valuation minus its payment.\n");
}

void add_tolerance_option(CLI::App& command, std::optional<double>& tolerance) {
  add_number(command,
             {"--tolerance",
              "How near every number must be to the exact game's (default: 1e-9 times 1 + the sum "
              "of sizes); exit code 1 where that is not reached",
              kPositive},
             tolerance);
}

namespace {

Result<Solution> in_file(const std::string& file, Result<Solution> solution) {
  if (solution.ok()) return solution;
  return Error{solution.error().code, str_cat(file, ": ", solution.error().message)};
}

// Large games in files are streamed; everything else is loaded.
Result<Solution> solve_file(const SolveArguments& own, int threads) {
  const SolveOptions options{.tolerance = own.tolerance};
  if (!own.allocation) {
    CANDOR_TRY(const std::optional<MappedGame> mapped, map_game(own.game, threads));
    if (mapped.has_value()) return in_file(own.game, solve_stream(mapped->game, threads, options));
  }
  CANDOR_TRY(const Game game, load_game(own.game));
  return in_file(own.game, solve(game, options));
}

struct ShardNumber {
  size_t shard = 0;
  size_t shards = 1;
};

Result<ShardNumber> parse_shard(const std::string& text) {
  const std::vector<std::string> parts = split(text, '/');
  const auto number = [](const std::string& part) {
    const Result<int64_t> value = parse_whole(part, 0, 1000000);
    return value.ok() ? *value : -1;
  };
  if (parts.size() == 2 && number(parts[1]) > 0 && number(parts[0]) >= 0 &&
      number(parts[0]) < number(parts[1])) {
    return ShardNumber{static_cast<size_t>(number(parts[0])),
                       static_cast<size_t>(number(parts[1]))};
  }
  return usage_error(str_cat("--shard: found ", quote(text),
                             "; expected i/N with i from 0 to N - 1, such as 0/8"));
}

// The map step of a sharded solve: one shard's accumulator for the next pass.
CommandResult run_shard(const SolveArguments& own, const CommonOptions& options) {
  CANDOR_TRY(const ShardNumber number, parse_shard(own.shard));
  CANDOR_TRY(const std::optional<MappedColumns> columns, map_columns(own.game));
  if (!columns.has_value()) {
    return invalid_argument(
        str_cat(own.game, ": shards need every array in a file, f32 or f64, of ", kSmallestStreamed,
                " outcomes or more in one block, without candidates"));
  }
  ShardFile file{.game = outline_of(*columns), .state = {}, .accumulator = {}};
  ShardState state{.game = file.game, .passes = {}};
  if (!own.state.empty()) {
    CANDOR_TRY(const Json json, read_json_file(own.state));
    CANDOR_TRY(state, parse_state(json, own.state));
    CANDOR_RETURN_IF_ERROR(check_same_game(file.game, own.game, state.game, own.state));
  }
  file.state = state_digest(state);
  const size_t outcomes = columns->raw.outcome_count();
  Result<Accumulator> part =
      map_shard(columns->raw, columns->normalization, state.passes,
                shard_segments(outcomes, number.shard, number.shards), options.threads);
  if (!part.ok()) {
    const std::string& place = own.state.empty() ? own.game : own.state;
    return Error{part.error().code, str_cat(place, ": $.", part.error().message)};
  }
  file.accumulator = std::move(part).value();
  const std::string text = to_line(accumulator_json(file)) + "\n";
  if (own.out.empty()) {
    std::printf("%s", text.c_str());
    return 0;
  }
  CANDOR_RETURN_IF_ERROR(write_file_atomically(own.out, text));
  return 0;
}

CommandResult run_solve(const SolveArguments& solve_options, const CommonOptions& options) {
  if (!solve_options.shard.empty()) return run_shard(solve_options, options);
  CANDOR_TRY(const Solution solution, solve_file(solve_options, options.threads));
  if (options.json()) {
    const bool with_allocation =
        solve_options.allocation ||
        (!solution.allocation.empty() && solution.allocation.size() <= kLongestPrintedAllocation);
    std::printf("%s", to_text(solution_json(solution, with_allocation)).c_str());
  } else {
    print_solution(solution);
  }
  return solution.converged ? 0 : 1;
}

}  // namespace

void add_solve_command(CLI::App& app, CommonOptions& options) {
  auto own = std::make_shared<SolveArguments>();
  CLI::App* command = add_command(
      app,
      {"solve",
       "The SW-Max model of a game with every payment, and bounds that hold the exact game's "
       "numbers; arrays in files of 65536 outcomes or more are streamed, never copied",
       "candor solve catalog/sun2025/fig1_shape.json"},
      options, [own, &options] { return run_solve(*own, options); });
  command->add_option("GAME", own->game, "A game/1 file")->required();
  command->add_flag("--allocation", own->allocation, "Print the allocation however long it is");
  add_tolerance_option(*command, own->tolerance);
  CLI::Option* shard = command->add_option(
      "--shard", own->shard,
      "i/N: read only shard i of N and write an accumulator/1 for candor merge");
  command->add_option("--state", own->state, "The state of the earlier rounds (first round: none)")
      ->needs(shard);
  command->add_option("--out", own->out, "Where the accumulator goes (default: stdout)")
      ->needs(shard);
}

}  // namespace candor
