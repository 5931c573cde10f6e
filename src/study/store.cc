#include "study/store.h"

#include <optional>

#include "base/crash_point.h"
#include "base/file.h"
#include "base/sha256.h"
#include "base/strings.h"
#include "receipt/canonical_json.h"
#include "study/claimed_folder.h"
#include "study/stage_kind.h"

namespace candor {

namespace {

namespace fs = std::filesystem;

constexpr const char* kRecord = "stage.json";
constexpr const char* kTemporary = ".tmp-";
constexpr const char* kCheckpoints = ".checkpoints-";
constexpr const char* kVersion = "stage_version";

Result<Json> digests_of_files(const fs::path& folder) {
  Json files = Json::object();
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    const std::string name = entry.path().lexically_relative(folder).generic_string();
    if (name == kRecord || entry.is_directory()) continue;
    CANDOR_TRY(files[name], digest_of_file(entry.path().string()));
  }
  return files;
}

// What a run left that is not alive any more: temporary folders of this machine, checkpoints whose
// artifact is there.
Status remove_leftovers(const fs::path& root) {
  std::error_code code;
  for (const auto& entry : fs::directory_iterator(root, code)) {
    const std::string name = entry.path().filename().string();
    const bool done = name.starts_with(kCheckpoints) &&
                      fs::exists(root / name.substr(std::string_view(kCheckpoints).size()));
    const bool left = name.starts_with(kTemporary) && ClaimedFolder::of_this_machine(name);
    if (!done && !left) continue;
    CANDOR_TRY(std::optional<ClaimedFolder> folder, ClaimedFolder::claim(entry.path()));
    if (folder.has_value()) folder->remove();
  }
  if (code) return resource_error(str_cat(root.string(), ": ", code.message()));
  return {};
}

// Files of a killed run that were not renamed yet.
void remove_partial_files(const fs::path& folder) {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder, ignored)) {
    if (entry.path().filename().string().find(kTemporary) == std::string::npos) continue;
    fs::remove(entry.path(), ignored);
  }
}

// Whether two specs agree wherever both say something.
bool agree(const Json& left, const Json& right) {
  for (const auto& item : left.items()) {
    if (right.contains(item.key()) && right[item.key()] != item.value()) return false;
  }
  return true;
}

}  // namespace

std::string Stage::key() const {
  // Not canonical JSON: specs hold floats. The library prints each in one way, which is enough
  // here.
  return sha256_hex(
      to_line({{"kind", kind}, {"spec", spec}, {kVersion, stage_kind(kind).version}}));
}

Result<Store> Store::open(const fs::path& root, const fs::path& worker) {
  std::error_code code;
  fs::create_directories(root, code);
  if (code) return resource_error(str_cat(root.string(), ": ", code.message()));
  CANDOR_RETURN_IF_ERROR(remove_leftovers(root));
  return Store(fs::absolute(root), worker);
}

fs::path Store::path_of(const Stage& stage) const {
  return root_ / str_cat(stage.kind, "-", stage.key().substr(0, 32));
}

bool Store::has(const Stage& stage) const { return fs::exists(path_of(stage)); }

Result<Artifact> Store::check(const Stage& stage) const {
  const fs::path folder = path_of(stage);
  CANDOR_TRY(const Json record, read_json_file((folder / kRecord).string()));
  CANDOR_TRY(Json files, digests_of_files(folder));
  if (!record.is_object() || record.value("spec", Json()) != stage.spec ||
      record.value("files", Json()) != files) {
    return invalid_argument(str_cat(folder.string(),
                                    ": a stored file has changed since it was made; "
                                    "remove the folder to make it again"));
  }
  return Artifact{folder, std::move(files)};
}

// An artifact of the same inputs and settings under another version of the stage, or from before
// specs named the processor and LibTorch, is no longer this stage's.
void Store::tell_of_earlier(const Stage& stage) const {
  if (!notice_sink_) return;
  std::error_code code;
  for (const auto& entry : fs::directory_iterator(root_, code)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(stage.kind + "-")) continue;
    const Result<Json> record = read_json_file((entry.path() / kRecord).string());
    if (!record.ok() || !record->is_object() || !record->contains("spec")) continue;
    const Json version = record->value(kVersion, Json());
    const bool same = version == stage_kind(stage.kind).version;
    if (same || !agree(record->at("spec"), stage.spec)) continue;
    notice_sink_(str_cat(stage.label, ": ", name, " is of ",
                         version.is_null() ? "an earlier program"
                                           : str_cat("version ", version.dump(), " of this stage"),
                         "; it is made anew"));
    return;
  }
}

Status Store::run(const Stage& stage, const fs::path& temporary, const fs::path& checkpoints,
                  const ProgressSink& progress) const {
  const fs::path artifact = temporary / "artifact";
  Json inputs = Json::object();
  for (const auto& [name, input] : stage.inputs) {
    inputs[name] = {{"path", input.path.string()}, {"digest", input.digest}};
  }
  Json request = {{"candor", "stage/2"},
                  {"kind", stage.kind},
                  {kVersion, stage_kind(stage.kind).version},
                  {"spec", stage.spec},
                  {"inputs", std::move(inputs)},
                  {"output", artifact.string()}};
  if (!checkpoints.empty()) request["checkpoints"] = checkpoints.string();
  CANDOR_RETURN_IF_ERROR(write_new_file(temporary / "request.json", to_text(request)));
  CANDOR_TRY(const WorkerUsage usage,
             run_worker(worker_, temporary / "request.json", stage.label, progress));
  if (usage_sink_) usage_sink_(stage, usage);
  CANDOR_TRY(const Json files, digests_of_files(artifact));
  const Json record = {{"candor", "artifact/1"},
                       {"kind", stage.kind},
                       {kVersion, stage_kind(stage.kind).version},
                       {"spec", stage.spec},
                       {"files", files}};
  CANDOR_RETURN_IF_ERROR(write_new_file(artifact / kRecord, to_text(record)));
  return commit_directory(artifact, path_of(stage));
}

Status Store::make(const Stage& stage, const ProgressSink& progress) const {
  tell_of_earlier(stage);
  CANDOR_TRY(ClaimedFolder temporary,
             ClaimedFolder::make(root_, str_cat(kTemporary, stage.kind, "-")));
  std::error_code code;
  fs::create_directory(temporary.path() / "artifact", code);
  if (code) return resource_error(str_cat(temporary.path().string(), ": ", code.message()));
  std::optional<ClaimedFolder> kept;
  fs::path checkpoints;
  if (stage_kind(stage.kind).keeps_checkpoints) {
    const std::string name = path_of(stage).filename().string();
    CANDOR_TRY(kept, ClaimedFolder::claim(root_ / (kCheckpoints + name)));
    checkpoints = kept.has_value() ? kept->path() : temporary.path() / "checkpoints";
    fs::create_directories(checkpoints, code);
    remove_partial_files(checkpoints);
  }
  Status status = run(stage, temporary.path(), checkpoints, progress);
  // Another run with the same store may have been faster: its artifact has the same bytes.
  if (!status.ok() && status.error().code != ErrorCode::kInterrupted && has(stage)) {
    status = Status();
  }
  temporary.remove();
  if (status.ok() && kept.has_value()) kept->remove();
  crash_point("store.after_stage");
  return status;
}

Result<Artifact> Store::get(const Stage& stage, const ProgressSink& progress) const {
  if (!has(stage)) CANDOR_RETURN_IF_ERROR(make(stage, progress));
  return check(stage);
}

}  // namespace candor
