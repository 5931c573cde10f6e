#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>

#include "apps/commands.h"
#include "base/interrupt.h"
#include "base/strings.h"
#include "study/catalog.h"

namespace candor {

namespace {

struct CatalogCommandOptions {
  std::vector<std::string> names;
  std::string folder;
  bool list = false;
};

// ./catalog, else the one beside bin/.
std::string find_catalog(const std::string& given) {
  if (!given.empty()) return given;
  if (std::filesystem::exists("catalog/catalog.json")) return "catalog";
  return (worker_program().parent_path().parent_path() / "catalog").string();
}

Result<std::vector<CatalogEntry>> chosen(const CatalogCommandOptions& own,
                                         const std::string& folder) {
  CANDOR_TRY(std::vector<CatalogEntry> entries, load_catalog(folder));
  if (own.names.empty()) return entries;
  std::vector<std::string> known;
  known.reserve(entries.size());
  for (const CatalogEntry& entry : entries) known.push_back(entry.name);
  std::vector<CatalogEntry> out;
  for (const std::string& name : own.names) {
    const auto found = std::ranges::find(entries, name, &CatalogEntry::name);
    if (found == entries.end()) {
      return usage_error(str_cat("catalog: no entry is named ", quote(name),
                                 did_you_mean(name, known), "; see candor catalog --list"));
    }
    out.push_back(*found);
  }
  return out;
}

CommandResult list_entries(const std::vector<CatalogEntry>& entries) {
  std::vector<std::vector<std::string>> rows = {{"entry", "source", "claim"}};
  rows.reserve(entries.size() + 1);
  for (const CatalogEntry& entry : entries) {
    rows.push_back({entry.name, entry.source, claim_text(entry)});
  }
  print_table(rows);
  return 0;
}

void print_result(const CatalogResult& result) {
  print_line(str_cat(printable(result.entry.name), " (", printable(result.entry.source),
                     "): ", result.agrees ? "agrees" : "DIFFERS", "\n  ",
                     printable(claim_text(result.entry)), "\n  ", printable(finding_text(result)),
                     " (", tolerance_text(result.entry), ")"));
}

CommandResult run_catalog(const CatalogCommandOptions& own, const CommonOptions& options) {
  const std::string folder = find_catalog(own.folder);
  CANDOR_TRY(const std::vector<CatalogEntry> entries, chosen(own, folder));
  if (own.list && !options.json()) return list_entries(entries);
  std::vector<CatalogResult> results;
  Progress progress(options.progress_mode(), "catalog", entries.size());
  for (const CatalogEntry& entry : entries) {
    CANDOR_RETURN_IF_ERROR(check_interrupted());
    progress.set(results.size(), entry.name);
    CANDOR_TRY(CatalogResult result, run_entry(folder, entry));
    results.push_back(std::move(result));
  }
  progress.finish();
  const auto failed =
      std::ranges::count_if(results, [](const CatalogResult& result) { return !result.agrees; });
  if (options.json()) {
    Json out = Json::array();
    for (const CatalogResult& result : results) {
      out.push_back({{"name", result.entry.name},
                     {"source", result.entry.source},
                     {"claim", claim_text(result.entry)},
                     {"says", result.entry.says},
                     {"found", result.found},
                     {"finding", finding_text(result)},
                     {"tolerance", tolerance_text(result.entry)},
                     {"agrees", result.agrees}});
    }
    std::printf("%s", to_text({{"candor", "catalog-result/1"}, {"entries", out}}).c_str());
    return failed == 0 ? 0 : 1;
  }
  for (const CatalogResult& result : results) print_result(result);
  std::printf("\n%zu entries, %td differ\n", results.size(), failed);
  return failed == 0 ? 0 : 1;
}

}  // namespace

void add_catalog_command(CLI::App& app, CommonOptions& options) {
  auto own = std::make_shared<CatalogCommandOptions>();
  CLI::App* command = add_command(
      app,
      {"catalog",
       "The theorems, figures and tables of the literature, and our own: what is said and what we "
       "find. Exit 1 when one differs",
       "candor catalog table2_w321_utility"},
      options, [own, &options] { return run_catalog(*own, options); });
  command->add_option("NAME", own->names, "Entries to run (default: all)");
  command->add_flag("--list", own->list, "Only list them, with their claims");
  command->add_option("--dir", own->folder, "The catalog (default: ./catalog)");
}

}  // namespace candor
