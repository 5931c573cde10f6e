#include <algorithm>
#include <cstdio>
#include <memory>
#include <optional>

#include "apps/commands.h"
#include "apps/number_option.h"
#include "base/file.h"
#include "base/strings.h"
#include "study/game_file.h"
#include "study/noise_files.h"
#include "study/table_file.h"
#include "study/theory_page.h"

namespace candor {

namespace {

struct NoiseCommandOptions {
  std::string file;
  std::string model = "uniform";
  std::string report;
  double epsilon = 0.05;
  int votes = 64;
  int draws = 400;
  int64_t lies = 16;
  double confidence = 0.95;
  // The plan.
  std::optional<double> target;
  std::optional<double> between;
  std::optional<double> within;
  double prompt_cost = 1;
  int64_t candidates = 0;  // 0: as many as the file has
};

std::string shown(double value) { return format_short(value, 4); }
std::string shown(const Mean& mean) {
  return str_cat(shown(mean.value), " +- ", format_short(mean.half_width, 2));
}

void print_game_noise(const NoiseStudy& study) {
  std::printf("errors up to %s in every reward\n\n", shown(study.epsilon).c_str());
  print_table({{"welfare lost", "expected", "largest drawn", "worst found", "bound (Lemma B.2)"},
               {"", shown(study.expected_loss), shown(study.largest_loss), shown(study.worst_loss),
                shown(study.loss_bound)}});
  std::printf("\n");
  std::vector<std::vector<std::string>> rows = {{"group", "best lie", "expected gain",
                                                 "worst found", "bound (Thm B.3)",
                                                 "truthful utility", "least drawn"}};
  for (const NoiseGroup& group : study.groups) {
    rows.push_back({group.name, group.best_lie, shown(group.expected_gain), shown(group.worst_gain),
                    shown(group.gain_bound), shown(group.truthful_utility),
                    shown(group.least_utility)});
  }
  print_table(rows);
  std::printf(
      "\nThe mechanism is %s-DSIC and %s-IR under this noise: no lie gains more on average, and "
      "truth loses no more.\n",
      shown(study.epsilon_dsic).c_str(), shown(study.epsilon_ir).c_str());
}

void print_table_noise(const std::vector<TableNoiseGroup>& groups) {
  std::vector<std::vector<std::string>> rows = {{"group", "half-width", "gain in hindsight",
                                                 "largest drawn", "bound", "least utility drawn",
                                                 "floor"}};
  for (const TableNoiseGroup& group : groups) {
    rows.push_back({group.name, shown(group.half_width), shown(group.gain),
                    shown(group.largest_gain), shown(group.gain_bound), shown(group.least_utility),
                    shown(group.utility_floor)});
  }
  print_table(rows);
  double dsic = 0;
  double ir = 0;
  for (const TableNoiseGroup& group : groups) {
    dsic = std::max(dsic, group.gain_bound);
    ir = std::max(ir, -group.utility_floor);
  }
  std::printf(
      "\nWhere every true valuation lies within its half-width, bound and floor hold: the "
      "mechanism "
      "is %s-DSIC and %s-IR.\n",
      shown(dsic).c_str(), shown(ir).c_str());
}

PlanRequest plan_request(const NoiseCommandOptions& own, size_t groups, size_t candidates) {
  PlanRequest request{.epsilon = own.target.value_or(0.05),
                      .confidence = own.confidence,
                      .groups = groups,
                      .candidates = candidates};
  if (own.candidates > 0) request.candidates = static_cast<size_t>(own.candidates);
  request.between = own.between;
  request.within = own.within;
  request.prompt_cost = own.prompt_cost;
  return request;
}

// Prints or adds the plan, where one was asked for.
Status finish_plan(const NoiseCommandOptions& own, const PlanRequest& request,
                   const std::string& no_pilot, bool json, Json& out) {
  if (!own.target.has_value()) return {};
  CANDOR_TRY(const SamplingPlan plan, plan_sampling(request));
  out["plan"] = plan_json(request, plan, no_pilot);
  if (!json) {
    const std::string text = plan_text(out["plan"]);
    print_line("\n" + text.substr(0, text.rfind('\n')));
  }
  return {};
}

CommandResult noise_of_game(const NoiseCommandOptions& own, const CommonOptions& options) {
  CANDOR_TRY(const Game game, load_game(own.file));
  CANDOR_TRY(const NoiseModel model, parse_noise_model(own.model));
  Progress progress(options.progress_mode(), "groups", game.groups.size());
  NoiseOptions noise{.model = model,
                     .epsilon = own.epsilon,
                     .votes = own.votes,
                     .confidence = own.confidence,
                     .draws = own.draws,
                     .lies = static_cast<size_t>(own.lies),
                     .seed = options.seed,
                     .progress = [&](size_t done, size_t) { progress.set(done); }};
  if (own.target.has_value()) {
    const Status unit = check_unit_rewards(game);
    if (!unit.ok()) return Error{unit.error().code, str_cat(own.file, ": ", unit.error().message)};
  }
  const Result<NoiseStudy> study = study_noise(game, noise);
  if (!study.ok()) return Error{study.error().code, str_cat(own.file, ": ", study.error().message)};
  progress.finish();
  if (!own.report.empty()) {
    CANDOR_RETURN_IF_ERROR(write_file_atomically(own.report, noise_page(noise, *study)));
  }
  PlanRequest request =
      plan_request(own, game.groups.size(), std::max<size_t>(1, game.candidates.size()));
  // A game of prompts is its own pilot, where no variance is assumed.
  std::string no_pilot;
  if (own.target.has_value() && game.block_count() >= 2 && !own.between.has_value() &&
      !own.within.has_value()) {
    Result<Pilot> pilot = game_pilot(game);
    if (pilot.ok()) {
      request.pilot = std::move(*pilot);
    } else {
      no_pilot = pilot.error().message;
    }
  }
  if (!options.json()) print_game_noise(*study);
  Json json = noise_json(noise, *study);
  CANDOR_RETURN_IF_ERROR(finish_plan(own, request, no_pilot, options.json(), json));
  if (options.json()) std::printf("%s", to_text(json).c_str());
  return 0;
}

CommandResult noise_of_table(const NoiseCommandOptions& own, const CommonOptions& options) {
  CANDOR_TRY(const LoadedTable loaded, load_table(own.file));
  if (loaded.half_widths.empty()) {
    return invalid_argument(str_cat(
        own.file, ": $.half_widths: is missing; the noise of a table is what its half-widths say"));
  }
  const std::vector<TableNoiseGroup> groups =
      study_table_noise(loaded.table, loaded.half_widths, own.draws, options.seed);
  if (!own.report.empty()) {
    CANDOR_RETURN_IF_ERROR(write_file_atomically(own.report, table_noise_page(groups)));
  }
  if (!options.json()) print_table_noise(groups);
  Json json = table_noise_json(groups);
  json["draws"] = own.draws;
  const PlanRequest request =
      plan_request(own, loaded.table.groups.size(), loaded.table.candidates.size());
  CANDOR_RETURN_IF_ERROR(finish_plan(own, request, "", options.json(), json));
  if (options.json()) std::printf("%s", to_text(json).c_str());
  return 0;
}

CommandResult run_noise(const NoiseCommandOptions& own, const CommonOptions& options) {
  CANDOR_TRY(const std::string kind, kind_of_file(own.file));
  if (kind == "table/1") return noise_of_table(own, options);
  if (kind == "game/1") return noise_of_game(own, options);
  return invalid_argument(
      str_cat(own.file, ": $.candor: found ", quote(kind), "; expected \"game/1\" or \"table/1\""));
}

void add_plan_options(CLI::App& command, NoiseCommandOptions& own) {
  constexpr double kLargestVariance = 0.25;  // of rewards in [0, 1]
  add_number(command,
             {"--target-epsilon",
              "Also plan the cheapest prompts and replies that keep every valuation within it",
              {1e-6, 1}},
             own.target);
  add_number(command,
             {"--between-variance",
              "Assume that prompts' mean rewards vary by no more (default: no assumption; a game "
              "of prompts is a pilot)",
              {0, kLargestVariance}},
             own.between);
  add_number(command,
             {"--within-variance",
              "Assume that replies to one prompt vary by no more, on average (likewise)",
              {0, kLargestVariance}},
             own.within);
  add_number(
      command,
      {"--prompt-cost", "Of a prompt to one candidate, in sampled replies; default 1", {0, 1e9}},
      own.prompt_cost);
  add_whole(command, {"--candidates", "In the plan; default the file's", 1, 100000000},
            own.candidates);
}

}  // namespace

void add_noise_command(CLI::App& app, CommonOptions& options) {
  auto own = std::make_shared<NoiseCommandOptions>();
  CLI::App* command = add_command(
      app,
      {"noise",
       "What errors in the rewards cost: welfare lost and gains from lying, beside the bounds",
       "candor noise catalog/sun2025/fig1_shape.json --noise uniform --epsilon 0.05"},
      options, [own, &options] { return run_noise(*own, options); });
  command->add_option("FILE", own->file, "A game/1 file, or a table/1 file with half_widths")
      ->required();
  command->add_option("--noise", own->model, "uniform (default), gaussian, sign or sampling")
      ->check(CLI::IsMember(noise_model_names()));
  add_number(*command, {"--epsilon", "Largest error of a reward; default 0.05", {1e-12, 1e6}},
             own->epsilon);
  add_whole(*command, {"--votes", "Yes-no votes per reward, for sampling; default 64", 1, 100000},
            own->votes);
  add_whole(*command, {"--draws", "Monte Carlo draws; default 400", 4, 10000000}, own->draws);
  add_whole(*command, {"--lies", "Lies tried per group; default 16", 1, 500}, own->lies);
  add_number(*command,
             {"--confidence", "Of sampling and of the plan; default 0.95", {0.5, 0.999999999999}},
             own->confidence);
  add_plan_options(*command, *own);
  command->add_option("--report", own->report, "Write an HTML page with pictures");
}

}  // namespace candor
