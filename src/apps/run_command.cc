#include <cstdio>
#include <map>
#include <memory>

#include "apps/commands.h"
#include "apps/number_option.h"
#include "apps/plan_command.h"
#include "apps/stage_clock.h"
#include "base/file.h"
#include "base/money.h"
#include "base/strings.h"
#include "study/menu_results.h"
#include "study/pipeline.h"
#include "study/report_page.h"
#include "study/run_directory.h"
#include "study/verify_run.h"

namespace candor {

namespace {

namespace fs = std::filesystem;

struct RunOptions {
  std::string study;
  StudyOptions choice;
  std::string out;
  std::string cache;
  bool resume = false;
};

void print_quote(const Json& quote) {
  std::vector<std::vector<std::string>> rows = {
      {"group", "size", "valuation", "payment", "low", "high", "bias", "utility", "amount"}};
  for (const Json& group : quote["groups"]) {
    const auto number = [](const Json& value, int digits) {
      return format_short(value.get<double>(), digits);
    };
    rows.push_back({group["name"], group["size"].dump(), number(group["valuation"]["estimate"], 5),
                    number(group["payment"]["estimate"], 5), number(group["payment"]["low"], 4),
                    number(group["payment"]["high"], 4), number(group["payment_bias"], 3),
                    number(group["utility"]["estimate"], 5),
                    group["amount"].is_null()
                        ? std::string("none")
                        : format_money(group["amount"].get_ref<const std::string&>(),
                                       quote["currency"].get_ref<const std::string&>())});
  }
  print_table(rows);
  std::printf("\nwelfare %s; %s prompts x %s replies; effective replies per prompt %s\n",
              format_short(quote["welfare"]["estimate"].get<double>(), 6).c_str(),
              quote["prompts"].dump().c_str(), quote["replies"].dump().c_str(),
              format_short(quote["effective_sample_size"]["mean"].get<double>(), 3).c_str());
  const std::string error = format_short(quote["error"].get<double>(), 2);
  if (quote["converged"].get<bool>()) {
    std::printf("For the bank every price is within %s of the exact one; ", error.c_str());
  } else {
    std::printf(
        "NOT CONVERGED: a price may be %s from the bank's exact one, the tolerance is %s; no "
        "amounts. ",
        error.c_str(), format_short(quote["tolerance"].get<double>(), 2).c_str());
  }
  std::printf(
      "low and high are a %s %% interval over prompts, bias an estimate for full training.\n",
      format_short(100 * quote["confidence"].get<double>(), 4).c_str());
}

// 1 where the prices are not known well enough.
int exit_code_of(const Json& quote) { return quote["converged"].get<bool>() ? 0 : 1; }

Status write_timings(const fs::path& folder, const StageClock& clock) {
  if (clock.timings().empty()) return {};
  return write_file_atomically(folder / "timings.json", to_text(clock.timings()));
}

// A study's default folder; a budget is another run.
fs::path folder_of(const RunOptions& own, const Study& study) {
  if (!own.out.empty()) return own.out;
  return fs::path("runs") / (study.budget.empty() ? study.name : study.name + "-" + study.budget);
}

Result<Store> store_of(const RunOptions& own, const fs::path& folder) {
  return Store::open(own.cache.empty() ? folder / "stages" : fs::path(own.cache), worker_program());
}

// A run goes on where its plan cannot be made: the run itself says what is wrong with an input.
template <typename AnyPipeline>
StageClock clock_of(const CommonOptions& options, const AnyPipeline& pipeline) {
  Result<std::vector<StageCost>> planned = plan_costs(pipeline);
  return {options.progress_mode(), planned.ok() ? *std::move(planned) : std::vector<StageCost>()};
}

void listen(Store& store, StageClock& clock, const CommonOptions& options) {
  store.report_usage([&clock](const Stage&, const WorkerUsage& usage) { clock.set_usage(usage); });
  if (options.progress_mode() != ProgressMode::kTerminal) return;
  store.report_notices(
      [](const std::string& notice) { std::fprintf(stderr, "candor: %s\n", notice.c_str()); });
}

// What the stages of this run took, beside the plan. Nothing where all of them were stored.
void print_timings(const Json& timings) {
  if (timings.empty()) return;
  std::vector<std::vector<std::string>> rows = {{"stage", "took", "planned", "memory", "planned"}};
  const auto text = [](const Json& timing, const char* key, const auto& format) {
    return timing.contains(key) ? format(timing[key].template get<double>()) : std::string("-");
  };
  for (const Json& timing : timings) {
    rows.push_back({timing["stage"].get<std::string>(), text(timing, "seconds", format_duration),
                    text(timing, "planned_seconds", format_duration),
                    text(timing, "peak_memory_bytes", format_bytes),
                    text(timing, "planned_memory_bytes", format_bytes)});
  }
  print_table(rows);
}

Status print_menu(const MenuResults& results, const Study& study) {
  for (size_t s = 0; s < results.settlements.size(); ++s) {
    const MenuSettlement& settled = results.settlements[s];
    const SettlementEstimate& estimate = results.estimate.settlements[s];
    std::vector<std::vector<std::string>> rows = {
        {"group", "size", "valuation", "payment", "low", "high", "utility", "amount"}};
    for (size_t i = 0; i < settled.settlement.groups.size(); ++i) {
      const Settlement::Group& group = settled.settlement.groups[i];
      const Currency& currency = study.currency;
      CANDOR_TRY(const Int128 minor,
                 minor_units(group.payment, study.unit_price, currency.exponent));
      const Interval& interval = estimate.groups[i].payment.interval;
      rows.push_back({group.name, std::to_string(group.group_size),
                      format_short(from_fixed_point(group.valuation), 5),
                      format_short(from_fixed_point(group.payment), 5),
                      format_short(interval.low, 4), format_short(interval.high, 4),
                      format_short(from_fixed_point(group.utility), 5),
                      format_money(amount_text(minor, currency.exponent), currency.code)});
    }
    print_table(rows);
    const size_t winner = settled.settlement.winner;
    const Interval& welfare = estimate.welfare.interval;
    print_line(str_cat("sizes ", dashed(settled.sizes), ": ",
                       printable(settled.table.candidates[winner].name), " wins (in ",
                       format_short(100 * estimate.win_share[winner], 3), " % of resamples",
                       estimate.close_call() ? ": a close call" : "", "), welfare ",
                       format_short(from_fixed_point(settled.settlement.welfare), 6), " (",
                       format_short(welfare.low, 4), " to ", format_short(welfare.high, 4), ")\n"));
  }
  std::printf(
      "Prices are exact for the menu's table. Every |V - V_hat| is at most %s with %s %% "
      "confidence (about %s by the bootstrap).\n",
      format_short(results.estimate.epsilon_bound, 3).c_str(),
      format_short(100 * study.confidence, 4).c_str(),
      format_short(results.estimate.epsilon_bootstrap, 3).c_str());
  for (const Json& warning : results.warnings) {
    print_line("warning: " + printable(warning.get<std::string>()));
  }
  return {};
}

CommandResult run_menu(const RunOptions& own, const CommonOptions& options, const Study& study) {
  CANDOR_TRY(const Machine machine, machine_for(study, options));
  CANDOR_TRY(const MenuPipeline pipeline, MenuPipeline::plan(study, machine));
  const fs::path folder = folder_of(own, study);
  CANDOR_TRY(const RunDirectory directory,
             RunDirectory::open(folder, study, {pipeline.sources(), machine}, own.resume));
  CANDOR_TRY(Store store, store_of(own, folder));
  StageClock clock = clock_of(options, pipeline);
  listen(store, clock, options);
  CANDOR_TRY(const MenuRun run,
             run_menu_pipeline(pipeline, store, [&](const std::string& label, bool stored) {
               return clock.start(label, stored);
             }));
  clock.finish();
  CANDOR_TRY(const MenuResults results, settle_menu_run(pipeline, run));
  CANDOR_RETURN_IF_ERROR(write_menu_results(directory, pipeline, run, results));
  CANDOR_RETURN_IF_ERROR(write_report(folder));
  CANDOR_RETURN_IF_ERROR(write_timings(folder, clock));
  const std::vector<std::string> failed = failed_self_tests(results.self_tests);
  if (options.json()) {
    CANDOR_TRY(const Json settlement, read_json_file((folder / "settlement.json").string()));
    std::printf("%s", to_text(settlement).c_str());
  } else {
    CANDOR_RETURN_IF_ERROR(print_menu(results, study));
    print_timings(clock.timings());
    print_line("report: " + printable((folder / "report.html").string()));
  }
  for (const std::string& name : failed) {
    print_note(str_cat("candor run: self-test failed: ", printable(name),
                       "; do not invoice from this run"));
  }
  return failed.empty() ? 0 : 1;
}

CommandResult run_run(const RunOptions& own, const CommonOptions& options) {
  CANDOR_TRY(const Study study, load_study(own.study, own.choice));
  if (study.menu.has_value()) return run_menu(own, options, study);
  CANDOR_TRY(const Machine machine, machine_for(study, options));
  CANDOR_TRY(const Pipeline pipeline, Pipeline::plan(study, machine));
  const fs::path folder = folder_of(own, study);
  CANDOR_TRY(const RunDirectory directory,
             RunDirectory::open(folder, study, {pipeline.sources(), machine}, own.resume));
  CANDOR_TRY(Store store, store_of(own, folder));
  StageClock clock = clock_of(options, pipeline);
  listen(store, clock, options);
  CANDOR_TRY(const PipelineResult result,
             run_pipeline(pipeline, store, [&](const std::string& label, bool stored) {
               return clock.start(label, stored);
             }));
  clock.finish();
  CANDOR_RETURN_IF_ERROR(directory.write_results(pipeline, result));
  CANDOR_RETURN_IF_ERROR(write_report(folder));
  CANDOR_RETURN_IF_ERROR(write_timings(folder, clock));
  CANDOR_TRY(const Json quote, read_json_file((folder / "quote.json").string()));
  if (options.json()) {
    std::printf("%s", to_text(quote).c_str());
    return exit_code_of(quote);
  }
  print_quote(quote);
  print_timings(clock.timings());
  for (const Json& timing : clock.timings()) {
    if (!timing.contains("tokens_per_second")) continue;
    print_line(str_cat(printable(timing["stage"].get<std::string>()), ": ",
                       format_short(timing["tokens_per_second"].get<double>(), 3),
                       " tokens per second"));
  }
  print_line("report: " + printable((folder / "report.html").string()));
  return exit_code_of(quote);
}

CommandResult run_quote(const RunOptions& own, const CommonOptions& options) {
  CANDOR_TRY(const Study study, load_study(own.study, own.choice));
  CANDOR_TRY(const Machine machine, machine_for(study, options));
  CANDOR_TRY(const Pipeline pipeline, Pipeline::plan(study, machine));
  const fs::path cache = own.cache.empty() ? fs::path("runs") / ".cache" : fs::path(own.cache);
  CANDOR_TRY(Store store, Store::open(cache, worker_program()));
  StageClock clock(options.progress_mode(), {});
  listen(store, clock, options);
  CANDOR_TRY(const PipelineResult result,
             run_pipeline(pipeline, store, [&](const std::string& label, bool stored) {
               return clock.start(label, stored);
             }));
  clock.finish();
  CANDOR_TRY(const Quote quote, make_quote(pipeline.study, result.bank_game.game));
  CANDOR_TRY(const Json json, quote_json(pipeline.study, result.bank_game, quote));
  if (options.json()) {
    std::printf("%s", to_text(json).c_str());
  } else {
    print_quote(json);
  }
  return exit_code_of(json);
}

struct VerifyOptions {
  std::string folder;
  std::string store;
};

const char* outcome_name(RunCheck::Outcome outcome) {
  switch (outcome) {
    case RunCheck::Outcome::kHolds:
      return "holds";
    case RunCheck::Outcome::kFails:
      return "FAILS";
    case RunCheck::Outcome::kNotChecked:
      return "not checked";
  }
  return "";
}

Json verdict_json(const RunVerdict& verdict) {
  Json checks = Json::array();
  for (const RunCheck& check : verdict.checks) {
    checks.push_back(
        {{"item", check.item}, {"outcome", outcome_name(check.outcome)}, {"detail", check.detail}});
  }
  return {{"candor", "verify/1"}, {"holds", verdict.holds()}, {"checks", std::move(checks)}};
}

// What failed or was not checked, a line each; the rest is a count.
void print_verdict(const RunVerdict& verdict, const std::string& folder) {
  std::map<RunCheck::Outcome, size_t> counts;
  for (const RunCheck& check : verdict.checks) {
    ++counts[check.outcome];
    if (check.outcome == RunCheck::Outcome::kHolds) continue;
    std::printf("%s: %s: %s\n", outcome_name(check.outcome), check.item.c_str(),
                check.detail.c_str());
  }
  std::printf("%s: %zu hold, %zu fail, %zu not checked\n", folder.c_str(),
              counts[RunCheck::Outcome::kHolds], counts[RunCheck::Outcome::kFails],
              counts[RunCheck::Outcome::kNotChecked]);
}

CommandResult run_verify(const VerifyOptions& own, const CommonOptions& options) {
  CANDOR_TRY(const RunVerdict verdict, verify_run(own.folder, own.store));
  if (options.json()) {
    std::printf("%s", to_text(verdict_json(verdict)).c_str());
  } else {
    print_verdict(verdict, own.folder);
  }
  return verdict.holds() ? 0 : 1;
}

CommandResult run_report(const std::string& folder) {
  CANDOR_TRY(const RunVerdict verdict, verify_run(folder));
  if (!verdict.holds()) {
    for (const RunCheck& check : verdict.checks) {
      if (check.outcome != RunCheck::Outcome::kFails) continue;
      std::fprintf(stderr, "candor: %s: %s: %s\n", folder.c_str(), check.item.c_str(),
                   check.detail.c_str());
    }
    std::fprintf(stderr, "candor: no report is made of files that contradict each other\n");
    return 1;
  }
  CANDOR_RETURN_IF_ERROR(write_report(folder));
  print_line("report: " + printable((fs::path(folder) / "report.html").string()));
  return 0;
}

}  // namespace

void add_study_commands(CLI::App& app, CommonOptions& options) {
  auto own = std::make_shared<RunOptions>();
  CLI::App* run = add_command(app,
                              {"run", "The whole study: sample, score, price, audit, report",
                               "candor run examples/quickstart.yaml"},
                              options, [own, &options] { return run_run(*own, options); });
  CLI::App* quote = add_command(
      app,
      {"quote", "Prices before any training; no invoice", "candor quote examples/quickstart.yaml"},
      options, [own, &options] { return run_quote(*own, options); });
  CLI::App* plan =
      add_command(app,
                  {"plan", "What a study would do, take and need; validates it, trains nothing",
                   "candor plan examples/quickstart.yaml"},
                  options, [own, &options] { return run_plan(own->study, own->choice, options); });
  for (CLI::App* command : {run, quote, plan}) {
    command->add_option("STUDY", own->study, "A study/1 file")->required();
    command->add_option("--budget", own->choice.budget,
                        "Lay this entry of the study's budgets over it");
    add_instruction_set_option(*command, own->choice.instruction_set);
  }
  for (CLI::App* command : {run, plan}) {
    add_number(*command,
               {"--target-epsilon",
                "Use no more prompts than keep every valuation of a menu within this of the truth; "
                "say where there are too few",
                {0, 1, true}},
               own->choice.target_epsilon);
  }
  for (CLI::App* command : {run, quote})
    command->add_option("--cache", own->cache, "Keep finished stages in this folder");
  run->add_option("--out", own->out, "The run's folder (default runs/NAME)");
  run->add_flag("--resume", own->resume, "Go on with an existing folder");
  auto folder = std::make_shared<std::string>();
  CLI::App* report =
      add_command(app, {"report", "Rebuilds report.html of a run", "candor report runs/quickstart"},
                  options, [folder] { return run_report(*folder); });
  report->add_option("RUN_DIR", *folder, "A run's folder")->required();
  auto verified = std::make_shared<VerifyOptions>();
  CLI::App* verify = add_command(
      app,
      {"verify",
       "Checks a run's files against each other and settles again; exit 1 where one fails",
       "candor verify runs/quickstart"},
      options, [verified, &options] { return run_verify(*verified, options); });
  verify->add_option("RUN_DIR", verified->folder, "A run's folder")->required();
  verify->add_option("--cache", verified->store,
                     "Where the stages lie (default RUN_DIR/stages), to check their files too");
}

}  // namespace candor
