#include "study/machine.h"

#include <sys/utsname.h>

#include "study/worker_process.h"

namespace candor {

Result<Machine> this_machine(int threads, const std::string& instruction_set,
                             const std::filesystem::path& worker) {
  Machine out{.threads = threads > 0 ? threads : core_count(),
              .instruction_set = best_instruction_set(),
              .cpu_vendor = cpu_vendor(),
              .torch = {}};
  if (!instruction_set.empty()) {
    CANDOR_TRY(out.instruction_set, instruction_set_of(instruction_set));
    CANDOR_RETURN_IF_ERROR(use_instruction_set(out.instruction_set));
  }
  if (std::filesystem::exists(worker)) {
    CANDOR_TRY(const Json about, ask_worker(worker));
    JsonReader in(about, worker.string());
    out.torch = in.text("torch");
    CANDOR_RETURN_IF_ERROR(in.status());
  }
  return out;
}

void add_kernels(const Machine& machine, Json& spec) {
  spec["threads"] = machine.threads;
  spec["instruction_set"] = name_of(machine.instruction_set);
}

void add_libtorch(const Machine& machine, Json& spec) {
  add_kernels(machine, spec);
  spec["cpu_vendor"] = machine.cpu_vendor;
  spec["torch"] = machine.torch;
}

Json machine_json(const Machine& machine) {
  Json out = Json::object();
  add_libtorch(machine, out);
  return out;
}

Json run_machine_json(const Machine& machine) {
  utsname system{};
  ::uname(&system);
  Json out = machine_json(machine);
  out["system"] = system.sysname;
  out["architecture"] = system.machine;
  return out;
}

}  // namespace candor
