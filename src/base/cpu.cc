#include "base/cpu.h"

#include <sched.h>

#include <algorithm>

namespace candor {

std::string instruction_set() {
#if defined(__x86_64__)
  const bool wide = __builtin_cpu_supports("avx512f") != 0;
  const bool halves =
      __builtin_cpu_supports("avx512bf16") != 0 && __builtin_cpu_supports("avx512bw") != 0;
  if (wide && halves) return "avx512_bf16";
  if (wide) return "avx512";
#endif
  return "generic";
}

int core_count() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  return std::max(1, CPU_COUNT(&set));
}

}  // namespace candor
