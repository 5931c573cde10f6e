#include "base/crash_point.h"

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace candor {

namespace {

struct CrashPlan {
  std::string name;
  long countdown = 0;
  const char* log = nullptr;
  bool active = false;
};

CrashPlan read_plan() {
  CrashPlan plan;
  plan.log = std::getenv("CANDOR_CRASH_LOG");
  if (const char* text = std::getenv("CANDOR_CRASH_AT")) {
    const std::string value = text;
    const size_t colon = value.find(':');
    plan.name = value.substr(0, colon);
    plan.countdown =
        colon == std::string::npos ? 1 : std::strtol(value.c_str() + colon + 1, nullptr, 10);
  }
  plan.active = plan.log != nullptr || !plan.name.empty();
  return plan;
}

}  // namespace

void crash_point(std::string_view name) {
  static CrashPlan plan = read_plan();
  if (!plan.active) return;
  if (plan.log != nullptr) {
    if (std::FILE* log = std::fopen(plan.log, "a")) {
      std::fprintf(log, "%.*s\n", static_cast<int>(name.size()), name.data());
      std::fclose(log);
    }
  }
  if (name == plan.name && --plan.countdown == 0) std::raise(SIGKILL);
}

}  // namespace candor
