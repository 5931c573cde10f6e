#include "base/check.h"

#include <cstdio>
#include <cstdlib>

namespace candor {

void check_failed(std::string_view condition, std::string_view detail, const char* file, int line) {
  std::fprintf(stderr, "candor: internal error at %s:%d: %.*s is false%s%.*s\n", file, line,
               static_cast<int>(condition.size()), condition.data(), detail.empty() ? "" : ": ",
               static_cast<int>(detail.size()), detail.data());
  std::abort();
}

}  // namespace candor
