#pragma once

#include <filesystem>
#include <string>

#include "base/json.h"
#include "files/run_files.h"
#include "study/study.h"
#include "study/verify_run.h"

namespace candor {

// The parts of verify_run, which collects what each finds.
class RunChecks {
 public:
  RunChecks(std::filesystem::path folder, const Study& study, const RunRecord& run)
      : folder_(std::move(folder)), study_(study), run_(run) {}

  [[nodiscard]] const std::filesystem::path& folder() const { return folder_; }
  [[nodiscard]] const Study& study() const { return study_; }
  [[nodiscard]] const RunRecord& run() const { return run_; }
  [[nodiscard]] bool has(const std::string& name) const {
    return std::filesystem::exists(folder_ / name);
  }

  void holds(const std::string& item) {
    verdict_.checks.push_back({item, RunCheck::Outcome::kHolds, {}});
  }
  void fails(const std::string& item, const std::string& detail) {
    verdict_.checks.push_back({item, RunCheck::Outcome::kFails, detail});
  }
  void not_checked(const std::string& item, const std::string& why) {
    verdict_.checks.push_back({item, RunCheck::Outcome::kNotChecked, why});
  }
  // Holds where the status is ok, else fails with its message.
  void add(const std::string& item, const Status& status);

  [[nodiscard]] RunVerdict take() { return std::move(verdict_); }

 private:
  std::filesystem::path folder_;
  const Study& study_;
  const RunRecord& run_;
  RunVerdict verdict_;
};

// "FIELD: found X; TEXT says Y", where they differ.
Status expect_equal(const std::string& field, const Json& found, const Json& expected,
                    const std::string& source);

// Every key that both objects have is equal; the first that is not, by its path.
Status expect_same_fields(const Json& found, const Json& expected, const std::string& source);

void check_menu_run(RunChecks& checks);
void check_sampled_run(RunChecks& checks);

}  // namespace candor
