#pragma once

#include <string_view>

namespace candor {

// Reports a programmer error and aborts. Never compiled out: a wrong number is worse than a crash.
// `file` and `line` are the caller's (built-ins: Clang 14 lacks std::source_location).
[[noreturn]] void check_failed(std::string_view condition, std::string_view detail,
                               const char* file = __builtin_FILE(), int line = __builtin_LINE());

}  // namespace candor

// Programmer errors only. What a user, a file or a machine can cause is a Result (result.h).
#define CANDOR_CHECK(condition, ...)                      \
  do {                                                    \
    if (!(condition)) [[unlikely]] {                      \
      ::candor::check_failed(#condition, "" __VA_ARGS__); \
    }                                                     \
  } while (false)
