#pragma once

#include <chrono>
#include <cstdlib>
#include <memory>
#include <string>

#include "base/json.h"
#include "base/progress.h"
#include "base/strings.h"

namespace candor {

// Shows each stage's progress and keeps its time.
class StageClock {
 public:
  explicit StageClock(ProgressMode mode) : mode_(mode) {}

  ProgressSink start(const std::string& label, bool stored) {
    finish();
    if (stored) return {};
    label_ = label;
    begin_ = std::chrono::steady_clock::now();
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

  void finish() {
    if (progress_ == nullptr) return;
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin_;
    progress_->finish();
    progress_.reset();
    Json entry = {{"stage", label_}, {"seconds", elapsed.count()}};
    if (tokens_per_second_ > 0) entry["tokens_per_second"] = tokens_per_second_;
    timings_.push_back(std::move(entry));
    tokens_per_second_ = 0;
  }

  [[nodiscard]] const Json& timings() const { return timings_; }

 private:
  ProgressMode mode_;
  std::string label_;
  std::string last_note_;
  std::unique_ptr<Progress> progress_;
  std::chrono::steady_clock::time_point begin_;
  double tokens_per_second_ = 0;
  Json timings_ = Json::array();
};

}  // namespace candor
