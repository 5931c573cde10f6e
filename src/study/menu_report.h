#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "report/html_page.h"

namespace candor {

// Writes report.html and its plots (plots/*.svg) of a finished run at the menu level from its
// files. Errors: kInvalidArgument when a file is missing or not what a run writes.
Status write_menu_report(const std::filesystem::path& run_folder);

namespace menu_report {

// One vector of sizes.
struct SizesFiles {
  std::string name;  // "3-7"
  Json table, settlement, audit, audit_zero, sweeps, baselines, estimate;
  std::vector<Json> receipts;  // [n]
};

// Everything the report is made from.
struct RunFiles {
  std::filesystem::path folder;
  Json study, run, seal, menu_seal, estimates, menu, training, self_tests, warnings;
  std::map<std::string, Json> metrics;  // by stage
  std::vector<Json> bank, prompts;
  std::vector<SizesFiles> sizes;

  [[nodiscard]] size_t group_count() const { return study["groups"].size(); }
  [[nodiscard]] std::string group_name(size_t i) const { return study["groups"][i]["name"]; }
};
Result<RunFiles> read_run(const std::filesystem::path& folder);

// Figures as text.
[[nodiscard]] std::string shown(const Json& value, int digits = 4);
[[nodiscard]] std::string interval(const Json& value);  // "1.2 - 1.4" of {"low", "high"}
[[nodiscard]] std::string percent(double share);
[[nodiscard]] double units(const Json& text);  // an integer string of 2^-32
[[nodiscard]] std::string in_units(const Json& text, int digits = 4);
[[nodiscard]] std::string shorten(std::string text, size_t limit);
[[nodiscard]] std::string color_of_group(size_t group);
// "initial" -> "initial model", "soup-0.9-0.1" -> "soup 0.9 / 0.1"
[[nodiscard]] std::string candidate_text(const std::string& name);

// Adds a plot to the page and writes it as plots/NAME.svg.
Status add_plot(const RunFiles& run, const std::string& name, const std::string& svg,
                HtmlPage& page);

// The sections, in the order of the page.
void add_summary(const RunFiles& run, HtmlPage& page);
void add_warnings(const RunFiles& run, HtmlPage& page);
void add_rewards(const RunFiles& run, HtmlPage& page);
Status add_experts(const RunFiles& run, HtmlPage& page);
Status add_candidates(const RunFiles& run, HtmlPage& page);
void add_table(const RunFiles& run, HtmlPage& page);
void add_invoices(const RunFiles& run, HtmlPage& page);
Status add_sweeps(const RunFiles& run, HtmlPage& page);
void add_lambda(const RunFiles& run, HtmlPage& page);
void add_lies(const RunFiles& run, HtmlPage& page);
void add_baselines(const RunFiles& run, HtmlPage& page);
void add_quote(const RunFiles& run, HtmlPage& page);
void add_shortcuts(const RunFiles& run, HtmlPage& page);
void add_replies(const RunFiles& run, HtmlPage& page);
void add_exactness(const RunFiles& run, HtmlPage& page);
void add_check(const RunFiles& run, HtmlPage& page);

}  // namespace menu_report

}  // namespace candor
