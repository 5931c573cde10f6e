#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <chrono>
#include <cmath>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/fixed_point.h"
#include "base/interrupt.h"
#include "base/result.h"
#include "core/game.h"

namespace candor::python {

namespace py = pybind11;

// What Python sees as candor.CandorError, a ValueError: a Result's error with its message.
class CandorError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

template <typename T>
T unwrap(Result<T> result) {
  if (result.ok()) return std::move(result).value();
  throw CandorError(result.error().message);
}

inline void check(const Status& status) {
  if (!status.ok()) throw CandorError(status.error().message);
}

// Runs `work` on a thread of its own without the interpreter's lock, and looks for signals 20 times
// a second: Ctrl-C sets the flag that core's long loops poll, and KeyboardInterrupt follows when
// they have stopped. REQUIRES: work touches Python only under py::gil_scoped_acquire.
template <typename Work>
auto run_long(const Work& work) -> decltype(work()) {
  using Value = decltype(work());
  std::optional<Value> value;
  std::exception_ptr error;
  std::mutex mutex;
  std::condition_variable changed;
  bool done = false;
  bool interrupt = false;
  clear_interrupt();
  {
    const py::gil_scoped_release release;
    std::jthread thread([&] {
      try {
        value.emplace(work());
      } catch (...) {
        error = std::current_exception();
      }
      const std::scoped_lock lock(mutex);
      done = true;
      changed.notify_one();
    });
    std::unique_lock lock(mutex);
    while (!changed.wait_for(lock, std::chrono::milliseconds(50), [&] { return done; })) {
      lock.unlock();
      {
        const py::gil_scoped_acquire acquire;
        if (!interrupt && PyErr_CheckSignals() != 0) {
          interrupt = true;
          PyErr_Clear();
          request_interrupt();
        }
      }
      lock.lock();
    }
  }
  clear_interrupt();
  if (interrupt) {
    PyErr_SetNone(PyExc_KeyboardInterrupt);
    throw py::error_already_set();
  }
  if (error) std::rethrow_exception(error);
  return std::move(*value);
}

// A read-only view of numbers that `owner` keeps alive; nothing is copied.
inline py::array view(const std::vector<double>& values, const py::handle& owner) {
  py::array out(py::dtype::of<double>(), {values.size()}, {sizeof(double)}, values.data(), owner);
  out.attr("flags").attr("writeable") = false;
  return out;
}

// Any sequence of numbers as doubles; one-dimensional.
inline std::vector<double> numbers(
    const py::array_t<double, py::array::c_style | py::array::forcecast>& array, const char* what) {
  if (array.ndim() != 1) {
    throw CandorError(std::string(what) + ": expected one dimension, found " +
                      std::to_string(array.ndim()));
  }
  return {array.data(), array.data() + array.size()};
}
using Numbers = py::array_t<double, py::array::c_style | py::array::forcecast>;

inline py::int_ to_python(Int128 value) {
  return py::reinterpret_steal<py::int_>(PyLong_FromString(to_string(value).c_str(), nullptr, 10));
}
inline Int128 from_python(const py::int_& value) {
  return unwrap(parse_int128(py::str(value).cast<std::string>()));
}

inline size_t group_index(const Game& game, const std::variant<size_t, std::string>& group) {
  if (const size_t* index = std::get_if<size_t>(&group)) {
    if (*index < game.groups.size()) return *index;
    throw py::index_error("group " + std::to_string(*index) + " of " +
                          std::to_string(game.groups.size()));
  }
  const std::string& name = std::get<std::string>(group);
  if (name.empty()) throw CandorError("no group is named \"\"");
  return unwrap(find_group(game, name));
}

inline void check_finite(const std::vector<double>& values, const char* what) {
  for (size_t i = 0; i < values.size(); ++i) {
    if (std::isfinite(values[i])) continue;
    throw CandorError(std::string(what) + "[" + std::to_string(i) + "]: is not finite");
  }
}

// A model or reward of the game's length, every number finite.
inline std::vector<double> outcome_values(const Game& game, const Numbers& array,
                                          const char* what) {
  std::vector<double> values = numbers(array, what);
  if (values.size() != game.outcome_count()) {
    throw CandorError(std::string(what) + ": has " + std::to_string(values.size()) +
                      " entries; the game has " + std::to_string(game.outcome_count()));
  }
  check_finite(values, what);
  return values;
}

inline double size_above_0(double size) {
  if (std::isfinite(size) && size > 0) return size;
  throw CandorError("size: found " + std::to_string(size) + "; expected a finite number above 0");
}

// A progress callable (done, total) as core wants it; errors in it are Python's to report.
inline std::function<void(size_t, size_t)> progress_of(const py::object& callable) {
  if (callable.is_none()) return {};
  return [&callable](size_t done, size_t total) {
    const py::gil_scoped_acquire acquire;
    try {
      callable(done, total);
    } catch (py::error_already_set& error) {
      error.discard_as_unraisable("candor progress");
    }
  };
}

void bind_game(py::module_& module);
void bind_table(py::module_& module);
void bind_audit(py::module_& module);
void bind_lab(py::module_& module);

}  // namespace candor::python
