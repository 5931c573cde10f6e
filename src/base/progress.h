#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace candor {

enum class ProgressMode {
  kQuiet,     // nothing
  kTerminal,  // a bar on standard error; nothing where that is not a terminal
  kJson,      // one JSON object a line on standard error
};

// Progress of one piece of long work; prints at most ten times a second, and its end once.
// Threads: one at a time.
class Progress {
 public:
  // `total` 0: unknown.
  Progress(ProgressMode mode, std::string label, uint64_t total);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void set_total(uint64_t total) { total_ = total; }
  void set(uint64_t done, std::string_view note = {});
  void finish(std::string_view note = {});

 private:
  void print(bool last);

  ProgressMode mode_;
  std::string label_;
  std::string note_;
  uint64_t total_;
  uint64_t done_ = 0;
  bool finished_ = false;
  std::chrono::steady_clock::time_point start_;
  std::chrono::steady_clock::time_point printed_;
};

// Where long work reports how far it is: (done, total, note). Modules take this, not a Progress.
using ProgressSink = std::function<void(uint64_t done, uint64_t total, std::string_view note)>;

}  // namespace candor
