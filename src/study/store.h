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

// A file or folder that a stage reads, and the digest of what it is meant to read there: the worker
// refuses anything else.
struct StageInput {
  std::filesystem::path path;
  std::string digest;
};

// One stage: `spec` is its identity (inputs by digest, settings, threads, instruction set),
// `inputs` where they lie now.
struct Stage {
  std::string kind;   // "reward", "bank", "score"
  std::string label;  // for people, one to each stage of a run: "reward harmless"
  Json spec;
  std::map<std::string, StageInput> inputs;

  // Hex SHA-256 over kind, the kind's version and spec: same key, same bytes.
  [[nodiscard]] std::string key() const;
};

// What a finished stage left.
struct Artifact {
  std::filesystem::path folder;
  Json files;  // name -> digest
};

// A content-addressed store of finished stages: one folder each, named KIND-KEY, which appears by
// one rename and never changes. Several runs, on several machines that share the folder, may use
// one store: whatever is made twice has the same bytes, and the first rename wins.
//
// Killing any process at any moment leaves at worst a ".tmp-" folder, which the next run on that
// machine removes; folders of runs that are still alive stay. A stage that trains gets a folder for
// its checkpoints that outlives a killed run and goes when the artifact is there; where another run
// is training the same stage, one of its own.
class Store {
 public:
  // Creates the folder and removes what killed runs left. Errors: kResource.
  static Result<Store> open(const std::filesystem::path& root, const std::filesystem::path& worker);

  // `sink` hears what each worker took, once it has ended well.
  using UsageSink = std::function<void(const Stage&, const WorkerUsage&)>;
  void report_usage(UsageSink sink) { usage_sink_ = std::move(sink); }
  // `sink` hears, in a sentence, why a stage is made although the store holds one that looks alike.
  using NoticeSink = std::function<void(const std::string&)>;
  void report_notices(NoticeSink sink) { notice_sink_ = std::move(sink); }

  [[nodiscard]] bool has(const Stage& stage) const;
  [[nodiscard]] std::filesystem::path path_of(const Stage& stage) const;

  // Found (its files checked against their digests), or made by running candor-worker. Errors: what
  // the worker said, with its kind; a stored file that has changed.
  Result<Artifact> get(const Stage& stage, const ProgressSink& progress) const;

 private:
  Store(std::filesystem::path root, std::filesystem::path worker)
      : root_(std::move(root)), worker_(std::move(worker)) {}
  [[nodiscard]] Result<Artifact> check(const Stage& stage) const;
  [[nodiscard]] Status make(const Stage& stage, const ProgressSink& progress) const;
  [[nodiscard]] Status run(const Stage& stage, const std::filesystem::path& temporary,
                           const std::filesystem::path& checkpoints,
                           const ProgressSink& progress) const;
  void tell_of_earlier(const Stage& stage) const;
  std::filesystem::path root_;
  std::filesystem::path worker_;
  UsageSink usage_sink_;
  NoticeSink notice_sink_;
};

}  // namespace candor
