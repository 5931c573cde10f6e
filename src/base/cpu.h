#pragma once

#include <array>
#include <string>
#include <string_view>

#include "base/result.h"

namespace candor {

// Instruction sets that numbers may depend on, in order: a processor that has one has those before
// it. Part of a stage's identity: another one may round differently.
enum class InstructionSet { kGeneric, kAvx2, kAvx512, kAvx512Bf16, kAmxBf16 };

// Their names in files and on the command line, in order: "generic", "avx2", "avx512",
// "avx512_bf16", "amx_bf16".
inline constexpr std::array<std::string_view, 5> kInstructionSetNames = {
    "generic", "avx2", "avx512", "avx512_bf16", "amx_bf16"};
[[nodiscard]] std::string name_of(InstructionSet set);
// Errors: kInvalidArgument, not one of the names.
[[nodiscard]] Result<InstructionSet> instruction_set_of(std::string_view name);

// The highest that this processor and its system allow.
[[nodiscard]] InstructionSet best_instruction_set();

// The one that this process computes with: the best, unless a lower one was chosen.
[[nodiscard]] InstructionSet instruction_set();
// Chooses. REQUIRES: nothing has been computed yet, one thread. Errors: kResource, the processor
// lacks it.
Status use_instruction_set(InstructionSet set);

// "GenuineIntel", "AuthenticAMD": libraries choose their code by it. "unknown" where the processor
// does not say.
[[nodiscard]] std::string cpu_vendor();

// Cores this process may use, at least 1.
[[nodiscard]] int core_count();

}  // namespace candor
