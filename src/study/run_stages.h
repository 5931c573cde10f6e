#pragma once

#include <filesystem>
#include <functional>
#include <set>
#include <string>

#include "base/json.h"
#include "base/progress.h"
#include "base/result.h"
#include "study/store.h"

namespace candor {

// Tells which stage runs and how far it is; a stage found in the store reports once.
using StageSink = std::function<ProgressSink(const std::string& label, bool stored)>;

// The stages of one run as it goes through them: gets each out of the store and keeps a list with
// the digest of every file, so that whatever is settled names the bytes it was settled on.
class RunStages {
 public:
  RunStages(const Store& store, const StageSink& sink) : store_(store), sink_(sink) {}

  // The stage's folder, found or made. A label that this run has had already gets a number.
  Result<std::filesystem::path> get(Stage stage);

  // What follows is made under misreports: nothing is settled on it.
  void begin_misreports() { misreports_ = true; }

  // For run.json: [{"label","kind","artifact" (a folder's name),"files" {name: digest},
  // "misreport"?}], in order.
  [[nodiscard]] const Json& list() const { return list_; }
  // Over the entries that are settled on.
  [[nodiscard]] std::string digest() const { return digest_of_stages(list_); }
  // The same of a run.json's `stages`. REQUIRES: a list as `list` makes it.
  [[nodiscard]] static std::string digest_of_stages(const Json& list);

 private:
  const Store& store_;
  const StageSink& sink_;
  bool misreports_ = false;
  std::set<std::string> labels_;
  Json list_ = Json::array();
};

}  // namespace candor
