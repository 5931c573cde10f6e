#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/cpu.h"
#include "base/crash_point.h"
#include "base/file.h"
#include "base/foreign_error.h"
#include "base/strings.h"
#include "lm/kernel_setup.h"
#include "study/source.h"
#include "study/stage_kind.h"
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

// A request, and what the runner says is in its inputs.
struct CheckedRequest {
  StageRequest request;
  std::vector<std::pair<std::filesystem::path, std::string>> digests;
};

void read_inputs(JsonReader& in, CheckedRequest& out) {
  JsonReader inputs = in.object("inputs");
  if (!in.ok()) return;
  for (const auto& item : inputs.json().items()) {
    JsonReader input = inputs.object(item.key());
    const std::filesystem::path path = input.text("path");
    out.request.paths[item.key()] = path;
    out.digests.emplace_back(path, input.text("digest"));
    in.adopt(input.finish());
  }
}

Result<CheckedRequest> read_request(const std::filesystem::path& file) {
  CANDOR_TRY(const Json json, read_json_file(file.string()));
  JsonReader in(json, file.string());
  static const std::vector<std::string> kFormat = {"stage/2"};
  std::vector<std::string> kinds;
  for (const auto& entry : stages()) kinds.push_back(entry.first);
  CheckedRequest out;
  StageRequest& request = out.request;
  request.source = file.string();
  in.choice("candor", kFormat);
  request.kind = in.choice("kind", kinds);
  const int64_t version = in.integer("stage_version", 1, INT32_MAX);
  request.spec = in.object("spec").json();
  read_inputs(in, out);
  request.output = in.text("output");
  request.checkpoints = in.text_or("checkpoints", "");
  CANDOR_RETURN_IF_ERROR(in.finish());
  if (version != stage_kind(request.kind).version) {
    return resource_error(str_cat(file.string(), ": $.stage_version: found ", version,
                                  "; this candor-worker makes version ",
                                  stage_kind(request.kind).version, " of stage ", request.kind,
                                  "; build candor and candor-worker together"));
  }
  if (!std::filesystem::is_directory(request.output)) {
    return in.error_at("output",
                       str_cat("found ", quote(request.output.string()), "; expected a folder"));
  }
  return out;
}

// Holds this process to the machine that the identity names. REQUIRES: nothing computed yet.
Status hold_machine(const StageRequest& request) {
  JsonReader spec(request.spec, request.source, "$.spec");
  if (spec.has("instruction_set")) {
    const Result<InstructionSet> set = instruction_set_of(spec.text("instruction_set"));
    if (!set.ok()) return spec.error_at("instruction_set", set.error().message);
    CANDOR_RETURN_IF_ERROR(use_instruction_set(*set));
  }
  for (const auto& [key, here] :
       {std::pair{"cpu_vendor", cpu_vendor()}, std::pair{"torch", torch_version()}}) {
    if (!spec.has(key)) continue;
    const std::string expected = spec.text(key);
    CANDOR_RETURN_IF_ERROR(spec.status());
    if (expected == here) continue;
    return resource_error(str_cat("the stage is of another machine: ", key, " ", quote(expected),
                                  "; here it is ", quote(here)));
  }
  set_up_kernels();
  return {};
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
  return invalid_argument(str_cat(source, ": $.inputs.", name, ": is missing"));
}

Status write_artifact(const StageRequest& request, const std::string& name,
                      std::string_view bytes) {
  crash_point(str_cat("stage.", request.kind, ".before_write"));
  CANDOR_RETURN_IF_ERROR(write_new_file(request.output / name, bytes));
  crash_point(str_cat("stage.", request.kind, ".after_write"));
  return {};
}

int read_machine(JsonReader& spec) {
  for (const char* key : {"instruction_set", "cpu_vendor", "torch"}) (void)spec.text_or(key, "");
  return static_cast<int>(spec.integer_or("threads", 1, 1, 1024));
}

Status run_stage(const std::filesystem::path& request_file) {
  CANDOR_TRY(const CheckedRequest checked, read_request(request_file));
  const StageRequest& request = checked.request;
  crash_point(str_cat("stage.", request.kind, ".begin"));
  std::vector<HeldSource> held;
  for (const auto& [path, digest] : checked.digests) {
    CANDOR_TRY(HeldSource source, HeldSource::hold(path, digest));
    held.push_back(std::move(source));
  }
  try {
    CANDOR_RETURN_IF_ERROR(hold_machine(request));
    CANDOR_RETURN_IF_ERROR(dispatch(request));
  } catch (const std::exception& exception) {
    return error_of_exception(exception, str_cat("stage ", request.kind));
  }
  for (const HeldSource& source : held) CANDOR_RETURN_IF_ERROR(source.unchanged());
  crash_point(str_cat("stage.", request.kind, ".end"));
  print_line({{"done", true}, {"peak_memory_bytes", peak_memory_bytes()}});
  return {};
}

}  // namespace candor
