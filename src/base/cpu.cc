#include "base/cpu.h"

#include <sched.h>

#include <algorithm>
#include <cstring>
#include <optional>

#include "base/strings.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace candor {

namespace {

std::optional<InstructionSet>& chosen() {
  static std::optional<InstructionSet> set;
  return set;
}

#if defined(__x86_64__)
// Tiles are 8 KiB of state which Linux hands out on request, to the process and what it starts.
bool tiles_granted() {
  constexpr long kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr long kTileData = 18;
  return ::syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

bool has_tiles() {
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return false;
  constexpr unsigned kTile = 1U << 24;
  constexpr unsigned kTileBf16 = 1U << 22;
  return (d & kTile) != 0 && (d & kTileBf16) != 0 && tiles_granted();
}

InstructionSet find_best() {
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0;
  if (!avx2) return InstructionSet::kGeneric;
  // What oneDNN and ATen mean by AVX-512.
  const bool wide =
      __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512bw") != 0 &&
      __builtin_cpu_supports("avx512vl") != 0 && __builtin_cpu_supports("avx512dq") != 0;
  if (!wide) return InstructionSet::kAvx2;
  if (__builtin_cpu_supports("avx512bf16") == 0) return InstructionSet::kAvx512;
  return has_tiles() ? InstructionSet::kAmxBf16 : InstructionSet::kAvx512Bf16;
}
#else
InstructionSet find_best() { return InstructionSet::kGeneric; }
#endif

}  // namespace

std::string name_of(InstructionSet set) {
  return std::string(kInstructionSetNames[static_cast<size_t>(set)]);
}

Result<InstructionSet> instruction_set_of(std::string_view name) {
  const auto* found = std::ranges::find(kInstructionSetNames, name);
  if (found != kInstructionSetNames.end()) {
    return static_cast<InstructionSet>(found - kInstructionSetNames.begin());
  }
  std::string allowed;
  for (const std::string_view one : kInstructionSetNames) {
    allowed += str_cat(allowed.empty() ? "" : ", ", one);
  }
  return invalid_argument(
      str_cat("found ", quote(name), "; allowed instruction sets are ", allowed));
}

InstructionSet best_instruction_set() {
  static const InstructionSet kBest = find_best();
  return kBest;
}

InstructionSet instruction_set() { return chosen().value_or(best_instruction_set()); }

Status use_instruction_set(InstructionSet set) {
  if (set > best_instruction_set()) {
    return resource_error(str_cat("instruction set ", name_of(set),
                                  ": this machine's processor has none higher than ",
                                  name_of(best_instruction_set())));
  }
  chosen() = set;
  return {};
}

std::string cpu_vendor() {
#if defined(__x86_64__)
  unsigned highest = 0;
  std::array<unsigned, 3> parts{};  // in the order of the name
  if (__get_cpuid(0, &highest, parts.data(), &parts[2], &parts[1]) != 0) {
    std::string name(sizeof parts, '\0');
    std::memcpy(name.data(), parts.data(), sizeof parts);
    return name;
  }
#endif
  return "unknown";
}

int core_count() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  return std::max(1, CPU_COUNT(&set));
}

}  // namespace candor
