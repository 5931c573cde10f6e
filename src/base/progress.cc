#include "base/progress.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "base/json.h"
#include "base/strings.h"

namespace candor {

Progress::Progress(ProgressMode mode, std::string label, uint64_t total)
    : mode_(mode),
      label_(std::move(label)),
      total_(total),
      start_(std::chrono::steady_clock::now()) {
  if (mode_ == ProgressMode::kTerminal && ::isatty(STDERR_FILENO) == 0) {
    mode_ = ProgressMode::kQuiet;
  }
}

Progress::~Progress() {
  if (!finished_ && mode_ == ProgressMode::kTerminal) std::fputs("\n", stderr);
}

void Progress::set(uint64_t done, std::string_view note) {
  done_ = done;
  note_ = note;
  const auto now = std::chrono::steady_clock::now();
  if (now - printed_ < std::chrono::milliseconds(100)) return;
  printed_ = now;
  print(false);
}

void Progress::finish(std::string_view note) {
  if (finished_) return;
  if (total_ != 0) done_ = total_;
  if (!note.empty()) note_ = note;
  print(true);
  finished_ = true;
}

void Progress::print(bool last) {
  if (mode_ == ProgressMode::kQuiet) return;
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start_;
  if (mode_ == ProgressMode::kJson) {
    const Json line = {{"progress", label_},         {"done", done_}, {"total", total_},
                       {"seconds", elapsed.count()}, {"note", note_}, {"finished", last}};
    std::fprintf(stderr, "%s\n", to_line(line).c_str());
    return;
  }
  static constexpr int kWidth = 24;
  const double fraction =
      total_ == 0 ? 0.0 : std::min(1.0, static_cast<double>(done_) / static_cast<double>(total_));
  std::string bar;
  for (int i = 0; i < kWidth; ++i) bar += i < static_cast<int>(fraction * kWidth) ? "#" : "-";
  std::fprintf(stderr, "\r\x1b[K%-22s [%s] %3d %%  %5.1f s  %s%s", printable(label_).c_str(),
               total_ == 0 ? "" : bar.c_str(), static_cast<int>(fraction * 100), elapsed.count(),
               printable(note_).c_str(), last ? "\n" : "");
  std::fflush(stderr);
}

}  // namespace candor
