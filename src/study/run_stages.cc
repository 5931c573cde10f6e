#include "study/run_stages.h"

#include <utility>

#include "base/strings.h"
#include "receipt/canonical_json.h"

namespace candor {

Result<std::filesystem::path> RunStages::get(Stage stage) {
  const std::string label = stage.label;
  for (int number = 2; !labels_.insert(stage.label).second; ++number) {
    stage.label = str_cat(label, " (", number, ")");
  }
  const bool stored = store_.has(stage);
  CANDOR_TRY(Artifact artifact, store_.get(stage, sink_(stage.label, stored)));
  Json entry = {{"label", stage.label},
                {"kind", stage.kind},
                {"artifact", artifact.folder.filename().string()},
                {"files", std::move(artifact.files)}};
  if (misreports_) entry["misreport"] = true;
  list_.push_back(std::move(entry));
  return artifact.folder;
}

std::string RunStages::digest_of_stages(const Json& list) {
  Json settled = Json::array();
  for (const Json& entry : list) {
    if (!entry.contains("misreport")) settled.push_back(entry);
  }
  return digest_of(canonical_json(settled).value());
}

}  // namespace candor
