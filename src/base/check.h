#pragma once

#include <source_location>
#include <string_view>

namespace candor {

// Reports a programmer error and aborts. Never compiled out: a wrong number is worse than a crash.
[[noreturn]] void check_failed(std::string_view condition, std::string_view detail,
                               std::source_location where);

}  // namespace candor

// Programmer errors only. What a user, a file or a machine can cause is a Result (result.h).
#define CANDOR_CHECK(condition, ...)                                                       \
  do {                                                                                     \
    if (!(condition)) [[unlikely]] {                                                       \
      ::candor::check_failed(#condition, "" __VA_ARGS__, std::source_location::current()); \
    }                                                                                      \
  } while (false)
