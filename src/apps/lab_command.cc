#include <algorithm>
#include <cstdio>
#include <memory>

#include "apps/commands.h"
#include "apps/number_option.h"
#include "base/file.h"
#include "base/strings.h"
#include "core/lab.h"
#include "study/game_file.h"
#include "study/lab_files.h"
#include "study/theory_page.h"

namespace candor {

namespace {

struct LabCommandOptions {
  std::vector<std::string> arguments;  // RULE... GAME
  std::string group;
  std::string types;
  std::string report;
  int64_t type_count = 24;
  int steps = 64;
  int search_runs = 512;
  std::string witness;
};

struct LoadedRules {
  std::vector<std::unique_ptr<TrainingRule>> owned;
  std::vector<Report> types;  // of a rule/1 file

  [[nodiscard]] std::vector<const TrainingRule*> pointers() const {
    std::vector<const TrainingRule*> out;
    for (const auto& rule : owned) out.push_back(rule.get());
    return out;
  }
};

Result<LoadedRules> load_rules(const std::vector<std::string>& names, const Game& game,
                               size_t group) {
  LoadedRules out;
  for (const std::string& name : names) {
    if (!name.ends_with(".json")) {
      Result<std::unique_ptr<TrainingRule>> rule = make_training_rule(name);
      if (!rule.ok()) {
        return usage_error(rule.error().message + "; or a rule/1 file (*.json)");
      }
      out.owned.push_back(std::move(rule).value());
      continue;
    }
    CANDOR_TRY(LoadedRule loaded, load_rule(name, game, group));
    if (names.size() > 1) {
      return usage_error(str_cat(
          name, ": a rule/1 file brings its own types; put it through the laboratory alone"));
    }
    out.types = std::move(loaded.types);
    out.owned.push_back(std::move(loaded.rule));
  }
  return out;
}

// The types of a witness, for checking by hand: {"type", "size", "reward"} lines.
void print_witness(const RuleStudy& study) {
  constexpr size_t kShown = 12;
  print_line(str_cat("\n", printable(study.rule), ": no payments make truth dominant. Witness: ",
                     printable(join(study.worst_cycle, " -> ")), " -> ",
                     printable(study.worst_cycle.front()), ", length ",
                     format_short(study.incentives.worst_cycle_length, 6)));
  std::vector<std::vector<std::string>> rows;
  for (const Report& type : study.worst_cycle_types()) {
    std::vector<std::string> values;
    for (size_t x = 0; x < std::min(kShown, type.reward.size()); ++x) {
      values.push_back(format_double(type.reward[x]));
    }
    if (type.reward.size() > kShown) values.emplace_back("...");
    rows.push_back({"  " + type.name, str_cat("size ", type.group_size),
                    str_cat("reward ", join(values, " "))});
  }
  print_table(rows);
}

void print_lab(const Game& game, const Laboratory& lab) {
  std::vector<std::vector<std::string>> rows = {{"rule", "verdict", "worst cycle", "unique within",
                                                 "gain unpaid", "gain pay_report", "path width"}};
  for (const RuleStudy& study : lab.rules) {
    const Implementability& incentives = study.incentives;
    const std::string width =
        study.paths.empty()
            ? "-"
            : format_short(study.paths.back().forward + study.paths.back().backward, 4);
    rows.push_back(
        {study.rule, verdict_name(study.verdict), format_short(incentives.worst_cycle_length, 4),
         study.verdict == Verdict::kNo ? "-" : format_short(incentives.widest, 4),
         format_short(study.gain_zero, 4), format_short(study.gain_pay_report, 4), width});
  }
  print_line(str_cat("group ", printable(game.groups[lab.space.group].name), ", ",
                     lab.space.types.size(), " types\n"));
  print_table(rows);
  for (const RuleStudy& study : lab.rules) {
    if (study.verdict == Verdict::kNo) {
      print_witness(study);
    } else {
      print_line(str_cat("\n", printable(study.rule), ": ",
                         study.verdict == Verdict::kProved ? "implementable, proved" : "not known",
                         ": ", printable(study.why)));
    }
  }
  if (lab.fee.has_value()) {
    std::printf("\nThe largest fee that keeps every type of this group willing: %s\n",
                format_short(lab.fee->largest, 6).c_str());
  }
  if (game.normalization == Normalization::kMinMax) {
    print_line(str_cat("\nLost under min_max:\n  no path: ", printable(lab.rules.front().no_path),
                       "\n  no room for a fee: ", printable(lab.no_fee)));
  }
}

CommandResult run_lab(const LabCommandOptions& own, const CommonOptions& options) {
  if (own.arguments.size() < 2) {
    return usage_error("lab: expected RULE... GAME.json; found one argument alone");
  }
  const std::vector<std::string> names(own.arguments.begin(), own.arguments.end() - 1);
  CANDOR_TRY(const Game game, load_game(own.arguments.back()));
  const Result<size_t> found = find_group(game, own.group);
  if (!found.ok()) return usage_error("--group: " + found.error().message);
  const size_t group = *found;
  CANDOR_TRY(const LoadedRules rules, load_rules(names, game, group));
  std::vector<Report> types = rules.types;
  if (!own.types.empty()) {
    CANDOR_TRY(types, load_types(own.types, game));
  }
  Progress progress(options.progress_mode(), "rules", names.size());
  LabOptions lab_options{.type_count = static_cast<size_t>(own.type_count),
                         .search_runs = own.search_runs,
                         .largest_steps = own.steps,
                         .seed = options.seed,
                         .progress = [&](size_t done, size_t) { progress.set(done); }};
  const Result<Laboratory> studied =
      run_laboratory(game, group, rules.pointers(), std::move(types), lab_options);
  if (!studied.ok()) {
    return Error{studied.error().code,
                 str_cat(own.arguments.back(), ": ", studied.error().message)};
  }
  const Laboratory& lab = *studied;
  progress.finish();
  if (!own.report.empty()) {
    CANDOR_RETURN_IF_ERROR(write_file_atomically(own.report, lab_page(game, lab)));
  }
  const bool witness = std::ranges::any_of(
      lab.rules, [](const RuleStudy& study) { return study.verdict == Verdict::kNo; });
  if (!own.witness.empty() && witness) {
    CANDOR_RETURN_IF_ERROR(write_file_atomically(own.witness, to_text(witness_types_json(lab))));
  } else if (!own.witness.empty()) {
    print_note(str_cat("candor: no witness found, so ", printable(own.witness), " is not written"));
  }
  if (options.json()) {
    std::printf("%s", to_text(lab_json(game, lab)).c_str());
  } else {
    print_lab(game, lab);
  }
  return witness ? 1 : 0;
}

}  // namespace

void add_lab_command(CLI::App& app, CommonOptions& options) {
  auto own = std::make_shared<LabCommandOptions>();
  CLI::App* command = add_command(
      app,
      {"lab",
       "Can payments make truth dominant under a training rule? Proved, refuted by a witness "
       "cycle, "
       "or not known; payments and their uniqueness. Exit 1 when a rule has a witness against it",
       "candor lab sw_max max_min nash catalog/sun2025/fig1_shape.json --group \"group 1\""},
      options, [own, &options] { return run_lab(*own, options); });
  command
      ->add_option("ARGUMENTS", own->arguments,
                   str_cat("RULE... GAME: rules (", join(training_rule_names(), ", "),
                           ", dictatorship:NAME, or one rule/1 file), then a game/1 file"))
      ->required();
  command->add_option("--group", own->group, "Whose types (default: the first group)");
  command->add_option("--types", own->types, "A types/1 file (default: types made from the game)");
  add_whole(*command, {"--type-count", "How many types to make; default 24", 2, 512},
            own->type_count);
  add_whole(*command,
            {"--search-runs",
             "Runs of a rule in the search for a witness beyond these types, which follows where "
             "neither a proof nor a witness is at hand; 0: none; default 512",
             0, 1000000},
            own->search_runs);
  command->add_option("--witness", own->witness,
                      "Write the witness types found as a types/1 file, for --types");
  add_whole(*command, {"--steps", "Steps of the longest path; default 64", 1, 65536}, own->steps);
  command->add_option("--report", own->report, "Write an HTML page with pictures");
}

}  // namespace candor
