#include "study/verify_run.h"

#include <algorithm>

#include "base/file.h"
#include "base/strings.h"
#include "receipt/canonical_json.h"
#include "study/run_checks.h"
#include "study/run_stages.h"

namespace candor {

namespace {

namespace fs = std::filesystem;

constexpr const char* kEarlier = "the run is of a program that did not record it";

// A seal's own digest, run.json's, and what the study says.
Status check_seal(const RunChecks& checks) {
  CANDOR_TRY(const SealRecord seal, read_seal(checks.folder() / "seal.json", "seal/1"));
  const Study& study = checks.study();
  const RunRecord& run = checks.run();
  CANDOR_RETURN_IF_ERROR(
      expect_equal("$.digest", seal.digest, seal.content_digest, "the seal's content"));
  CANDOR_RETURN_IF_ERROR(expect_equal("$.digest", seal.digest, run.seal, "run.json"));
  Json said = {{"prompts", run.prompts},
               {"model", run.initial_model},
               {"divergence", divergence_name(study.divergence.kind)},
               {"lambda", format_double(study.divergence.regularization)},
               {"normalization", study.normalization},
               {"currency", study.currency.code},
               {"max_size", study.max_size}};
  CANDOR_TRY(const std::string resolved, read_file(checks.folder() / "study.resolved.yaml"));
  CANDOR_TRY(const Json written,
             parse_json(resolved.substr(std::min(resolved.find('\n'), resolved.size())),
                        "study.resolved.yaml"));
  for (const char* key : {"menu", "experts"}) {
    if (written.is_object() && written.contains(key) && seal.json.contains(key)) {
      said[key] = digest_of(to_line(written[key]));
    }
  }
  if (seal.json.contains("exponent")) {
    said["exponent"] = study.currency.exponent;
    said["unit_price"] = study.unit_price.text();
  }
  for (const auto& item : said.items()) {
    CANDOR_RETURN_IF_ERROR(expect_equal("$." + item.key(), seal.json.value(item.key(), Json()),
                                        item.value(), "the run's study and run.json"));
  }
  return {};
}

// Every file that a run of this program writes, against the digests that it left.
void check_files(RunChecks& checks) {
  if (!checks.run().files.has_value()) {
    checks.not_checked("files of the run", kEarlier);
    return;
  }
  const RunRecord& run = checks.run();
  checks.add("run.json", expect_equal("$.digest", run.digest, run.content_digest, "its content"));
  for (const auto& [name, digest] : *checks.run().files) {
    const Result<std::string> found = digest_of_file((checks.folder() / name).string());
    checks.add(name, found.ok() ? expect_equal("digest", *found, digest, "run.json")
                                : Status(found.error()));
  }
}

Status check_artifact(const StageRecord& stage, const fs::path& folder) {
  for (const auto& [name, digest] : stage.files) {
    CANDOR_TRY(const std::string found, digest_of_file((folder / name).string()));
    CANDOR_RETURN_IF_ERROR(expect_equal(name, found, digest, "run.json"));
  }
  return {};
}

void check_stages(RunChecks& checks, const fs::path& store) {
  const RunRecord& run = checks.run();
  if (!run.stages.has_value()) {
    checks.not_checked("stages", kEarlier);
    return;
  }
  checks.add("run.json: stages",
             expect_equal("$.stages_digest", run.stages_digest,
                          RunStages::digest_of_stages(run.json["stages"]), "the list of stages"));
  for (const StageRecord& stage : *run.stages) {
    const std::string item = "stage " + stage.label;
    const fs::path folder = store / stage.artifact;
    if (!fs::exists(folder)) {
      checks.not_checked(item, str_cat(folder.string(), " is not there (--cache names the store)"));
    } else {
      checks.add(item, check_artifact(stage, folder));
    }
  }
}

}  // namespace

bool RunVerdict::holds() const {
  return std::ranges::none_of(
      checks, [](const RunCheck& check) { return check.outcome == RunCheck::Outcome::kFails; });
}

void RunChecks::add(const std::string& item, const Status& status) {
  if (status.ok()) {
    holds(item);
  } else {
    fails(item, status.error().message);
  }
}

Status expect_equal(const std::string& field, const Json& found, const Json& expected,
                    const std::string& source) {
  if (found == expected) return {};
  constexpr size_t kMostShown = 120;
  const auto shown = [](const Json& value) {
    const std::string text = to_line(value);
    return text.size() <= kMostShown ? text : text.substr(0, kMostShown) + "...";
  };
  return invalid_argument(
      str_cat(field, ": found ", shown(found), "; ", source, " says ", shown(expected)));
}

Status expect_same_fields(const Json& found, const Json& expected, const std::string& source) {
  if (!found.is_object()) return expect_equal("$", found, expected, source);
  for (const auto& item : expected.items()) {
    if (!found.contains(item.key())) continue;
    CANDOR_RETURN_IF_ERROR(
        expect_equal("$." + item.key(), found[item.key()], item.value(), source));
  }
  return {};
}

Result<RunVerdict> verify_run(const fs::path& folder, const fs::path& store) {
  CANDOR_TRY(const RunRecord run, read_run_record(folder / "run.json"));
  CANDOR_TRY(const Study study, load_resolved_study((folder / "study.resolved.yaml").string()));
  RunChecks checks(folder, study, run);
  checks.add("seal.json", check_seal(checks));
  if (study.menu.has_value()) {
    check_menu_run(checks);
  } else {
    check_sampled_run(checks);
  }
  check_files(checks);
  check_stages(checks, store.empty() ? folder / "stages" : store);
  return checks.take();
}

}  // namespace candor
