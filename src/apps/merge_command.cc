#include <cstdio>
#include <memory>

#include "apps/commands.h"
#include "base/file.h"
#include "base/strings.h"
#include "study/result_files.h"
#include "study/shard_file.h"

namespace candor {

namespace {

struct MergeOptions {
  std::vector<std::string> accumulators;
  std::string state;
  std::string out;
  std::optional<double> tolerance;
};

Result<ShardState> load_state(const std::string& path) {
  CANDOR_TRY(const Json json, read_json_file(path));
  return parse_state(json, path);
}

Result<std::vector<ShardFile>> load_accumulators(const std::vector<std::string>& paths) {
  std::vector<ShardFile> files;
  for (const std::string& path : paths) {
    CANDOR_TRY(const Json json, read_json_file(path));
    CANDOR_TRY(ShardFile file, parse_accumulator(json, path));
    files.push_back(std::move(file));
  }
  return files;
}

CommandResult finish(const Solution& solution, const CommonOptions& options) {
  if (options.json()) {
    std::printf("%s", to_text(solution_json(solution, false)).c_str());
  } else {
    print_solution(solution);
  }
  return solution.converged ? 0 : 1;
}

CommandResult go_on(const MergeOptions& own, const ShardState& state,
                    const CommonOptions& options) {
  if (own.out.empty()) {
    return usage_error("merge: the game is not solved yet; --out FILE takes the next state");
  }
  CANDOR_RETURN_IF_ERROR(write_file_atomically(own.out, to_line(state_json(state)) + "\n"));
  if (options.json()) {
    std::printf(
        "%s",
        to_text({{"done", false}, {"passes", state.passes.size()}, {"state", own.out}}).c_str());
    return 0;
  }
  print_line(str_cat("pass ", state.passes.size(), " (", printable(state.passes.back().name),
                     ") is complete; go on with\n  candor solve GAME.json --shard i/N --state ",
                     printable(own.out), " --out ACCUMULATOR.json"));
  return 0;
}

CommandResult run_merge(const MergeOptions& own, const CommonOptions& options) {
  CANDOR_TRY(const std::vector<ShardFile> files, load_accumulators(own.accumulators));
  ShardState state{.game = files.front().game, .passes = {}};
  if (!own.state.empty()) {
    CANDOR_TRY(state, load_state(own.state));
  }
  const std::string digest = state_digest(state);
  const std::string base = own.state.empty() ? own.accumulators.front() : own.state;
  std::vector<Accumulator> parts;
  for (size_t i = 0; i < files.size(); ++i) {
    CANDOR_RETURN_IF_ERROR(check_same_game(state.game, base, files[i].game, own.accumulators[i]));
    if (files[i].state != digest) {
      return invalid_argument(str_cat(own.accumulators[i], ": builds on the state ", files[i].state,
                                      "; the state given with --state is ", digest));
    }
    parts.push_back(files[i].accumulator);
  }
  Result<Reduced> reduced =
      reduce_shards(state.game.raw, state.game.normalization, std::move(state.passes), parts,
                    {.tolerance = own.tolerance});
  if (!reduced.ok()) {
    return Error{reduced.error().code, str_cat("merge: ", reduced.error().message)};
  }
  if (reduced->solution.has_value()) return finish(*reduced->solution, options);
  state.passes = std::move(reduced->history);
  return go_on(own, state, options);
}

}  // namespace

void add_merge_command(CLI::App& app, CommonOptions& options) {
  auto own = std::make_shared<MergeOptions>();
  CLI::App* command = add_command(
      app,
      {"merge",
       "Put the accumulators of all shards of a game together: its solution, or the state for the "
       "next round",
       "candor merge part-*.json --state state-1.json --out state-2.json"},
      options, [own, &options] { return run_merge(*own, options); });
  command->add_option("ACCUMULATORS", own->accumulators, "One accumulator/1 file of every shard")
      ->required();
  command->add_option("--state", own->state,
                      "The state that the shards built on (first round: none)");
  command->add_option("--out", own->out, "Where the next state goes, while there is one");
  add_tolerance_option(*command, own->tolerance);
}

}  // namespace candor
