#include "study/report_page.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "base/file.h"
#include "base/strings.h"
#include "formats/records.h"
#include "report/html_page.h"
#include "report/line_plot.h"
#include "study/menu_report.h"
#include "study/money_files.h"

namespace candor {

namespace {

namespace fs = std::filesystem;

// Everything the report is made from.
struct RunFiles {
  Json study, run, seal, solution, quote, audit, audit_zero, sweeps, game;
  std::map<std::string, Json> metrics;  // by stage
  std::vector<Json> bank;
  std::vector<Json> prompts;
};

Result<RunFiles> read_run(const fs::path& folder) {
  RunFiles out;
  const auto read = [&](const char* name, Json& into) -> Status {
    CANDOR_TRY(into, read_json_file((folder / name).string()));
    if (!into.is_object())
      return invalid_argument(str_cat((folder / name).string(), ": expected an object"));
    return {};
  };
  CANDOR_TRY(const std::string resolved, read_file(folder / "study.resolved.yaml"));
  CANDOR_TRY(out.study, parse_json(resolved.substr(std::min(resolved.find('\n'), resolved.size())),
                                   "study.resolved.yaml"));
  CANDOR_RETURN_IF_ERROR(read("run.json", out.run));
  CANDOR_RETURN_IF_ERROR(read("seal.json", out.seal));
  CANDOR_RETURN_IF_ERROR(read("solution.json", out.solution));
  CANDOR_RETURN_IF_ERROR(read("quote.json", out.quote));
  CANDOR_RETURN_IF_ERROR(read("audit.json", out.audit));
  CANDOR_RETURN_IF_ERROR(read("audit_zero.json", out.audit_zero));
  CANDOR_RETURN_IF_ERROR(read("sweeps.json", out.sweeps));
  CANDOR_RETURN_IF_ERROR(read("game.json", out.game));
  CANDOR_TRY(const std::vector<Json> metrics, read_jsonl(folder / "metrics.jsonl"));
  for (const Json& line : metrics) out.metrics[line.value("stage", "")] = line;
  CANDOR_TRY(out.bank, read_jsonl(folder / "bank.jsonl"));
  CANDOR_TRY(out.prompts, read_jsonl(folder / "prompts.jsonl"));
  return out;
}

std::string shown(const Json& value, int digits = 4) {
  return value.is_null() ? "-" : format_short(value.get<double>(), digits);
}

std::string interval(const Json& value) {
  return str_cat(shown(value["low"], 3), " \xe2\x80\x93 ", shown(value["high"], 3));
}

std::string percent(double share) { return format_short(100 * share, 3) + " %"; }

std::string money(const RunFiles& run, const Json& amount) {
  if (amount.is_null()) return "no amount";
  return format_money(written_amount(amount), run.quote["currency"].get<std::string>());
}

std::string shorten(std::string text, size_t limit) {
  for (char& c : text) {
    if (c == '\n' || c == '\r' || c == '\t') c = ' ';
  }
  if (text.size() <= limit) return text;
  while (limit > 0 && (static_cast<unsigned char>(text[limit]) & 0xc0) == 0x80) --limit;
  return text.substr(0, limit) + " ...";
}

std::string reward_text(const Json& reward) {
  const std::string kind = reward["kind"];
  if (kind == "brevity")
    return str_cat("brevity: 1 / (1 + words / ", shown(reward["scale_words"]), ")");
  if (kind == "lexicon") return "a lexicon's mean valence";
  const bool good = reward.value("positive_is_good", true);
  const std::string what =
      kind == "labelled"
          ? str_cat("trained on ", fs::path(reward["data"].get<std::string>()).filename().string())
          : "a trained head";
  return str_cat("reward model, ", what, good ? "" : " (1 - probability)");
}

void add_summary(const RunFiles& run, HtmlPage& page) {
  const Json& quote = run.quote;
  page.paragraph(
      str_cat("Several groups want one language model to answer in their way. Candor weighs its "
              "replies so that the groups' "
              "total reward, less a penalty for moving away from the initial model, is largest, "
              "and charges each group what "
              "its presence costs the others. With these prices no group can gain by exaggerating "
              "its wishes or its size."));
  page.paragraph(str_cat("This run: ", run.study["name"].get<std::string>(),
                         ", at the sampled level: ", shown(quote["prompts"], 6), " prompts with ",
                         shown(quote["replies"], 6), " sampled replies each; divergence ",
                         run.seal["divergence"].get<std::string>(), " with lambda ",
                         shown(quote["lambda"]), "; nothing was trained but the reward heads."));
  std::vector<std::vector<std::string>> rows = {
      {"group", "size", "valuation", "payment", "payment, 95 % interval", "utility", "to pay"}};
  rows[0][4] = str_cat("payment, ", percent(quote["confidence"].get<double>()), " interval");
  for (const Json& group : quote["groups"]) {
    rows.push_back({group["name"], group["size"].dump(), shown(group["valuation"]["estimate"]),
                    shown(group["payment"]["estimate"]), interval(group["payment"]),
                    shown(group["utility"]["estimate"]), money(run, group["amount"])});
  }
  page.table(rows);
  page.paragraph(
      "Valuation, payment and utility are in units of reward x agents, averaged over prompts; "
      "utility is "
      "valuation minus payment. The largest flat fee that this profile of groups would still "
      "accept is each "
      "group's utility.");
}

void add_requests(const RunFiles& run, HtmlPage& page) {
  page.heading("What the groups asked for");
  std::vector<std::vector<std::string>> rows = {{"group", "size", "reward", "held-out AUC",
                                                 "accuracy", "AUC of length alone",
                                                 "calibration error"}};
  for (const Json& group : run.study["groups"]) {
    const std::string name = group["name"];
    std::vector<std::string>& row = rows.emplace_back();
    row = {name, group["size"].dump(), reward_text(group["reward"])};
    const auto found = run.metrics.find("reward " + name);
    if (found == run.metrics.end()) {
      row.insert(row.end(), {"-", "-", "-", "-"});
    } else {
      const Json& held_out = found->second["held_out"];
      row.insert(row.end(), {shown(held_out["auc"], 3), shown(held_out["accuracy"], 3),
                             shown(found->second["length_baseline"]["auc"], 3),
                             shown(held_out["calibration_error"], 2)});
    }
  }
  page.table(rows);
  page.paragraph(
      "Held-out texts were not used in training. A reward model is worth what it sees beyond "
      "length.");
  rows = {{"group", "rule", "score mapped to 0", "score mapped to 1", "replies clipped"}};
  for (const Json& group : run.quote["groups"]) {
    const Json& rule = group["normalization"];
    rows.push_back({group["name"], rule["rule"], shown(rule["low"]), shown(rule["high"]),
                    rule["clipped"].dump()});
  }
  page.subheading("Normalisation, sealed before any report was read");
  page.table(rows);
}

struct Shift {
  size_t prompt = 0;
  double distance = 0;  // total variation between before and after
};

std::vector<Shift> shifts_of(const RunFiles& run, size_t samples) {
  const auto allocation = run.solution["allocation"].get<std::vector<double>>();
  std::vector<Shift> shifts;
  for (size_t prompt = 0; prompt < allocation.size() / samples; ++prompt) {
    Shift shift{prompt, 0};
    for (size_t i = 0; i < samples; ++i) {
      shift.distance +=
          0.5 * std::abs(allocation[prompt * samples + i] - 1.0 / static_cast<double>(samples));
    }
    shifts.push_back(shift);
  }
  std::stable_sort(shifts.begin(), shifts.end(),
                   [](const Shift& a, const Shift& b) { return a.distance > b.distance; });
  return shifts;
}

// The prompt itself, or what the user said last.
std::string prompt_title(const Json& prompt) {
  const std::string text = prompt.contains("prompt")
                               ? prompt["prompt"].get<std::string>()
                               : prompt["messages"].back()["content"].get<std::string>();
  return str_cat("\xe2\x80\x9c", shorten(text, 160), "\xe2\x80\x9d");
}

void add_changes(const RunFiles& run, HtmlPage& page) {
  static constexpr size_t kPromptsShown = 4;
  page.heading("What changed");
  const auto samples = run.quote["replies"].get<size_t>();
  const auto allocation = run.solution["allocation"].get<std::vector<double>>();
  const Json& sample_size = run.quote["effective_sample_size"];
  page.paragraph(str_cat(
      "Before, every one of a prompt's ", samples, " replies weighs ",
      percent(1.0 / static_cast<double>(samples)),
      ". After, replies that the groups like weigh more; the effective number of replies is ",
      shown(sample_size["mean"], 3), " on average and ", shown(sample_size["min"], 3),
      " at least."));
  const double mean = sample_size["mean"].get<double>();
  if (mean > 0.98 * static_cast<double>(samples)) {
    page.note(
        "The choice is hardly contested: lambda is so large that the weights stay nearly equal.");
  }
  if (mean < 1.5)
    page.note("Nearly all weight sits on one reply per prompt: lambda is small, and the bank too.");
  const std::vector<Shift> shifts = shifts_of(run, samples);
  for (size_t s = 0; s < std::min(kPromptsShown, shifts.size()); ++s) {
    const size_t first = shifts[s].prompt * samples;
    std::vector<size_t> order(samples);
    std::iota(order.begin(), order.end(), first);
    std::stable_sort(order.begin(), order.end(),
                     [&](size_t a, size_t b) { return allocation[a] > allocation[b]; });
    page.subheading(
        str_cat(prompt_title(run.prompts[shifts[s].prompt]), s == 0 ? " (the most changed)" : ""));
    std::vector<std::vector<std::string>> rows = {{"before", "after"}};
    for (const Json& group : run.study["groups"]) rows[0].push_back(group["name"]);
    rows[0].emplace_back("reply");
    for (const size_t reply : {order[0], order[1], order.back()}) {
      std::vector<std::string>& row = rows.emplace_back();
      row = {percent(1.0 / static_cast<double>(samples)), percent(allocation[reply])};
      for (const Json& group : run.game["groups"]) row.push_back(shown(group["reward"][reply], 2));
      row.push_back(shorten(run.bank[reply]["text"], 220));
    }
    page.table(rows);
  }
  page.paragraph(
      "Shown are the two replies that gained most and the one that lost most, with every group's "
      "normalised reward.");
}

const char* menu_text(const std::string& name) {
  if (name == "initial") return "keep the initial model";
  if (name == "without_group") return "what would be chosen without this group";
  if (name == "own_optimum") return "what this group alone would choose";
  return "the model chosen";
}

void add_invoices(const RunFiles& run, HtmlPage& page) {
  page.heading("Invoices");
  for (const Json& group : run.quote["groups"]) {
    page.subheading(str_cat(group["name"].get<std::string>(), ": ", money(run, group["amount"])));
    page.paragraph(str_cat("Payment ", format_double(group["payment"]["estimate"].get<double>()),
                           " units at ",
                           format_money(unit_price_text(run.quote["unit_price"]),
                                        run.quote["currency"].get<std::string>()),
                           " each, rounded down. The price does not depend on what this group "
                           "reported, only on what it gets:"));
    std::vector<std::vector<std::string>> rows = {
        {"for", "price", "worth to the group", "left over"}};
    for (const Json& point : group["price_menu"]) {
      rows.push_back(
          {menu_text(point["name"]), shown(point["price"]), shown(point["valuation"]),
           format_short(point["valuation"].get<double>() - point["price"].get<double>(), 4)});
    }
    page.table(rows);
  }
  page.paragraph(
      "The last line leaves the most over: that is why the truth is each group's best report.");
}

void add_audit(const RunFiles& run, HtmlPage& page) {
  page.heading("Can anybody gain by lying?");
  std::vector<std::vector<std::string>> rows = {
      {"group", "gain with these payments", "gain if nobody paid", "best lie then", "how sure"}};
  for (size_t i = 0; i < run.audit["groups"].size(); ++i) {
    const Json& paid = run.audit["groups"][i];
    const Json& free = run.audit_zero["groups"][i];
    std::string best = "-";
    double gain = 0;
    for (const Json& family : free["families"]) {
      if (family["deviation_gain"].get<double>() > gain) {
        gain = family["deviation_gain"].get<double>();
        best = family["family"].get<std::string>();
      }
    }
    // Runs of before groups had thresholds of their own have one for all.
    const Json& threshold = paid.contains("threshold") ? paid["threshold"] : run.audit["threshold"];
    const bool none = paid["deviation_gain"].get<double>() <= threshold.get<double>();
    rows.push_back({paid["name"], none ? "0" : shown(paid["deviation_gain"]),
                    shown(free["deviation_gain"]), best, free["bound"].get<std::string>()});
  }
  page.table(rows);
  page.paragraph(
      run.audit["profitable"].get<bool>()
          ? "A profitable lie was found: these payments are broken, do not invoice from them."
          : "With the payments of this report no lie pays: the payments' rule guarantees it up to "
            "rounding, "
            "and a search over inflated sizes, mixed and random reports found none. Without "
            "payments lying pays.");
}

LinePlot sweep_plot(const Json& sweep) {
  const std::string kind = sweep["kind"];
  LinePlot plot;
  plot.title = sweep["group"].get<std::string>() +
               (kind == "preference_mix_clipped" ? ", clipped report" : "");
  plot.x_label =
      kind == "size_inflation" ? "reported size / true size" : "preference mix (1 = true reward)";
  plot.y_label = "reward x agents";
  plot.mark_x = 1.0;
  plot.mark_label = "truth";
  plot.series = {{"valuation (= utility unpaid)", "#2f6fb0", true, {}, {}},
                 {"payment", "#c0392b", false, {}, {}},
                 {"utility", "#1e8449", false, {}, {}}};
  for (const Json& point : sweep["points"]) {
    for (PlotSeries& series : plot.series) series.x.push_back(point["parameter"]);
    plot.series[0].y.push_back(point["valuation"]);
    plot.series[1].y.push_back(point["payment"]);
    plot.series[2].y.push_back(point["utility"]);
  }
  return plot;
}

Status add_sweeps(const RunFiles& run, const fs::path& folder, HtmlPage& page) {
  page.heading("What exaggerating would bring (the paper's Figure 2)");
  page.paragraph(
      "Each curve lets one group misreport while the others stay as they are. Its valuation, the "
      "dashed line, rises "
      "with the lie; so does its payment; what is left, the green line, is largest at the truth.");
  std::error_code code;
  fs::create_directories(folder / "plots", code);
  if (code) return resource_error(str_cat((folder / "plots").string(), ": ", code.message()));
  const std::vector<std::pair<std::string, std::string>> kinds = {
      {"size_inflation", "Inflating the size"},
      {"preference_mix", "Exaggerating the reward (unclipped)"},
      {"preference_mix_clipped", "Exaggerating the reward, clipped to [0, 1]"}};
  size_t number = 0;
  for (const auto& [kind, title] : kinds) {
    page.subheading(title);
    for (const Json& sweep : run.sweeps["sweeps"]) {
      if (sweep["kind"] != kind) continue;
      const std::string svg = render_svg(sweep_plot(sweep));
      page.raw(svg);
      CANDOR_RETURN_IF_ERROR(write_file_atomically(
          folder / "plots" / str_cat(kind, "-", ++number, ".svg"), svg + "\n"));
    }
  }
  return {};
}

void add_exactness(const RunFiles& run, HtmlPage& page) {
  page.heading("How exact these prices are");
  // A quote of an older version has the gap alone.
  const bool bounded = run.quote.contains("error");
  if (bounded && !run.quote["converged"].get<bool>()) {
    page.paragraph(
        "These prices are NOT known to the tolerance that was asked for: no amounts are quoted, "
        "and "
        "nobody may invoice from them.");
  }
  page.paragraph(str_cat(
      "For this bank of replies every price is within ",
      shown(run.quote[bounded ? "error" : "gap"], 2),
      " of the exact one. As an estimate of what full training would cost they have two errors: "
      "chance, in the intervals above "
      "(bootstrap over prompts, ",
      run.quote["resamples"].dump(), " resamples), and a bias from the small bank:"));
  std::vector<std::vector<std::string>> rows = {
      {"group", "payment at half the replies", "payment at all", "bias (jackknife)"}};
  for (const Json& group : run.quote["groups"]) {
    rows.push_back({group["name"], shown(group["payment_half_bank"]),
                    shown(group["payment"]["estimate"]), shown(group["payment_bias"], 3)});
  }
  page.table(rows);
  page.paragraph(
      "Payments grow with the bank: a larger bank offers the mechanism more to choose from.");
  page.paragraph(str_cat("The initial model is ", run.study["model"]["source"].get<std::string>(),
                         " with its weights as stored "
                         "(4-bit weights are de-quantised once; that rounding is part of the "
                         "initial model), computed in ",
                         run.study["model"]["dtype"].get<std::string>(),
                         "; replies drawn at temperature ", shown(run.study["bank"]["temperature"]),
                         "."));
}

void add_check(const RunFiles& run, HtmlPage& page) {
  page.heading("How anybody can check it");
  page.paragraph("The files beside this page are all that is needed:");
  page.code(
      "candor solve game.json      # the same payments, from the rewards\n"
      "candor audit game.json      # no profitable lie; exit code 0\n"
      "candor audit game.json --payments zero   # without payments there is one; exit code 1\n"
      "candor verify .             # the files fit together; exit code 0\n"
      "candor report .             # this page again");
  std::vector<std::vector<std::string>> rows = {
      {"sealed before any report was read", "digest or value"}};
  for (const char* key : {"model", "prompts", "bank", "reference_bank", "divergence", "lambda",
                          "normalization", "unit_price", "digest"}) {
    rows.push_back({key, run.seal[key].get<std::string>()});
  }
  page.table(rows);
}

}  // namespace

Status write_report(const fs::path& run_folder) {
  CANDOR_TRY(const Json record, read_json_file((run_folder / "run.json").string()));
  if (record.is_object() && record.value("level", "") == "menu") {
    return write_menu_report(run_folder);
  }
  CANDOR_TRY(const RunFiles run, read_run(run_folder));
  HtmlPage page("Candor report: " + run.study["name"].get<std::string>());
  try {
    add_summary(run, page);
    add_requests(run, page);
    add_changes(run, page);
    add_invoices(run, page);
    add_audit(run, page);
    CANDOR_RETURN_IF_ERROR(add_sweeps(run, run_folder, page));
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
