#include <chrono>
#include <cstdio>
#include <memory>

#include "apps/commands.h"
#include "base/file.h"
#include "base/strings.h"
#include "study/pipeline.h"
#include "study/report_page.h"
#include "study/run_directory.h"

namespace candor {

namespace {

namespace fs = std::filesystem;

struct RunOptions {
  std::string study;
  std::string out;
  std::string cache;
  bool resume = false;
};

// Shows each stage's progress and keeps its time.
class StageClock {
 public:
  explicit StageClock(ProgressMode mode) : mode_(mode) {}

  ProgressSink start(const std::string& label, bool stored) {
    finish();
    if (stored) return {};
    label_ = label;
    begin_ = std::chrono::steady_clock::now();
    progress_ = std::make_unique<Progress>(mode_, label, 0);
    return [this](uint64_t done, uint64_t total, std::string_view note) {
      progress_->set_total(total);
      const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin_;
      const std::string text = note.empty() ? str_cat(done, " of ", total) : std::string(note);
      last_note_ = text;
      if (text.ends_with(" tokens")) {
        tokens_per_second_ = std::strtod(text.c_str(), nullptr) / elapsed.count();
        progress_->set(done, str_cat(text, ", ", format_short(tokens_per_second_, 3), "/s"));
      } else {
        progress_->set(done, text);
      }
    };
  }

  void finish() {
    if (progress_ == nullptr) return;
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin_;
    progress_->finish();
    progress_.reset();
    Json entry = {{"stage", label_}, {"seconds", elapsed.count()}};
    if (tokens_per_second_ > 0) entry["tokens_per_second"] = tokens_per_second_;
    timings_.push_back(std::move(entry));
    tokens_per_second_ = 0;
  }

  [[nodiscard]] const Json& timings() const { return timings_; }

 private:
  ProgressMode mode_;
  std::string label_;
  std::string last_note_;
  std::unique_ptr<Progress> progress_;
  std::chrono::steady_clock::time_point begin_;
  double tokens_per_second_ = 0;
  Json timings_ = Json::array();
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
                    str_cat(group["amount"].dump(), " ", quote["currency"].get<std::string>())});
  }
  print_table(rows);
  std::printf("\nwelfare %s; %s prompts x %s replies; effective replies per prompt %s\n",
              format_short(quote["welfare"]["estimate"].get<double>(), 6).c_str(),
              quote["prompts"].dump().c_str(), quote["replies"].dump().c_str(),
              format_short(quote["effective_sample_size"]["mean"].get<double>(), 3).c_str());
  std::printf(
      "Prices are exact for the bank; low and high are a %s %% interval over prompts, bias an "
      "estimate for full "
      "training.\n",
      format_short(100 * quote["confidence"].get<double>(), 4).c_str());
}

Result<Pipeline> plan_of(const RunOptions& own, const CommonOptions& options) {
  CANDOR_TRY(const Study study, load_study(own.study));
  return Pipeline::plan(study, options.threads);
}

CommandResult run_run(const RunOptions& own, const CommonOptions& options) {
  CANDOR_TRY(const Pipeline pipeline, plan_of(own, options));
  const fs::path folder =
      own.out.empty() ? fs::path("runs") / pipeline.study.name : fs::path(own.out);
  CANDOR_TRY(const RunDirectory directory, RunDirectory::open(folder, pipeline.study, own.resume));
  CANDOR_TRY(
      const Store store,
      Store::open(own.cache.empty() ? folder / "stages" : fs::path(own.cache), worker_program()));
  StageClock clock(options.progress_mode());
  CANDOR_TRY(const PipelineResult result,
             run_pipeline(pipeline, store, [&](const std::string& label, bool stored) {
               return clock.start(label, stored);
             }));
  clock.finish();
  CANDOR_RETURN_IF_ERROR(directory.write_results(pipeline, result));
  CANDOR_RETURN_IF_ERROR(write_report(folder));
  if (!clock.timings().empty()) {
    CANDOR_RETURN_IF_ERROR(
        write_file_atomically(folder / "timings.json", to_text(clock.timings())));
  }
  CANDOR_TRY(const Json quote, read_json_file((folder / "quote.json").string()));
  if (options.json()) {
    std::printf("%s", to_text(quote).c_str());
    return 0;
  }
  print_quote(quote);
  for (const Json& timing : clock.timings()) {
    if (!timing.contains("tokens_per_second")) continue;
    std::printf("%s: %s tokens per second\n", timing["stage"].get<std::string>().c_str(),
                format_short(timing["tokens_per_second"].get<double>(), 3).c_str());
  }
  std::printf("report: %s\n", (folder / "report.html").string().c_str());
  return 0;
}

CommandResult run_quote(const RunOptions& own, const CommonOptions& options) {
  CANDOR_TRY(const Pipeline pipeline, plan_of(own, options));
  const fs::path cache = own.cache.empty() ? fs::path("runs") / ".cache" : fs::path(own.cache);
  CANDOR_TRY(const Store store, Store::open(cache, worker_program()));
  StageClock clock(options.progress_mode());
  CANDOR_TRY(const PipelineResult result,
             run_pipeline(pipeline, store, [&](const std::string& label, bool stored) {
               return clock.start(label, stored);
             }));
  clock.finish();
  CANDOR_TRY(const Quote quote, make_quote(pipeline.study, result.bank_game.game));
  const Json json = quote_json(pipeline.study, result.bank_game, quote);
  if (options.json()) {
    std::printf("%s", to_text(json).c_str());
  } else {
    print_quote(json);
  }
  return 0;
}

// Rough costs, measured on two cores with the shipped 135M model and encoder; a plan is a forecast.
constexpr double kTokensPerSecond = 250;
constexpr double kTextsPerSecond = 200;

CommandResult run_plan(const RunOptions& own, const CommonOptions& options) {
  CANDOR_TRY(const Pipeline pipeline, plan_of(own, options));
  const Study& study = pipeline.study;
  Json stages = Json::array();
  const auto add = [&](const Stage& stage, double seconds, double bytes) {
    stages.push_back({{"stage", stage.label}, {"seconds", seconds}, {"disk_bytes", bytes}});
  };
  const auto prompts = static_cast<double>(pipeline.prompts.size());
  for (const bool reference : {false, true}) {
    const double tokens =
        prompts * static_cast<double>((reference ? study.reference_samples : study.bank.samples) *
                                      study.bank.max_new_tokens);
    add(pipeline.bank_stage(reference), tokens / kTokensPerSecond, tokens * 40);
  }
  for (size_t group = 0; group < study.groups.size(); ++group) {
    if (!study.groups[group].reward.trained()) continue;
    const auto texts = static_cast<double>(study.groups[group].reward.max_texts);
    add(pipeline.reward_stage(group), texts / kTextsPerSecond, 16384);
  }
  CANDOR_TRY(const int64_t parameters, pipeline.model_parameters());
  // Weights once in their type, the embedding in f32 too, and what reading a tensor needs at a
  // time.
  const double memory = static_cast<double>(parameters) * (study.dtype == "bf16" ? 4.8 : 6.8);
  const Json plan = {{"candor", "plan/1"},
                     {"study", study.resolved},
                     {"stages", stages},
                     {"memory_bytes", memory}};
  if (options.json()) {
    std::printf("%s", to_text(plan).c_str());
    return 0;
  }
  std::vector<std::vector<std::string>> rows = {{"stage", "about", "disk"}};
  double total = 0;
  for (const Json& stage : stages) {
    total += stage["seconds"].get<double>();
    rows.push_back({stage["stage"], format_short(stage["seconds"].get<double>(), 2) + " s",
                    format_bytes(stage["disk_bytes"].get<double>())});
  }
  print_table(rows);
  std::printf(
      "\nat most about %s s on two cores, when every reply runs to its limit; a labelled reward\n"
      "without max_texts counts as 0. Memory: about %s and the replies' caches.\n"
      "Everything named in %s was found; nothing was trained.\n",
      format_short(total, 2).c_str(), format_bytes(memory).c_str(), own.study.c_str());
  return 0;
}

CommandResult run_report(const std::string& folder) {
  CANDOR_RETURN_IF_ERROR(write_report(folder));
  std::printf("report: %s\n", (fs::path(folder) / "report.html").string().c_str());
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
                  options, [own, &options] { return run_plan(*own, options); });
  for (CLI::App* command : {run, quote, plan})
    command->add_option("STUDY", own->study, "A study/1 file")->required();
  for (CLI::App* command : {run, quote})
    command->add_option("--cache", own->cache, "Keep finished stages in this folder");
  run->add_option("--out", own->out, "The run's folder (default runs/NAME)");
  run->add_flag("--resume", own->resume, "Go on with an existing folder");
  auto folder = std::make_shared<std::string>();
  CLI::App* report =
      add_command(app, {"report", "Rebuilds report.html of a run", "candor report runs/quickstart"},
                  options, [folder] { return run_report(*folder); });
  report->add_option("RUN_DIR", *folder, "A run's folder")->required();
}

}  // namespace candor
