#include <algorithm>
#include <cmath>
#include <map>
#include <optional>

#include "base/file.h"
#include "base/fixed_point.h"
#include "base/strings.h"
#include "core/table_audit.h"
#include "formats/records.h"
#include "receipt/canonical_json.h"
#include "study/menu_candidates.h"
#include "study/menu_table.h"
#include "study/receipt_file.h"
#include "study/result_files.h"
#include "study/run_checks.h"
#include "study/table_file.h"

namespace candor {

namespace {

namespace fs = std::filesystem;

// The artifact of that kind, of the stages that are settled on.
const StageRecord* stage_of_kind(const RunRecord& run, const std::string& kind) {
  if (!run.stages.has_value()) return nullptr;
  for (const StageRecord& stage : *run.stages) {
    if (stage.kind == kind && !stage.misreport) return &stage;
  }
  return nullptr;
}

Status check_menu_seal(const RunChecks& checks) {
  CANDOR_TRY(const SealRecord seal, read_seal(checks.folder() / "menu_seal.json", "menu-seal/1"));
  const RunRecord& run = checks.run();
  CANDOR_RETURN_IF_ERROR(
      expect_equal("$.digest", seal.digest, seal.content_digest, "the seal's content"));
  CANDOR_RETURN_IF_ERROR(expect_equal("$.digest", seal.digest, run.menu_seal, "run.json"));
  CANDOR_RETURN_IF_ERROR(
      expect_equal("$.rules", seal.json.value("rules", Json()), run.seal, "run.json"));
  const StageRecord* bank = stage_of_kind(run, "menu_bank");
  if (bank == nullptr || !bank->files.contains("bank.jsonl")) return {};
  return expect_equal("$.bank", seal.json.value("bank", Json()), bank->files.at("bank.jsonl"),
                      "run.json");
}

// The scored bank of the run's own files, as the pipeline had it.
struct RecordedBank {
  MenuBank bank;
  std::vector<Normalizer> normalizers;
  size_t prompts = 0;
};

Status read_candidates(const fs::path& file, const Study& study, RecordedBank& out) {
  CANDOR_TRY(const Json menu, read_json_file(file.string()));
  JsonReader in(menu, file.string());
  static const std::map<std::string, MenuCandidate::Kind> kKinds = {
      {"initial", MenuCandidate::Kind::kInitial},
      {"soup", MenuCandidate::Kind::kSoup},
      {"mixture", MenuCandidate::Kind::kMixture},
      {"trained", MenuCandidate::Kind::kAdapter}};
  static const std::vector<std::string> kNames = {"initial", "soup", "mixture", "trained"};
  for (JsonReader& candidate : in.objects("candidates")) {
    MenuCandidate entry{.name = candidate.text("name"), .weights = candidate.numbers("weights")};
    entry.kind = kKinds.at(candidate.choice_or("kind", "initial", kNames));
    entry.on_menu = candidate.boolean("on_menu");
    out.bank.candidates.push_back(std::move(entry));
  }
  std::vector<JsonReader> constants = in.objects("normalization");
  CANDOR_RETURN_IF_ERROR(in.status());
  for (size_t i = 0; i < constants.size(); ++i) {
    const std::string group = constants[i].text("group");
    if (i >= study.groups.size() || group != study.groups[i].name) {
      return constants[i].error_at("group", "is not the study's");
    }
    out.normalizers.push_back({constants[i].number("low"), constants[i].number("high")});
  }
  CANDOR_RETURN_IF_ERROR(in.status());
  if (constants.size() == study.groups.size()) return {};
  return in.error_at("normalization", str_cat("found ", constants.size(), " groups; the study has ",
                                              study.groups.size()));
}

Status read_reply(JsonReader line, const Study& study, const RecordedBank& all, size_t place,
                  MenuBank& bank) {
  const auto samples = static_cast<size_t>(study.bank.samples);
  const size_t block = all.prompts * samples;
  const bool fits = line.text("candidate") == bank.candidates[place / block].name &&
                    line.integer("prompt_index", 0, INT64_MAX) ==
                        static_cast<int64_t>(place / samples % all.prompts) &&
                    line.integer("sample", 0, INT64_MAX) == static_cast<int64_t>(place % samples);
  const bool infinite = line.any("divergence") == "infinite";
  bank.divergences.push_back(infinite ? HUGE_VAL : line.number("divergence"));
  JsonReader scores = line.object("scores");
  for (size_t i = 0; i < study.groups.size(); ++i) {
    bank.scores[i].push_back(scores.number(study.groups[i].name));
  }
  CANDOR_RETURN_IF_ERROR(line.status());
  return fits ? Status() : Status(line.error_at("candidate", "the reply is out of order"));
}

Result<RecordedBank> read_bank(const RunChecks& checks) {
  const Study& study = checks.study();
  RecordedBank out;
  CANDOR_RETURN_IF_ERROR(read_candidates(checks.folder() / "menu.json", study, out));
  const fs::path file = checks.folder() / "bank.jsonl";
  CANDOR_TRY(const std::vector<Json> lines, read_jsonl(file));
  const size_t per_prompt = out.bank.candidates.size() * static_cast<size_t>(study.bank.samples);
  if (per_prompt == 0 || lines.empty() || lines.size() % per_prompt != 0) {
    return invalid_argument(str_cat(file.string(), ": found ", lines.size(),
                                    " replies; expected a multiple of ", per_prompt,
                                    " (candidates x samples)"));
  }
  out.prompts = lines.size() / per_prompt;
  out.bank.scores.resize(study.groups.size());
  for (size_t r = 0; r < lines.size(); ++r) {
    JsonReader line(lines[r], str_cat(file.string(), ":", r + 1));
    CANDOR_RETURN_IF_ERROR(read_reply(line, study, out, r, out.bank));
  }
  return out;
}

// The makers of every candidate of the menu, from the study and the names of its runs.
std::vector<std::vector<size_t>> makers_of_menu(const Study& study, const MenuBank& bank,
                                                const std::vector<size_t>& menu) {
  MenuPipeline pipeline;
  pipeline.base.study = study;
  pipeline.runs = expert_runs(study);
  std::vector<std::vector<size_t>> out;
  for (const size_t k : menu) {
    MenuCandidate candidate = bank.candidates[k];
    size_t adapter = study.groups.size();
    for (const ExpertRun& run : pipeline.runs) {
      const bool expert = run.role == ExpertRun::Role::kExpert;
      if (run.name == candidate.name) candidate.adapter = expert ? run.group : adapter;
      if (!expert) ++adapter;
    }
    out.push_back(pipeline.makers_of(candidate));
  }
  return out;
}

// The numbers of a table: those of `expected`, made from the bank.
Status expect_same_table(const Table& found, const Table& expected) {
  if (found.candidates.size() != expected.candidates.size() ||
      found.groups.size() != expected.groups.size()) {
    return invalid_argument("$.candidates, $.groups: not those of menu.json and the study");
  }
  static constexpr const char* kBank = "bank.jsonl";
  for (size_t k = 0; k < found.candidates.size(); ++k) {
    const std::string place = str_cat("$.candidates[", k, "].");
    CANDOR_RETURN_IF_ERROR(
        expect_equal(place + "name", found.candidates[k].name, expected.candidates[k].name, kBank));
    CANDOR_RETURN_IF_ERROR(expect_equal(place + "divergence", found.candidates[k].divergence,
                                        expected.candidates[k].divergence, kBank));
    CANDOR_RETURN_IF_ERROR(expect_equal(place + "made_by", found.candidates[k].made_by,
                                        expected.candidates[k].made_by, "the study"));
  }
  for (size_t i = 0; i < found.groups.size(); ++i) {
    const std::string place = str_cat("$.groups[", i, "].");
    CANDOR_RETURN_IF_ERROR(
        expect_equal(place + "name", found.groups[i].name, expected.groups[i].name, "the study"));
    CANDOR_RETURN_IF_ERROR(expect_equal(place + "size", found.groups[i].group_size,
                                        expected.groups[i].group_size, "the study"));
    for (size_t k = 0; k < found.candidates.size(); ++k) {
      CANDOR_RETURN_IF_ERROR(expect_equal(str_cat(place, "valuations[", k, "]"),
                                          found.groups[i].valuations[k],
                                          expected.groups[i].valuations[k], kBank));
    }
  }
  return {};
}

// What a table says it was made from.
Status check_provenance(const RunChecks& checks, const fs::path& file) {
  CANDOR_TRY(const Json table, read_json_file(file.string()));
  const RunRecord& run = checks.run();
  Json expected = {{"seal", run.seal},
                   {"menu_seal", run.menu_seal},
                   {"model", run.initial_model},
                   {"prompts", run.prompts},
                   {"seed", checks.study().seed},
                   {"lambda", format_double(checks.study().divergence.regularization)}};
  if (run.stages.has_value()) expected["stages"] = run.stages_digest;
  const Json found = table.value("provenance", Json());
  for (const auto& item : expected.items()) {
    CANDOR_RETURN_IF_ERROR(expect_equal(
        "$.provenance." + item.key(), found.is_object() ? found.value(item.key(), Json()) : Json(),
        item.value(), "run.json"));
  }
  return {};
}

Status check_settlement(const RunChecks& checks, const std::string& prefix,
                        const MenuSettlement& settled) {
  CANDOR_TRY(
      const std::string expected,
      canonical_json(settlement_json(settled.table, settled.digest, settled.settlement, true)));
  CANDOR_TRY(const std::string found, read_file(checks.folder() / (prefix + "settlement.json")));
  if (found == expected + "\n") return {};
  CANDOR_TRY(const Json parsed, parse_json(found, "settlement.json"));
  CANDOR_TRY(const Json anew, parse_json(expected, "settlement.json"));
  CANDOR_RETURN_IF_ERROR(expect_same_fields(parsed, anew, "the table, settled anew,"));
  return invalid_argument("its bytes are not the canonical JSON of the table's settlement");
}

Status check_receipt(const RunChecks& checks, const std::string& name,
                     const MenuSettlement& settled, size_t group) {
  CANDOR_TRY(const Json expected, receipt_json(checks.study(), settled, group));
  const fs::path file = checks.folder() / name;
  CANDOR_TRY(Json found, read_json_file(file.string()));
  JsonReader in(found, file.string());
  for (const char* key : {"group", "amount", "payment", "valuation", "utility", "table"}) {
    (void)in.text(key);
  }
  CANDOR_RETURN_IF_ERROR(in.status());
  // Before money was decimal a price was a number.
  if (found["unit_price"].is_number()) {
    found["unit_price"] = format_double(found["unit_price"].get<double>());
  }
  return expect_same_fields(found, expected, "the settlement");
}

Status check_audit(const RunChecks& checks, const std::string& name, const Table& table,
                   PaymentRule rule) {
  CANDOR_TRY(const TableAudit audit, audit_table(table, rule));
  CANDOR_TRY(const Json found, read_json_file((checks.folder() / name).string()));
  return expect_same_fields(found, audit_json(table, audit), "the table, audited anew,");
}

// The table of the run's bank. Runs of 0.1.0 do not say who made a candidate.
Result<Table> table_of(const RunChecks& checks, const MenuTable& menu, const MenuBank& bank,
                       const std::vector<int64_t>& sizes) {
  CANDOR_TRY(Table out, make_table(menu.menu, sizes, checks.study().max_size));
  if (!checks.run().files.has_value()) return out;
  std::vector<std::vector<size_t>> makers = makers_of_menu(checks.study(), bank, menu.candidates);
  for (size_t k = 0; k < makers.size(); ++k) out.candidates[k].made_by = std::move(makers[k]);
  return out;
}

// What the tables of a run are held against.
struct TabulatedBank {
  MenuBank bank;
  MenuTable menu;
};

void check_sizes(RunChecks& checks, const std::vector<int64_t>& sizes, const std::string& prefix,
                 const std::optional<TabulatedBank>& bank) {
  const fs::path file = checks.folder() / (prefix + "table.json");
  const Result<LoadedTable> loaded = load_table(file.string());
  if (!loaded.ok()) return checks.fails(prefix + "table.json", loaded.error().message);
  if (!bank.has_value()) {
    checks.not_checked(prefix + "table.json: valuations", "there is no bank to compare it with");
  } else {
    const Result<Table> expected = table_of(checks, bank->menu, bank->bank, sizes);
    checks.add(prefix + "table.json: valuations", expected.ok()
                                                      ? expect_same_table(loaded->table, *expected)
                                                      : Status(expected.error()));
  }
  checks.add(prefix + "table.json: provenance", check_provenance(checks, file));
  const MenuSettlement settled{.sizes = sizes,
                               .table = loaded->table,
                               .table_json = {},
                               .digest = loaded->digest,
                               .settlement = settle(loaded->table)};
  checks.add(prefix + "settlement.json", check_settlement(checks, prefix, settled));
  for (size_t i = 0; i < settled.table.groups.size(); ++i) {
    const std::string name = str_cat(prefix, "receipts/", i + 1, ".json");
    checks.add(name, check_receipt(checks, name, settled, i));
  }
  checks.add(prefix + "audit.json",
             check_audit(checks, prefix + "audit.json", settled.table, PaymentRule::kAffine));
  checks.add(prefix + "audit_zero.json",
             check_audit(checks, prefix + "audit_zero.json", settled.table, PaymentRule::kZero));
}

}  // namespace

void check_menu_run(RunChecks& checks) {
  checks.add("menu_seal.json", check_menu_seal(checks));
  std::optional<TabulatedBank> tabulated;
  if (checks.has("bank.jsonl")) {
    Result<RecordedBank> bank = read_bank(checks);
    if (!bank.ok()) return checks.fails("bank.jsonl", bank.error().message);
    Result<MenuTable> menu =
        tabulate_menu(checks.study(), bank->bank, bank->normalizers, bank->prompts);
    checks.add("bank.jsonl", menu.ok() ? Status() : Status(menu.error()));
    if (menu.ok()) tabulated = {std::move(bank->bank), *std::move(menu)};
  }
  const std::vector<std::vector<int64_t>> vectors = size_vectors(checks.study());
  for (size_t s = 0; s < vectors.size(); ++s) {
    const std::string prefix = s == 0 ? "" : str_cat("sizes-", dashed(vectors[s]), "/");
    check_sizes(checks, vectors[s], prefix, tabulated);
  }
}

}  // namespace candor
