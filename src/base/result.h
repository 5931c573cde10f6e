#pragma once

#include <string>
#include <type_traits>
#include <utility>
#include <variant>

#include "base/check.h"

namespace candor {

// What went wrong, by kind. The kind decides the exit code of the program (DESIGN section 4).
enum class ErrorCode {
  kUsage,            // exit 2: a flag or argument is wrong
  kInvalidArgument,  // exit 3: input data is wrong (a file, a report, an existing directory)
  kResource,         // exit 4: memory, disk, a missing program
  kInterrupted,      // exit 130
  kInternal,         // exit 70: ours
};

struct Error {
  ErrorCode code = ErrorCode::kInternal;
  std::string message;  // one sentence: where, the value found, what is allowed
};

[[nodiscard]] int exit_code(ErrorCode code);

inline Error invalid_argument(std::string message) {
  return {ErrorCode::kInvalidArgument, std::move(message)};
}
inline Error usage_error(std::string message) { return {ErrorCode::kUsage, std::move(message)}; }
inline Error resource_error(std::string message) {
  return {ErrorCode::kResource, std::move(message)};
}

// A value, or the reason why there is none. Exceptions do not cross module borders.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}      // NOLINT: implicit
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT: implicit

  [[nodiscard]] bool ok() const { return state_.index() == 0; }

  // REQUIRES: ok().
  T& value() & {
    require_ok();
    return *std::get_if<0>(&state_);
  }
  const T& value() const& {
    require_ok();
    return *std::get_if<0>(&state_);
  }
  T&& value() && {
    require_ok();
    return std::move(*std::get_if<0>(&state_));
  }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }

  // REQUIRES: !ok().
  [[nodiscard]] const Error& error() const {
    CANDOR_CHECK(!ok());
    return *std::get_if<1>(&state_);
  }

 private:
  void require_ok() const {
    if (!ok()) check_failed("result.ok()", error().message);
  }
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)), ok_(false) {}  // NOLINT: implicit

  [[nodiscard]] bool ok() const { return ok_; }
  [[nodiscard]] const Error& error() const {
    CANDOR_CHECK(!ok_);
    return error_;
  }

 private:
  Error error_;
  bool ok_ = true;
};

using Status = Result<void>;

}  // namespace candor

#define CANDOR_CONCAT_INNER(a, b) a##b
#define CANDOR_CONCAT(a, b) CANDOR_CONCAT_INNER(a, b)

// Returns the error of `expression` to the caller, if it is one.
#define CANDOR_RETURN_IF_ERROR(expression)            \
  do {                                                \
    if (auto status_ = (expression); !status_.ok()) { \
      return status_.error();                         \
    }                                                 \
  } while (false)

// CANDOR_TRY(auto x, f()): x is the value of f(), or the caller gets f()'s error.
#define CANDOR_TRY(declaration, expression) \
  CANDOR_TRY_INNER(CANDOR_CONCAT(result_, __LINE__), declaration, expression)
#define CANDOR_TRY_INNER(result, declaration, expression) \
  auto result = (expression);                             \
  if (!result.ok()) return result.error();                \
  declaration = std::move(result).value()
