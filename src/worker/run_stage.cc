#include <cstdio>
#include <exception>
#include <new>

#include "base/crash_point.h"
#include "base/file.h"
#include "base/strings.h"
#include "worker/stage.h"

namespace candor {

namespace {

Result<StageRequest> read_request(const std::filesystem::path& file) {
  CANDOR_TRY(const Json json, read_json_file(file.string()));
  JsonReader in(json, file.string());
  static const std::vector<std::string> kFormat = {"stage/1"};
  static const std::vector<std::string> kKinds = {"reward", "bank", "score"};
  StageRequest request;
  request.source = file.string();
  in.choice("candor", kFormat);
  request.kind = in.choice("kind", kKinds);
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

Status dispatch(const StageRequest& request) {
  const ProgressSink progress = [&](uint64_t done, uint64_t total, std::string_view note) {
    print_line({{"progress", request.kind}, {"done", done}, {"total", total}, {"note", note}});
  };
  if (request.kind == "reward") return run_reward_stage(request, progress);
  if (request.kind == "bank") return run_bank_stage(request, progress);
  return run_score_stage(request, progress);
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

Status run_stage(const std::filesystem::path& request_file) {
  CANDOR_TRY(const StageRequest request, read_request(request_file));
  crash_point(str_cat("stage.", request.kind, ".begin"));
  try {
    CANDOR_RETURN_IF_ERROR(dispatch(request));
  } catch (const std::bad_alloc&) {
    return resource_error(str_cat("stage ", request.kind, ": not enough memory"));
  } catch (const std::exception& error) {
    return Error{ErrorCode::kInternal, str_cat("stage ", request.kind, ": ", error.what())};
  }
  crash_point(str_cat("stage.", request.kind, ".end"));
  print_line({{"done", true}});
  return {};
}

}  // namespace candor
