#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <string>

#include "base/json.h"
#include "base/progress.h"
#include "base/result.h"
#include "study/worker_process.h"

namespace candor {

// One stage: `spec` is its identity (inputs by digest, settings, threads, instruction set), `paths`
// where the inputs lie now.
struct Stage {
  std::string kind;   // "reward", "bank", "score"
  std::string label;  // for people: "reward harmless"
  Json spec;
  std::map<std::string, std::filesystem::path> paths;

  // Hex SHA-256 over kind, spec and the program's version: same key, same bytes.
  [[nodiscard]] std::string key() const;
};

// A content-addressed store of finished stages: one folder each, named KIND-KEY, which appears by
// one rename and never changes. Killing any process at any moment leaves at worst a ".tmp-" folder,
// which the next run removes; folders of other runs that are still alive stay. A stage that trains
// gets a folder for its checkpoints (the path "checkpoints") that outlives a killed run and goes
// when the artifact is there.
class Store {
 public:
  // Creates the folder and removes what killed runs left. Errors: kResource.
  static Result<Store> open(const std::filesystem::path& root, const std::filesystem::path& worker);

  // `sink` hears what each worker took, once it has ended well.
  using UsageSink = std::function<void(const Stage&, const WorkerUsage&)>;
  void report_usage(UsageSink sink) { usage_sink_ = std::move(sink); }

  [[nodiscard]] bool has(const Stage& stage) const;
  [[nodiscard]] std::filesystem::path path_of(const Stage& stage) const;

  // The artifact's folder: found (its files checked against their digests), or made by running
  // candor-worker. Errors: what the worker said, with its kind; a stored file that has changed.
  Result<std::filesystem::path> get(const Stage& stage, const ProgressSink& progress) const;

 private:
  Store(std::filesystem::path root, std::filesystem::path worker)
      : root_(std::move(root)), worker_(std::move(worker)) {}
  [[nodiscard]] Status check(const Stage& stage) const;
  [[nodiscard]] Status make(const Stage& stage, const ProgressSink& progress) const;
  std::filesystem::path root_;
  std::filesystem::path worker_;
  UsageSink usage_sink_;
};

}  // namespace candor
