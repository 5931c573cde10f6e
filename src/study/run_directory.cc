#include "study/run_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/cpu.h"
#include "base/crash_point.h"
#include "base/file.h"
#include "base/strings.h"
#include "core/audit.h"
#include "core/sweep.h"
#include "study/game_file.h"
#include "study/money_files.h"
#include "study/result_files.h"

namespace candor {

namespace {

namespace fs = std::filesystem;

constexpr const char* kResolved = "study.resolved.yaml";

// Every value on its own line: JSON is YAML.
std::string resolved_text(const Study& study) {
  return "# Every setting of this study, defaults included (JSON is YAML).\n" +
         to_text(study.resolved);
}

// Whether `before` is the study's resolved text, perhaps as an earlier version spelled its money.
bool resolves_to(const std::string& before, const Study& study) {
  if (before == resolved_text(study)) return true;
  const size_t comment = std::min(before.find('\n'), before.size());
  const Result<Json> json = parse_json(std::string_view(before).substr(comment), kResolved);
  return json.ok() && with_decimal_money(*json) == study.resolved;
}

void remove_leftovers(const fs::path& folder) {
  std::error_code code;
  std::vector<fs::path> leftovers;
  for (auto entry = fs::recursive_directory_iterator(folder, code);
       !code && entry != fs::recursive_directory_iterator(); entry.increment(code)) {
    if (entry->path().filename() == "stages") entry.disable_recursion_pending();  // the store's
    if (entry->path().filename().string().find(".tmp-") != std::string::npos) {
      leftovers.push_back(entry->path());
    }
  }
  for (const fs::path& path : leftovers) fs::remove_all(path, code);
}

Json sweep_json(const std::string& group, const std::string& kind,
                const std::vector<SweepPoint>& points) {
  Json out = {{"group", group}, {"kind", kind}, {"points", Json::array()}};
  for (const SweepPoint& point : points) {
    out["points"].push_back({{"parameter", point.parameter},
                             {"valuation", point.valuation},
                             {"payment", point.payment},
                             {"utility", point.utility},
                             {"clipped", point.clipped}});
  }
  return out;
}

Result<Json> all_sweeps(const Study& study, const Game& game) {
  Json sweeps = Json::array();
  for (size_t group = 0; group < game.groups.size(); ++group) {
    const std::string& name = game.groups[group].name;
    CANDOR_TRY(const auto sizes,
               sweep(game, group, Misreport::kSizeInflation, study.size_inflation));
    sweeps.push_back(sweep_json(name, "size_inflation", sizes));
    if (game.groups.size() < 2) continue;
    CANDOR_TRY(const auto mixes,
               sweep(game, group, Misreport::kPreferenceMix, study.preference_mix));
    sweeps.push_back(sweep_json(name, "preference_mix", mixes));
    CANDOR_TRY(const auto clipped,
               sweep(game, group, Misreport::kPreferenceMixClipped, study.preference_mix));
    sweeps.push_back(sweep_json(name, "preference_mix_clipped", clipped));
  }
  return Json{{"candor", "sweeps/1"}, {"sweeps", std::move(sweeps)}};
}

std::string sweeps_csv(const Json& sweeps) {
  std::string out = "group,kind,parameter,valuation,payment,utility,clipped\n";
  for (const Json& sweep : sweeps["sweeps"]) {
    for (const Json& point : sweep["points"]) {
      out +=
          str_cat("\"", sweep["group"].get<std::string>(), "\",", sweep["kind"].get<std::string>());
      for (const char* key : {"parameter", "valuation", "payment", "utility"})
        out += "," + point[key].dump();
      out += str_cat(",", point["clipped"].dump(), "\n");
    }
  }
  return out;
}

std::string metrics_lines(const Pipeline& pipeline, const PipelineResult& result) {
  std::string out;
  const auto add = [&](const std::string& stage, Json metrics) {
    metrics["stage"] = stage;
    out += to_line(metrics) + "\n";
  };
  add("bank", result.bank_metrics[0]);
  add("reference bank", result.bank_metrics[1]);
  for (size_t group = 0; group < pipeline.study.groups.size(); ++group) {
    if (result.reward_metrics[group].is_object()) {
      add("reward " + pipeline.study.groups[group].name, result.reward_metrics[group]);
    }
  }
  return out;
}

Json run_json(const Pipeline& pipeline, const PipelineResult& result) {
  utsname system{};
  ::uname(&system);
  Json groups = Json::array();
  for (size_t group = 0; group < pipeline.groups.size(); ++group) {
    Json entry = pipeline.groups[group].digests();
    entry["name"] = pipeline.study.groups[group].name;
    groups.push_back(std::move(entry));
  }
  return {{"candor", "run/1"},
          {"version", CANDOR_VERSION},
          {"seed", pipeline.study.seed},
          {"threads", pipeline.threads},
          {"machine",
           {{"system", system.sysname},
            {"architecture", system.machine},
            {"instruction_set", instruction_set()}}},
          {"model", pipeline.model_digest},
          {"prompts", pipeline.prompts_digest},
          {"groups", std::move(groups)},
          {"seal", result.seal["digest"]},
          {"stages", result.stages}};
}

}  // namespace

Result<RunDirectory> RunDirectory::open(const fs::path& folder, const Study& study, bool resume) {
  std::error_code code;
  const fs::path resolved = folder / kResolved;
  if (fs::exists(folder) && !resume) {
    return invalid_argument(
        str_cat(folder.string(), ": exists already; go on with --resume, or choose another --out"));
  }
  fs::create_directories(folder, code);
  if (code) return resource_error(str_cat(folder.string(), ": ", code.message()));
  const int lock = ::open((folder / "lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (lock < 0) return resource_error(str_cat(folder.string(), ": ", std::strerror(errno)));
  if (::flock(lock, LOCK_EX | LOCK_NB) != 0) {
    ::close(lock);
    return invalid_argument(str_cat(folder.string(), ": another run is using it"));
  }
  RunDirectory run(folder, lock);
  remove_leftovers(folder);
  if (fs::exists(resolved)) {
    CANDOR_TRY(const std::string before, read_file(resolved));
    if (!resolves_to(before, study)) {
      return invalid_argument(str_cat(folder.string(),
                                      ": holds a run of another study or of other settings (",
                                      resolved.string(), "); choose another --out"));
    }
    return run;
  }
  CANDOR_RETURN_IF_ERROR(write_file_atomically(resolved, resolved_text(study)));
  return run;
}

RunDirectory::RunDirectory(RunDirectory&& other) noexcept
    : folder_(std::move(other.folder_)), lock_(std::exchange(other.lock_, -1)) {}

RunDirectory::~RunDirectory() {
  if (lock_ >= 0) ::close(lock_);
}

Status RunDirectory::write(const std::string& name, const std::string& text) const {
  crash_point("run.before_result");
  std::error_code code;
  const fs::path file = folder_ / name;
  fs::create_directories(file.parent_path(), code);
  if (code) return resource_error(str_cat(file.parent_path().string(), ": ", code.message()));
  return write_file_atomically(file, text);
}

Status RunDirectory::write_results(const Pipeline& pipeline, const PipelineResult& result) const {
  const Study& study = pipeline.study;
  const Game& game = result.bank_game.game;
  CANDOR_RETURN_IF_ERROR(write("seal.json", to_text(result.seal)));
  std::string bank;
  for (size_t reply = 0; reply < result.bank.size(); ++reply) {
    Json line = result.bank[reply];
    for (size_t group = 0; group < study.groups.size(); ++group) {
      line["scores"][study.groups[group].name] = result.scores[group][reply];
    }
    bank += to_line(line) + "\n";
  }
  CANDOR_RETURN_IF_ERROR(write("bank.jsonl", bank));
  std::string prompts;
  for (const Json& prompt : pipeline.prompts) prompts += to_line(prompt) + "\n";
  CANDOR_RETURN_IF_ERROR(write("prompts.jsonl", prompts));
  CANDOR_RETURN_IF_ERROR(write("game.json", to_text(game_json(game))));
  CANDOR_TRY(const Quote quote, make_quote(study, game));
  CANDOR_RETURN_IF_ERROR(write("solution.json", to_text(solution_json(quote.solution, true))));
  CANDOR_TRY(const Json quoted, quote_json(study, result.bank_game, quote));
  CANDOR_RETURN_IF_ERROR(write("quote.json", to_text(quoted)));
  for (const auto& [rule, name] :
       {std::pair{PaymentRule::kAffine, "audit.json"}, {PaymentRule::kZero, "audit_zero.json"}}) {
    CANDOR_TRY(const Audit audit,
               audit_game(game, {.payments = rule, .given_prices = {}, .seed = study.seed}));
    CANDOR_RETURN_IF_ERROR(write(name, to_text(audit_json(audit))));
  }
  CANDOR_TRY(const Json sweeps, all_sweeps(study, game));
  CANDOR_RETURN_IF_ERROR(write("sweeps.json", to_text(sweeps)));
  CANDOR_RETURN_IF_ERROR(write("sweeps.csv", sweeps_csv(sweeps)));
  CANDOR_RETURN_IF_ERROR(write("metrics.jsonl", metrics_lines(pipeline, result)));
  CANDOR_RETURN_IF_ERROR(write("run.json", to_text(run_json(pipeline, result))));
  return {};
}

}  // namespace candor
