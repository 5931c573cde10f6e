#include "study/worker_process.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <vector>

#include "base/interrupt.h"
#include "base/json.h"
#include "base/strings.h"

namespace candor {

namespace {

constexpr size_t kMostErrorText = 4096;

struct Pipe {
  int read_end = -1;
  int write_end = -1;
  Pipe() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) == 0) {
      read_end = ends[0];
      write_end = ends[1];
    }
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  ~Pipe() {
    close_end(read_end);
    close_end(write_end);
  }
  static void close_end(int& end) {
    if (end >= 0) ::close(end);
    end = -1;
  }
};

// In the child: becomes the program. Only async-signal-safe calls.
[[noreturn]] void become_worker(const std::vector<char*>& arguments, const Pipe& out,
                                const Pipe& err, pid_t parent) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(127);  // the parent went before the line above
  ::dup2(out.write_end, STDOUT_FILENO);
  ::dup2(err.write_end, STDERR_FILENO);
  ::execv(arguments[0], arguments.data());
  ::_exit(127);
}

// Where a worker's lines go: JSON objects on standard output, text on standard error.
struct WorkerLines {
  const std::function<void(const Json&)>& handle;
  std::string error_text = {};
};

void handle_line(const std::string& line, WorkerLines& lines) {
  const Result<Json> json = parse_json(line, "worker");
  if (json.ok() && json->is_object()) lines.handle(*json);
}

// Reads both pipes until they close.
void pump(const Pipe& out, const Pipe& err, pid_t child, WorkerLines& lines) {
  std::array<pollfd, 2> polls = {{{out.read_end, POLLIN, 0}, {err.read_end, POLLIN, 0}}};
  std::string pending;
  bool told = false;
  int open = 2;
  while (open > 0) {
    ::poll(polls.data(), polls.size(), 200);
    if (interrupted() && !told) {
      ::kill(child, SIGINT);
      told = true;
    }
    for (size_t i = 0; i < polls.size(); ++i) {
      if (polls[i].fd < 0 || (polls[i].revents & (POLLIN | POLLHUP)) == 0) continue;
      std::array<char, 4096> buffer{};
      const ssize_t count = ::read(polls[i].fd, buffer.data(), buffer.size());
      if (count < 0 && errno == EINTR) continue;
      if (count <= 0) {
        polls[i].fd = -1;
        --open;
        continue;
      }
      if (i == 1) {
        lines.error_text.append(buffer.data(), static_cast<size_t>(count));
        if (lines.error_text.size() > kMostErrorText) lines.error_text.resize(kMostErrorText);
        continue;
      }
      pending.append(buffer.data(), static_cast<size_t>(count));
      size_t end = 0;
      while ((end = pending.find('\n')) != std::string::npos) {
        handle_line(pending.substr(0, end), lines);
        pending.erase(0, end + 1);
      }
    }
  }
}

constexpr const char* kComfort = "; finished stages are kept";

Status outcome_of(int status, const std::string& label, const std::string& error_text) {
  // The signal that we passed on may arrive before the worker listens for it.
  const bool stopped = WIFSIGNALED(status) && interrupted() &&
                       (WTERMSIG(status) == SIGINT || WTERMSIG(status) == SIGTERM);
  if (stopped) return Error{ErrorCode::kInterrupted, str_cat(label, ": interrupted", kComfort)};
  if (WIFSIGNALED(status)) {
    return resource_error(str_cat(label, ": candor-worker was killed by signal ", WTERMSIG(status),
                                  " (", ::strsignal(WTERMSIG(status)), ")"));
  }
  const int code = WEXITSTATUS(status);
  if (code == 0) return {};
  static constexpr std::string_view kPrefix = "candor-worker: ";
  std::string message(trim(error_text));
  if (message.starts_with(kPrefix)) message.erase(0, kPrefix.size());
  if (message.empty()) message = str_cat("candor-worker ended with exit code ", code);
  for (const ErrorCode kind :
       {ErrorCode::kInvalidArgument, ErrorCode::kResource, ErrorCode::kInterrupted}) {
    if (exit_code(kind) != code) continue;
    const char* comfort = kind == ErrorCode::kInterrupted ? kComfort : "";
    return Error{kind, str_cat(label, ": ", message, comfort)};
  }
  return Error{ErrorCode::kInternal, str_cat(label, ": ", message)};
}

double processor_seconds(const rusage& usage) {
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

// One run of the worker, to its end.
Result<rusage> run_program(const std::vector<std::string>& arguments, const std::string& label,
                           const std::function<void(const Json&)>& handle) {
  const std::string& worker = arguments[0];
  if (::access(worker.c_str(), X_OK) != 0) {
    return resource_error(str_cat(worker, ": ", std::strerror(errno),
                                  "; language-model stages need it (make build)"));
  }
  Pipe out;
  Pipe err;
  if (out.read_end < 0 || err.read_end < 0)
    return resource_error(str_cat("no pipe: ", std::strerror(errno)));
  std::vector<char*> words;
  words.reserve(arguments.size() + 1);
  for (const std::string& argument : arguments) {
    words.push_back(const_cast<char*>(argument.c_str()));  // NOLINT: execv changes none
  }
  words.push_back(nullptr);
  set_worker_environment();
  const pid_t parent = ::getpid();
  const pid_t child = ::fork();
  if (child < 0) return resource_error(str_cat("no process: ", std::strerror(errno)));
  if (child == 0) become_worker(words, out, err, parent);
  Pipe::close_end(out.write_end);
  Pipe::close_end(err.write_end);
  WorkerLines lines{.handle = handle};
  pump(out, err, child, lines);
  int status = 0;
  rusage usage{};
  while (::wait4(child, &status, 0, &usage) < 0 && errno == EINTR) {
  }
  CANDOR_RETURN_IF_ERROR(outcome_of(status, label, lines.error_text));
  return usage;
}

}  // namespace

void set_worker_environment() {
  // Threads of OpenMP that wait for work spin first, by default for milliseconds: with anything
  // else running on the machine, a training took ten times as long. A few microseconds cover the
  // gaps inside a training step, and then they sleep.
  if (std::getenv("OMP_WAIT_POLICY") == nullptr) ::setenv("GOMP_SPINCOUNT", "1000", 0);
}

Result<WorkerUsage> run_worker(const std::filesystem::path& worker,
                               const std::filesystem::path& request, const std::string& label,
                               const ProgressSink& progress) {
  WorkerUsage out;
  const auto handle = [&](const Json& line) {
    out.peak_memory_bytes = line.value("peak_memory_bytes", out.peak_memory_bytes);
    if (!line.contains("progress") || !progress) return;
    progress(line.value("done", uint64_t{0}), line.value("total", uint64_t{0}),
             line.value("note", std::string()));
  };
  CANDOR_TRY(const rusage usage,
             run_program({worker.string(), "stage", request.string()}, label, handle));
  out.processor_seconds = processor_seconds(usage);
  return out;
}

Result<Json> ask_worker(const std::filesystem::path& worker) {
  Json about;
  const Result<rusage> usage = run_program({worker.string(), "about"}, worker.string(),
                                           [&](const Json& line) { about = line; });
  if (!usage.ok()) return usage.error();
  if (!about.is_object()) {
    return resource_error(str_cat(worker.string(), ": does not say what it is; build it again"));
  }
  return about;
}

}  // namespace candor
