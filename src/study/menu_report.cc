#include "study/menu_report.h"

#include <algorithm>

#include "base/file.h"
#include "base/fixed_point.h"
#include "base/strings.h"
#include "formats/records.h"

namespace candor {

namespace menu_report {

namespace fs = std::filesystem;

namespace {

Status read_object(const fs::path& file, Json& into) {
  CANDOR_TRY(into, read_json_file(file.string()));
  return {};
}

Result<SizesFiles> read_sizes(const fs::path& folder, size_t groups) {
  SizesFiles out;
  CANDOR_RETURN_IF_ERROR(read_object(folder / "table.json", out.table));
  CANDOR_RETURN_IF_ERROR(read_object(folder / "settlement.json", out.settlement));
  CANDOR_RETURN_IF_ERROR(read_object(folder / "audit.json", out.audit));
  CANDOR_RETURN_IF_ERROR(read_object(folder / "audit_zero.json", out.audit_zero));
  CANDOR_RETURN_IF_ERROR(read_object(folder / "sweeps.json", out.sweeps));
  CANDOR_RETURN_IF_ERROR(read_object(folder / "baselines.json", out.baselines));
  for (size_t i = 0; i < groups; ++i) {
    CANDOR_RETURN_IF_ERROR(
        read_object(folder / "receipts" / str_cat(i + 1, ".json"), out.receipts.emplace_back()));
  }
  return out;
}

std::string dashed_sizes(const Json& sizes) {
  std::string out;
  for (const Json& size : sizes) out += (out.empty() ? "" : "-") + size.dump();
  return out;
}

}  // namespace

Result<RunFiles> read_run(const fs::path& folder) {
  RunFiles out;
  out.folder = folder;
  CANDOR_TRY(const std::string resolved, read_file(folder / "study.resolved.yaml"));
  CANDOR_TRY(out.study, parse_json(resolved.substr(std::min(resolved.find('\n'), resolved.size())),
                                   "study.resolved.yaml"));
  for (const auto& [name, into] : {std::pair{"run.json", &out.run},
                                   {"seal.json", &out.seal},
                                   {"menu_seal.json", &out.menu_seal},
                                   {"estimates.json", &out.estimates},
                                   {"menu.json", &out.menu},
                                   {"training.json", &out.training},
                                   {"self_tests.json", &out.self_tests},
                                   {"warnings.json", &out.warnings}}) {
    CANDOR_RETURN_IF_ERROR(read_object(folder / name, *into));
  }
  CANDOR_TRY(const std::vector<Json> metrics, read_jsonl(folder / "metrics.jsonl"));
  for (const Json& line : metrics) out.metrics[line.value("stage", "")] = line;
  CANDOR_TRY(out.bank, read_jsonl(folder / "bank.jsonl"));
  CANDOR_TRY(out.prompts, read_jsonl(folder / "prompts.jsonl"));
  const Json& settlements = out.estimates["settlements"];
  for (size_t s = 0; s < settlements.size(); ++s) {
    const std::string name = dashed_sizes(settlements[s]["sizes"]);
    CANDOR_TRY(SizesFiles files, read_sizes(s == 0 ? folder : folder / ("sizes-" + name),
                                            out.study["groups"].size()));
    files.name = name;
    files.estimate = settlements[s];
    out.sizes.push_back(std::move(files));
  }
  return out;
}

std::string shown(const Json& value, int digits) {
  if (value.is_null()) return "-";
  return value.is_number() ? format_short(value.get<double>(), digits) : value.get<std::string>();
}

std::string interval(const Json& value) {
  return str_cat(shown(value["low"], 3), " \xe2\x80\x93 ", shown(value["high"], 3));
}

std::string percent(double share) { return format_short(100 * share, 3) + " %"; }

double units(const Json& text) {
  const Result<Int128> value = parse_int128(text.get<std::string>());
  return value.ok() ? from_fixed_point(*value) : 0;
}

std::string in_units(const Json& text, int digits) { return format_short(units(text), digits); }

std::string shorten(std::string text, size_t limit) {
  for (char& c : text) {
    if (c == '\n' || c == '\r' || c == '\t') c = ' ';
  }
  if (text.size() <= limit) return text;
  while (limit > 0 && (static_cast<unsigned char>(text[limit]) & 0xc0) == 0x80) --limit;
  return text.substr(0, limit) + " ...";
}

std::string color_of_group(size_t group) {
  static const std::vector<std::string> kColors = {"#2f6fb0", "#c0392b", "#1e8449",
                                                   "#7d3c98", "#b9770e", "#117a65"};
  return kColors[group % kColors.size()];
}

std::string candidate_text(const std::string& name) {
  if (name == "initial") return "initial model";
  const size_t dash = name.find('-');
  if (dash == std::string::npos) return name;
  const std::string kind = name.substr(0, dash);
  if (kind != "soup" && kind != "mixture" && kind != "expert" && kind != "trained") return name;
  std::string rest = name.substr(dash + 1);
  const bool weights = rest.find_first_not_of("0123456789.-") == std::string::npos;
  if (!weights) return str_cat(kind, " ", rest);
  std::string out;
  for (const char c : rest) out += c == '-' ? std::string(" / ") : std::string(1, c);
  return str_cat(kind, " ", out);
}

Status add_plot(const RunFiles& run, const std::string& name, const std::string& svg,
                HtmlPage& page) {
  std::error_code code;
  fs::create_directories(run.folder / "plots", code);
  if (code) return resource_error(str_cat((run.folder / "plots").string(), ": ", code.message()));
  page.raw(svg);
  return write_file_atomically(run.folder / "plots" / (name + ".svg"), svg + "\n");
}

}  // namespace menu_report

Status write_menu_report(const std::filesystem::path& run_folder) {
  using namespace menu_report;  // NOLINT(google-build-using-namespace): the sections of this page
  CANDOR_TRY(const RunFiles run, read_run(run_folder));
  HtmlPage page("Candor report: " + run.study["name"].get<std::string>());
  try {
    add_summary(run, page);
    add_warnings(run, page);
    add_rewards(run, page);
    CANDOR_RETURN_IF_ERROR(add_experts(run, page));
    CANDOR_RETURN_IF_ERROR(add_candidates(run, page));
    add_replies(run, page);
    add_invoices(run, page);
    CANDOR_RETURN_IF_ERROR(add_sweeps(run, page));
    add_lies(run, page);
    add_baselines(run, page);
    add_quote(run, page);
    add_shortcuts(run, page);
    add_lambda(run, page);
    add_table(run, page);
    add_exactness(run, page);
    add_check(run, page);
  } catch (const std::exception& error) {
    // The files are ours; one that lost a field was edited.
    return invalid_argument(
        str_cat(run_folder.string(), ": a file of the run lacks a field: ", error.what()));
  }
  return write_file_atomically(run_folder / "report.html", page.finish());
}

}  // namespace candor
