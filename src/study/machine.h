#pragma once

#include <filesystem>
#include <string>

#include "base/cpu.h"
#include "base/json.h"
#include "base/result.h"

namespace candor {

// What of a machine a stage's bytes may depend on. It stands in the specs of stages, in seals and
// in run.json.
struct Machine {
  int threads = 1;
  InstructionSet instruction_set = InstructionSet::kGeneric;
  std::string cpu_vendor = {};  // MKL chooses its code by it
  std::string torch = {};       // LibTorch's version; empty where there is no worker to ask
};

// This machine, with `threads` (0: all cores) and the instruction set of that name (empty: the
// best here); LibTorch's version is asked of `worker`. Errors: kInvalidArgument, no such set;
// kResource, the processor lacks it, or the worker does not answer.
Result<Machine> this_machine(int threads, const std::string& instruction_set,
                             const std::filesystem::path& worker);

// Adds what a stage depends on that computes with our kernels alone: `threads`, `instruction_set`.
void add_kernels(const Machine& machine, Json& spec);
// And one that uses LibTorch: also `cpu_vendor` and `torch`.
void add_libtorch(const Machine& machine, Json& spec);
// All of it, for seals and run.json.
[[nodiscard]] Json machine_json(const Machine& machine);
// And what bytes do not depend on: `system`, `architecture`.
[[nodiscard]] Json run_machine_json(const Machine& machine);

}  // namespace candor
