#pragma once

#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "apps/command.h"
#include "base/json.h"
#include "base/progress.h"
#include "base/strings.h"
#include "study/cost_model.h"
#include "study/worker_process.h"

namespace candor {

// Shows each stage's progress and keeps what it took: timings.json.
class StageClock {
 public:
  // `planned`: what `candor plan` says of the stages, to stand beside what they take.
  StageClock(ProgressMode mode, std::vector<StageCost> planned)
      : mode_(mode), planned_(std::move(planned)) {}

  ProgressSink start(const std::string& label, bool stored) {
    finish();
    label_ = label;
    if (stored) {
      take_planned();
      return {};
    }
    begin_ = std::chrono::steady_clock::now();
    began_ = clock_time();
    progress_ = std::make_unique<Progress>(mode_, label, 0);
    return [this](uint64_t done, uint64_t total, std::string_view note) {
      progress_->set_total(total);
      const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin_;
      const std::string text = note.empty() ? str_cat(done, " of ", total) : std::string(note);
      last_note_ = text;
      if (text.ends_with(" tokens")) {
        tokens_per_second_ = std::strtod(text.c_str(), nullptr) / elapsed.count();
        progress_->set(done, str_cat(text, ", ", format_short(tokens_per_second_, 3), "/s"));
      } else {
        progress_->set(done, text);
      }
    };
  }

  // Of the stage that runs.
  void set_usage(const WorkerUsage& usage) { usage_ = usage; }

  void finish() {
    if (progress_ == nullptr) return;
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin_;
    progress_->finish();
    progress_.reset();
    Json entry = {{"stage", label_}, {"seconds", elapsed.count()}};
    const std::optional<StageCost> planned = take_planned();
    if (tokens_per_second_ > 0) entry["tokens_per_second"] = tokens_per_second_;
    if (usage_.has_value()) {
      entry["processor_seconds"] = usage_->processor_seconds;
      if (usage_->peak_memory_bytes > 0) entry["peak_memory_bytes"] = usage_->peak_memory_bytes;
    }
    if (planned.has_value()) {
      entry["planned_seconds"] = planned->seconds;
      entry["planned_memory_bytes"] = planned->memory_bytes;
    }
    print_line(elapsed.count(), planned);
    timings_.push_back(std::move(entry));
    tokens_per_second_ = 0;
    usage_.reset();
  }

  [[nodiscard]] const Json& timings() const { return timings_; }

 private:
  std::optional<StageCost> take_planned() {
    const auto found = std::ranges::find(planned_, label_, &StageCost::stage);
    if (found == planned_.end()) return std::nullopt;
    StageCost out = *found;
    planned_.erase(found);
    return out;
  }

  // Where no bar can be drawn (a log, a pipe): a line when a stage has ended.
  void print_line(double seconds, const std::optional<StageCost>& planned) const {
    if (mode_ != ProgressMode::kTerminal || ::isatty(STDERR_FILENO) != 0) return;
    std::fprintf(stderr, "%s: began %s, took %s%s\n", label_.c_str(), began_.c_str(),
                 format_duration(seconds).c_str(),
                 planned.has_value()
                     ? str_cat(", planned ", format_duration(planned->seconds)).c_str()
                     : "");
  }

  static std::string clock_time() {
    const std::time_t now = std::time(nullptr);
    std::tm local{};
    ::localtime_r(&now, &local);
    std::array<char, 16> text{};
    std::strftime(text.data(), text.size(), "%H:%M:%S", &local);
    return text.data();
  }

  ProgressMode mode_;
  std::string began_;  // HH:MM:SS
  std::vector<StageCost> planned_;
  std::optional<WorkerUsage> usage_;
  std::string label_;
  std::string last_note_;
  std::unique_ptr<Progress> progress_;
  std::chrono::steady_clock::time_point begin_;
  double tokens_per_second_ = 0;
  Json timings_ = Json::array();
};

}  // namespace candor
