#include "study/store.h"

#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <csignal>
#include <set>

#include "base/crash_point.h"
#include "base/file.h"
#include "base/sha256.h"
#include "base/strings.h"
#include "receipt/canonical_json.h"
#include "study/worker_process.h"

namespace candor {

namespace {

namespace fs = std::filesystem;

constexpr const char* kRecord = "stage.json";
constexpr const char* kTemporary = ".tmp-";
constexpr const char* kCheckpoints = ".checkpoints-";

// Stages that train: they go on from where a killed run left them.
bool keeps_checkpoints(const Stage& stage) { return stage.kind == "rlhf" || stage.kind == "sft"; }

// Of a temporary folder: is the run that is filling it still alive? Its name ends in the run's
// process id.
bool in_use(const std::string& name) {
  const std::string digits = name.substr(name.rfind('-') + 1);
  pid_t process = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), process);
  if (error != std::errc() || end != digits.data() + digits.size() || process <= 0) return false;
  if (process == ::getpid()) return false;  // of an earlier process with our id: we have none yet
  return ::kill(process, 0) == 0 || errno == EPERM;
}

Result<Json> digests_of_files(const fs::path& folder) {
  Json files = Json::object();
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    const std::string name = entry.path().lexically_relative(folder).generic_string();
    if (name == kRecord || entry.is_directory()) continue;
    CANDOR_TRY(files[name], digest_of_file(entry.path().string()));
  }
  return files;
}

}  // namespace

std::string Stage::key() const {
  // Not canonical JSON: specs hold floats. The library prints each in one way, which is enough
  // here.
  return sha256_hex(to_line({{"kind", kind}, {"spec", spec}, {"version", CANDOR_VERSION}}));
}

Result<Store> Store::open(const fs::path& root, const fs::path& worker) {
  std::error_code code;
  fs::create_directories(root, code);
  if (code) return resource_error(str_cat(root.string(), ": ", code.message()));
  for (const auto& entry : fs::directory_iterator(root, code)) {
    const std::string name = entry.path().filename().string();
    // Checkpoints outlive a killed run until their artifact is there.
    const bool done = name.starts_with(kCheckpoints) &&
                      fs::exists(root / name.substr(std::string_view(kCheckpoints).size()));
    if (done || (name.starts_with(kTemporary) && !in_use(name))) fs::remove_all(entry.path(), code);
  }
  if (code) return resource_error(str_cat(root.string(), ": ", code.message()));
  return Store(fs::absolute(root), worker);
}

fs::path Store::path_of(const Stage& stage) const {
  return root_ / str_cat(stage.kind, "-", stage.key().substr(0, 32));
}

bool Store::has(const Stage& stage) const { return fs::exists(path_of(stage)); }

Status Store::check(const Stage& stage) const {
  const fs::path folder = path_of(stage);
  CANDOR_TRY(const Json record, read_json_file((folder / kRecord).string()));
  CANDOR_TRY(const Json files, digests_of_files(folder));
  if (!record.is_object() || record.value("spec", Json()) != stage.spec ||
      record.value("files", Json()) != files) {
    return invalid_argument(str_cat(folder.string(),
                                    ": a stored file has changed since it was made; "
                                    "remove the folder to make it again"));
  }
  return {};
}

Status Store::make(const Stage& stage, const ProgressSink& progress) const {
  const fs::path temporary = root_ / str_cat(kTemporary, stage.kind, "-", ::getpid());
  std::error_code code;
  fs::remove_all(temporary, code);
  fs::create_directories(temporary / "artifact", code);
  if (code) return resource_error(str_cat(temporary.string(), ": ", code.message()));
  Json paths = Json::object();
  for (const auto& [name, path] : stage.paths) paths[name] = path.string();
  const fs::path checkpoints = root_ / (kCheckpoints + path_of(stage).filename().string());
  if (keeps_checkpoints(stage)) {
    fs::create_directories(checkpoints, code);
    if (code) return resource_error(str_cat(checkpoints.string(), ": ", code.message()));
    paths[stage.kind == "sft" ? "work" : "checkpoints"] = checkpoints.string();
  }
  const Json request = {{"candor", "stage/1"},
                        {"kind", stage.kind},
                        {"spec", stage.spec},
                        {"paths", std::move(paths)},
                        {"output", (temporary / "artifact").string()}};
  CANDOR_RETURN_IF_ERROR(write_new_file(temporary / "request.json", to_text(request)));
  const Result<WorkerUsage> usage =
      run_worker(worker_, temporary / "request.json", stage.label, progress);
  Status status = usage.ok() ? Status() : Status(usage.error());
  if (usage.ok() && usage_sink_) usage_sink_(stage, *usage);
  if (status.ok()) {
    CANDOR_TRY(const Json files, digests_of_files(temporary / "artifact"));
    const Json record = {
        {"candor", "artifact/1"}, {"kind", stage.kind}, {"spec", stage.spec}, {"files", files}};
    status = write_new_file(temporary / "artifact" / kRecord, to_text(record));
  }
  if (status.ok()) status = commit_directory(temporary / "artifact", path_of(stage));
  // Another run with the same cache may have been faster: its artifact has the same bytes.
  if (!status.ok() && has(stage)) status = Status();
  fs::remove_all(temporary, code);
  if (status.ok()) fs::remove_all(checkpoints, code);
  crash_point("store.after_stage");
  return status;
}

Result<fs::path> Store::get(const Stage& stage, const ProgressSink& progress) const {
  if (!has(stage)) CANDOR_RETURN_IF_ERROR(make(stage, progress));
  CANDOR_RETURN_IF_ERROR(check(stage));
  return path_of(stage);
}

}  // namespace candor
