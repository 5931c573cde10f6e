#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <new>
#include <string>
#include <string_view>
#include <vector>

#include "base/crash_point.h"
#include "base/file.h"
#include "base/strings.h"
#include "worker/stage.h"

namespace candor {

namespace {

using StageFunction = Status (*)(const StageRequest&, const ProgressSink&);

// Every kind of stage.
const std::map<std::string, StageFunction>& stages() {
  static const std::map<std::string, StageFunction> kStages = {
      {"reward", run_reward_stage},         {"bank", run_bank_stage},
      {"menu_bank", run_menu_bank_stage},   {"divergence", run_divergence_stage},
      {"menu_check", run_menu_check_stage}, {"rlhf", run_rlhf_stage},
      {"score", run_score_stage},           {"sft", run_sft_stage}};
  return kStages;
}

Result<StageRequest> read_request(const std::filesystem::path& file) {
  CANDOR_TRY(const Json json, read_json_file(file.string()));
  JsonReader in(json, file.string());
  static const std::vector<std::string> kFormat = {"stage/1"};
  std::vector<std::string> kinds;
  for (const auto& entry : stages()) kinds.push_back(entry.first);
  StageRequest request;
  request.source = file.string();
  in.choice("candor", kFormat);
  request.kind = in.choice("kind", kinds);
  request.spec = in.any("spec");
  const Json& paths = in.any("paths");
  request.output = in.text("output");
  CANDOR_RETURN_IF_ERROR(in.finish());
  for (const auto& item : paths.items()) {
    if (!item.value().is_string()) return in.error_at("paths", "expected an object of texts");
    request.paths[item.key()] = item.value().get<std::string>();
  }
  if (!std::filesystem::is_directory(request.output)) {
    return in.error_at("output",
                       str_cat("found ", quote(request.output.string()), "; expected a folder"));
  }
  return request;
}

void print_line(const Json& line) {
  std::printf("%s\n", to_line(line).c_str());
  std::fflush(stdout);
}

// The most memory that was resident since this program began. What the system counts for its parent
// begins with the parent's own memory, which a child shares until it becomes this program.
int64_t peak_memory_bytes() {
  static constexpr std::string_view kKey = "VmHWM:";  // in KiB
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(kKey)) {
      return int64_t{1024} * std::strtoll(line.c_str() + kKey.size(), nullptr, 10);
    }
  }
  return 0;
}

Status dispatch(const StageRequest& request) {
  const ProgressSink progress = [&](uint64_t done, uint64_t total, std::string_view note) {
    print_line({{"progress", request.kind}, {"done", done}, {"total", total}, {"note", note}});
  };
  return stages().at(request.kind)(request, progress);
}

}  // namespace

Result<std::filesystem::path> StageRequest::path(const std::string& name) const {
  const auto found = paths.find(name);
  if (found != paths.end()) return found->second;
  return invalid_argument(str_cat(source, ": $.paths.", name, ": is missing"));
}

Status write_artifact(const StageRequest& request, const std::string& name,
                      std::string_view bytes) {
  crash_point(str_cat("stage.", request.kind, ".before_write"));
  CANDOR_RETURN_IF_ERROR(write_new_file(request.output / name, bytes));
  crash_point(str_cat("stage.", request.kind, ".after_write"));
  return {};
}

Error error_of_exception(const std::exception& exception, std::string_view what) {
  // LibTorch throws one class for everything on a CPU; only its words tell memory apart. Its text
  // goes on with a stack trace, which helps nobody who reads an error.
  static constexpr std::array<std::string_view, 3> kMemoryWords = {
      "can't allocate memory", "not enough memory", "out of memory"};
  const std::string text = split(exception.what(), '\n')[0];
  const bool memory = dynamic_cast<const std::bad_alloc*>(&exception) != nullptr ||
                      std::ranges::any_of(kMemoryWords, [&](std::string_view words) {
                        return text.find(words) != std::string::npos;
                      });
  if (memory) return resource_error(str_cat(what, ": not enough memory (", text, ")"));
  return Error{ErrorCode::kInternal, str_cat(what, ": ", text)};
}

Status run_stage(const std::filesystem::path& request_file) {
  CANDOR_TRY(const StageRequest request, read_request(request_file));
  crash_point(str_cat("stage.", request.kind, ".begin"));
  try {
    CANDOR_RETURN_IF_ERROR(dispatch(request));
  } catch (const std::exception& exception) {
    return error_of_exception(exception, str_cat("stage ", request.kind));
  }
  crash_point(str_cat("stage.", request.kind, ".end"));
  print_line({{"done", true}, {"peak_memory_bytes", peak_memory_bytes()}});
  return {};
}

}  // namespace candor
