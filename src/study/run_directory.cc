#include "study/run_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/crash_point.h"
#include "base/file.h"
#include "base/strings.h"
#include "core/audit.h"
#include "core/sweep.h"
#include "receipt/canonical_json.h"
#include "study/game_file.h"
#include "study/money_files.h"
#include "study/result_files.h"

namespace candor {

namespace {

namespace fs = std::filesystem;

constexpr const char* kResolved = "study.resolved.yaml";
constexpr const char* kInputs = "inputs.json";

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

Json inputs_json(const RunInputs& inputs) {
  return {{"candor", "inputs/1"},
          {"sources", inputs.sources},
          {"machine", machine_json(inputs.machine)}};
}

// The sources of a run that began before there was inputs.json, as far as its run.json names them.
Json sources_of_run(const Json& run) {
  Json out = Json::object();
  const auto add = [&](const std::string& name, const Json& from, const char* key) {
    if (from.is_object() && from.contains(key) && from[key].is_string()) {
      out[name] = {{"digest", from[key]}};
    }
  };
  add("model", run, run.contains("base_model") ? "base_model" : "model");
  add("prompts", run, "prompts");
  add("sft data", run, "sft_data");
  add("training prompts", run, "train_prompts");
  const Json groups = run.value("groups", Json::array());
  for (const Json& group : groups) {
    if (!group.is_object() || !group.value("name", Json()).is_string()) continue;
    const std::string name = group["name"];
    for (const char* key : {"encoder", "data", "head", "lexicon", "model"}) {
      add(str_cat("group ", name, ": ", key), group, key);
      add(str_cat("judge of ", name, ": ", key), group.value("judge", Json()), key);
    }
  }
  return out;
}

// The first source that is not what it was, in words; empty where all are.
std::string changed_source(const Json& before, const Json& now) {
  for (const auto& item : before.items()) {
    if (!now.contains(item.key())) continue;  // another study, which is found elsewhere
    const Json then = item.value().value("digest", Json());
    const Json& today = now[item.key()];
    if (then == today["digest"]) continue;
    return str_cat(item.key(), " (", today["source"].get<std::string>(),
                   ") has changed since this run began: ", to_line(then), " then, ",
                   to_line(today["digest"]), " now; put it back, or choose another --out");
  }
  return "";
}

std::string changed_machine(const Json& before, const Json& now) {
  for (const auto& item : before.items()) {
    if (!now.contains(item.key()) || now[item.key()] == item.value()) continue;
    std::string flag = item.key();
    std::ranges::replace(flag, '_', '-');
    const bool chosen = flag == "threads" || flag == "instruction-set";
    return str_cat("began with ", item.key(), " ", to_line(item.value()), ", and now it is ",
                   to_line(now[item.key()]), ", which gives other numbers; ",
                   chosen ? str_cat("go on with --", flag, " ",
                                    item.value().is_string() ? item.value().get<std::string>()
                                                             : to_line(item.value()),
                                    ", or choose")
                          : std::string("choose"),
                   " another --out");
  }
  return "";
}

// Whether a run that is gone on with has the inputs it began with.
Status check_inputs(const fs::path& folder, const RunInputs& inputs) {
  const Json now = inputs_json(inputs);
  Json before = {{"sources", Json::object()}, {"machine", Json::object()}};
  if (fs::exists(folder / kInputs)) {
    CANDOR_TRY(before, read_json_file((folder / kInputs).string()));
    JsonReader in(before, (folder / kInputs).string());
    (void)in.object("sources");
    (void)in.object("machine");
    CANDOR_RETURN_IF_ERROR(in.status());
  } else if (fs::exists(folder / "run.json")) {
    CANDOR_TRY(const Json run, read_json_file((folder / "run.json").string()));
    if (run.is_object()) before["sources"] = sources_of_run(run);
  }
  std::string change = changed_source(before["sources"], now["sources"]);
  if (change.empty()) change = changed_machine(before["machine"], now["machine"]);
  if (change.empty()) return {};
  return invalid_argument(str_cat(folder.string(), ": ", change));
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
  Json groups = Json::array();
  for (size_t group = 0; group < pipeline.groups.size(); ++group) {
    Json entry = pipeline.groups[group].digests();
    entry["name"] = pipeline.study.groups[group].name;
    groups.push_back(std::move(entry));
  }
  return {{"candor", "run/1"},
          {"version", CANDOR_VERSION},
          {"seed", pipeline.study.seed},
          {"machine", run_machine_json(pipeline.machine)},
          {"model", pipeline.model_digest},
          {"prompts", pipeline.prompts_digest},
          {"groups", std::move(groups)},
          {"seal", result.seal["digest"]},
          {"stages", result.stages},
          {"stages_digest", result.stages_digest}};
}

}  // namespace

Result<RunDirectory> RunDirectory::open(const fs::path& folder, const Study& study,
                                        const RunInputs& inputs, bool resume) {
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
    CANDOR_RETURN_IF_ERROR(check_inputs(folder, inputs));
  }
  CANDOR_RETURN_IF_ERROR(write_file_atomically(resolved, resolved_text(study)));
  CANDOR_RETURN_IF_ERROR(write_file_atomically(folder / kInputs, to_text(inputs_json(inputs))));
  return run;
}

RunDirectory::RunDirectory(RunDirectory&& other) noexcept
    : folder_(std::move(other.folder_)),
      lock_(std::exchange(other.lock_, -1)),
      written_(std::move(other.written_)) {}

RunDirectory::~RunDirectory() {
  if (lock_ >= 0) ::close(lock_);
}

Status RunDirectory::write(const std::string& name, const std::string& text) const {
  crash_point("run.before_result");
  std::error_code code;
  const fs::path file = folder_ / name;
  fs::create_directories(file.parent_path(), code);
  if (code) return resource_error(str_cat(file.parent_path().string(), ": ", code.message()));
  CANDOR_RETURN_IF_ERROR(write_file_atomically(file, text));
  written_[name] = digest_of(text);
  return {};
}

Status RunDirectory::write_run(Json run) const {
  run["files"] = written_;
  CANDOR_TRY(const std::string text, canonical_json(run));
  run["digest"] = digest_of(text);
  return write("run.json", to_text(run));
}

Status RunDirectory::write_seal(const std::string& name, const Json& seal) const {
  const fs::path file = folder_ / name;
  if (fs::exists(file)) {
    CANDOR_TRY(const Json before, read_json_file(file.string()));
    for (const auto& item : seal.items()) {
      if (before.is_object() && before.value(item.key(), Json()) == item.value()) continue;
      return invalid_argument(str_cat(
          file.string(), ": this run is sealed already, with another ", item.key(), " (",
          before.is_object() && before.contains(item.key()) ? to_line(before[item.key()]) : "none",
          " then, ", to_line(item.value()), " now); choose another --out"));
    }
  }
  return write(name, to_text(seal));
}

Status RunDirectory::write_results(const Pipeline& pipeline, const PipelineResult& result) const {
  const Study& study = pipeline.study;
  const Game& game = result.bank_game.game;
  CANDOR_RETURN_IF_ERROR(write_seal("seal.json", result.seal));
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
  return write_run(run_json(pipeline, result));
}

}  // namespace candor
