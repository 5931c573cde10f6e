// The report's sections about prices: allocation, invoices, sweeps, lies.

#include <algorithm>
#include <cmath>

#include "base/strings.h"
#include "report/line_plot.h"
#include "study/menu_report.h"
#include "study/money_files.h"

namespace candor::menu_report {

namespace {

std::string winner_name(const SizesFiles& sizes) {
  return sizes.table["candidates"][sizes.settlement["winner"].get<size_t>()]["name"];
}

// "harmless 3, humor 7"
std::string sizes_text(const RunFiles& run, const SizesFiles& sizes) {
  std::string out;
  for (size_t i = 0; i < run.group_count(); ++i) {
    out += str_cat(out.empty() ? "" : ", ", run.group_name(i), " ",
                   sizes.settlement["groups"][i]["size"].dump());
  }
  return out;
}

LinePlot sweep_frame(const std::string& title, const std::string& x_label) {
  LinePlot plot;
  plot.title = title;
  plot.x_label = x_label;
  plot.y_label = "reward x agents";
  plot.mark_x = 1.0;
  plot.mark_label = "truth";
  plot.legend = false;
  plot.width_px = 300;
  plot.height_px = 230;
  return plot;
}

constexpr const char* kValuationColor = "#2f6fb0";
constexpr const char* kPaymentColor = "#c0392b";
constexpr const char* kUtilityColor = "#1e8449";

LinePlot sweep_plot(const SizesFiles& sizes, const Json& sweep) {
  const bool inflation = sweep["kind"] == "size_inflation";
  LinePlot plot =
      sweep_frame(str_cat(sweep["group"].get<std::string>(), ", sizes ", sizes.name),
                  inflation ? "reported size / true size" : "preference mix (1 = true)");
  plot.series = {{"valuation", kValuationColor, true, {}, {}},
                 {"payment", kPaymentColor, false, {}, {}},
                 {"utility", kUtilityColor, false, {}, {}}};
  static constexpr const char* kKeys[] = {"valuation", "payment", "utility"};
  for (const Json& piece : sweep["pieces"]) {
    for (size_t s = 0; s < plot.series.size(); ++s) {
      for (const char* end : {"begin", "end"}) {
        plot.series[s].x.push_back(piece[end]);
        plot.series[s].y.push_back(piece[kKeys[s]]);
      }
    }
  }
  if (!sweep.contains("clipped_points")) return plot;
  PlotSeries clipped{"utility, clipped report", "#8a8f98", true, {}, {}};
  for (const Json& point : sweep["clipped_points"]) {
    clipped.x.push_back(point["parameter"]);
    clipped.y.push_back(point["utility"]);
  }
  plot.series.push_back(std::move(clipped));
  return plot;
}

std::string sweep_legend(bool clipped) {
  const auto entry = [](const char* color, bool dashed, const char* text) {
    return str_cat("<span style=\"display:inline-block;width:26px;border-top:3px ",
                   dashed ? "dashed " : "solid ", color,
                   ";vertical-align:middle;margin:0 .4em 0 1em\"></span>", text);
  };
  std::string out = "<p>";
  out +=
      entry(kValuationColor, true, "valuation: what the group is left with if <b>nobody pays</b>");
  out += entry(kPaymentColor, false, "payment");
  out += entry(kUtilityColor, false, "utility = valuation &minus; payment");
  if (clipped) out += entry("#8a8f98", true, "utility, report clipped to [0, 1]");
  return out + "</p>";
}

double largest_clipping(const RunFiles& run) {
  double out = 0;
  for (const SizesFiles& sizes : run.sizes) {
    for (const Json& sweep : sizes.sweeps["sweeps"]) {
      if (!sweep.contains("clipped_points")) continue;
      for (const Json& point : sweep["clipped_points"]) {
        out = std::max(out, point["clipped"].get<double>() / sweep["replies"].get<double>());
      }
    }
  }
  return out;
}

bool depends_on_reports(const RunFiles& run) {
  return run.menu["menu_depends_on_reports"].get<bool>();
}

constexpr const char* kOwnModels =
    "Models on this menu were made from reports. \"Payment without its own models\" is what the "
    "group would pay if the candidates that its own report went into were no alternatives; the "
    "rest "
    "of its payment is priced against models that exist because of what it reported. It is below 0 "
    "where one of its own models wins and suits the others better than anything made without it.";

// The payment over candidates that the payer's report did not make, and its share.
std::string without_own(const Json& receipt) {
  const Json& without = receipt["payment_without_own"];
  if (without.is_null()) return "none is without its report";
  const double all = units(receipt["payment"]);
  if (all == 0) return in_units(without);
  return str_cat(in_units(without), " (", percent(units(without) / all), ")");
}

// "46 %, a close call"
std::string wins_text(const Json& estimate, size_t winner) {
  const bool close = estimate.value("close_call", false);  // runs of before do not say
  return percent(estimate["win_share"][winner].get<double>()) + (close ? ", a close call" : "");
}

std::string intervals_text(const RunFiles& run) {
  const Json& estimates = run.estimates;
  const std::string share = percent(estimates["confidence"].get<double>());
  if (estimates["candor"] == "table-estimate/1") {
    return str_cat("Intervals hold ", share, " of ", estimates["resamples"].dump(),
                   " resamples of the prompts, each settled anew: where candidates are close they "
                   "are too narrow and lie too high (later versions correct that).");
  }
  const bool redrawn = estimates["redrawn_reference_banks"].get<size_t>() > 0;
  return str_cat("Each interval is meant to hold, with ", share,
                 " confidence, what is true of the chosen model over all prompts of this kind, and "
                 "what a table without noise would settle to; chance in the prompts",
                 redrawn ? " and in the reference bank is" : " is",
                 " in it, chance in training is "
                 "not. ",
                 redrawn ? "" : "The reference bank is taken as it is. ",
                 "A close call is a choice that noise may have made.");
}

std::string to_pay(const RunFiles& run, const Json& receipt) {
  return format_money(receipt["amount"].get<std::string>(),
                      run.study["currency"].get<std::string>());
}

}  // namespace

void add_summary(const RunFiles& run, HtmlPage& page) {
  page.paragraph(
      "Several groups want one language model to answer in their way. One model per wish was "
      "trained; this menu of models and their combinations was then put on one set of prompts, "
      "and the candidate was chosen whose total reward, less a penalty for moving away from the "
      "initial model, is largest. Each group pays what its presence costs the others.");
  page.paragraph(
      depends_on_reports(run)
          ? "For this menu, with these prices, no group can gain by exaggerating its wishes or its "
            "size. What is on the menu was itself made from reports, and no such statement holds "
            "about that: how much of each payment hangs on it stands with the invoices."
          : "With these prices no group can gain by exaggerating its wishes or its size: "
            "everything "
            "on the menu was there before anybody reported.");
  const std::string budget =
      run.study.contains("budget") ? ", budget " + run.study["budget"].get<std::string>() : "";
  page.paragraph(str_cat("This run: ", run.study["name"].get<std::string>(), budget, ". ",
                         run.estimates["candidates"].size(), " candidates, ",
                         run.estimates["prompts"].dump(), " prompts with ",
                         run.estimates["replies"].dump(), " replies of each candidate; divergence ",
                         run.study["divergence"]["name"].get<std::string>(), " with lambda ",
                         shown(run.study["divergence"]["lambda"]), "; base model ",
                         shorten(run.study["model"]["source"].get<std::string>(), 80), "."));
  std::vector<std::vector<std::string>> rows = {
      {"sizes", "chosen", "wins in resamples", "welfare", "interval"}};
  for (size_t i = 0; i < run.group_count(); ++i) rows[0].push_back(run.group_name(i) + " pays");
  for (const SizesFiles& sizes : run.sizes) {
    std::vector<std::string>& row = rows.emplace_back();
    const auto winner = sizes.settlement["winner"].get<size_t>();
    row = {sizes_text(run, sizes), candidate_text(winner_name(sizes)),
           wins_text(sizes.estimate, winner), in_units(sizes.settlement["welfare"]),
           interval(sizes.estimate["welfare"])};
    for (size_t i = 0; i < run.group_count(); ++i) {
      row.push_back(to_pay(run, sizes.receipts[i]));
    }
  }
  page.table(rows);
  page.paragraph(
      str_cat(intervals_text(run),
              " Figures are in units of reward x agents, a mean over prompts; one unit costs ",
              format_money(unit_price_text(run.study["unit_price"]),
                           run.study["currency"].get<std::string>()),
              "."));
}

void add_warnings(const RunFiles& run, HtmlPage& page) {
  if (run.warnings.empty()) return;
  page.heading("Read this first");
  for (const Json& warning : run.warnings) page.note(warning.get<std::string>());
}

void add_invoices(const RunFiles& run, HtmlPage& page) {
  page.heading("Invoices");
  page.paragraph(
      "A group is offered every candidate of this menu at a price that its own report does not "
      "set: what choosing that candidate would cost the others. Telling the truth gets it the "
      "candidate that leaves it the most.");
  if (depends_on_reports(run)) page.note(kOwnModels);
  for (const SizesFiles& sizes : run.sizes) {
    page.subheading(str_cat("Sizes ", sizes_text(run, sizes), ": ",
                            candidate_text(winner_name(sizes)), " is chosen"));
    std::vector<std::vector<std::string>> rows = {
        {"group", "worth to it", "payment", "interval", "left over", "to pay"}};
    const bool own = sizes.receipts[0].contains("payment_without_own");
    if (own) rows[0].push_back("payment without its own models");
    for (size_t i = 0; i < run.group_count(); ++i) {
      const Json& group = sizes.settlement["groups"][i];
      rows.push_back({run.group_name(i), in_units(group["valuation"]), in_units(group["payment"]),
                      interval(sizes.estimate["groups"][i]["payment"]), in_units(group["utility"]),
                      to_pay(run, sizes.receipts[i])});
      if (own) rows.back().push_back(without_own(sizes.receipts[i]));
    }
    page.table(rows);
  }
  const SizesFiles& first = run.sizes.front();
  page.subheading(str_cat("The price menus for sizes ", first.name,
                          " (worth to the group / price / left over)"));
  std::vector<std::vector<std::string>> rows = {{"candidate"}};
  for (size_t i = 0; i < run.group_count(); ++i) rows[0].push_back(run.group_name(i));
  for (size_t k = 0; k < first.table["candidates"].size(); ++k) {
    const std::string name = first.table["candidates"][k]["name"];
    std::vector<std::string>& row = rows.emplace_back();
    const bool chosen = k == first.settlement["winner"].get<size_t>();
    row = {candidate_text(name) + (chosen ? " (chosen)" : "")};
    for (size_t i = 0; i < run.group_count(); ++i) {
      const Json& entry = first.receipts[i]["candidates"][k];
      const double worth = units(entry["valuation"]) * first.receipts[i]["size"].get<double>();
      const double price = units(entry["price"]);
      row.push_back(str_cat(format_short(worth, 4), " / ", format_short(price, 4), " / ",
                            format_short(worth - price, 4)));
    }
  }
  page.table(rows);
  page.paragraph(
      "In receipts/ each group finds its row, the totals and its prices as exact integers; the "
      "amount is rounded down. They carry no signature and no Merkle proof yet.");
}

Status add_sweeps(const RunFiles& run, HtmlPage& page) {
  page.heading("What exaggerating would bring (the paper's Figure 2)");
  page.paragraph(
      "Each picture lets one group misreport while the others stay as they are. Its valuation, the "
      "dashed blue line, rises with the lie: without payments lying would pay. Its payment rises "
      "too, and what is left, the green line, is largest at the truth. Steps are exact: they are "
      "where another candidate starts to win.");
  const std::vector<std::pair<std::string, std::string>> kinds = {
      {"size_inflation", "Strategy 1: inflating the size"},
      {"preference_mix", "Strategy 2: exaggerating the preference against the others'"}};
  for (const auto& [kind, title] : kinds) {
    page.subheading(title);
    page.raw(sweep_legend(kind == "preference_mix"));
    for (size_t i = 0; i < run.group_count(); ++i) {
      for (const SizesFiles& sizes : run.sizes) {
        for (const Json& sweep : sizes.sweeps["sweeps"]) {
          if (sweep["kind"] != kind || sweep["group"] != run.group_name(i)) continue;
          CANDOR_RETURN_IF_ERROR(add_plot(run, str_cat(kind, "-", i + 1, "-sizes-", sizes.name),
                                          render_svg(sweep_plot(sizes, sweep)), page));
        }
      }
      page.raw("<br>");  // a row of pictures for each group
    }
  }
  page.paragraph(str_cat(
      "An exaggerated preference leaves [0, 1]. The exact curves take the report as it is; the "
      "grey ones clip it to [0, 1] reply by reply, which moved up to ",
      percent(largest_clipping(run)), " of the rewards. The truth is best among both."));
  return {};
}

void add_lies(const RunFiles& run, HtmlPage& page) {
  page.heading("Can anybody gain by any lie?");
  std::vector<std::vector<std::string>> rows = {{"sizes", "group", "gain with these payments",
                                                 "gain if nobody paid", "by making this win",
                                                 "how sure"}};
  bool profitable = false;
  for (const SizesFiles& sizes : run.sizes) {
    profitable = profitable || sizes.audit["profitable"].get<bool>();
    for (size_t i = 0; i < run.group_count(); ++i) {
      const Json& paid = sizes.audit["groups"][i];
      const Json& free = sizes.audit_zero["groups"][i];
      const auto best = free["best_report"]["winner"].get<size_t>();
      const bool gains = units(free["deviation_gain"]) > 0;
      rows.push_back(
          {sizes.name, run.group_name(i), in_units(paid["deviation_gain"]),
           in_units(free["deviation_gain"]),
           gains ? candidate_text(sizes.table["candidates"][best]["name"].get<std::string>()) : "-",
           free["bound"].get<std::string>()});
    }
  }
  page.table(rows);
  page.paragraph(
      profitable
          ? "A profitable lie was found: these payments are broken, do not invoice from them."
          : "With these payments the gain is exactly 0, for any reward and any size that a group "
            "could report: at its prices the truth is worth the maximum over all candidates, and "
            "that maximum was computed. Without payments the gain is what the best of all reports "
            "reaches.");
  if (run.training["misreports"].empty()) {
    if (depends_on_reports(run)) {
      page.note(
          "That certificate is for this menu. Its models were trained from the reports, so a lie "
          "could also change what is on the menu; this study measured no such lie (misreports).");
    }
    return;
  }
  page.subheading("Lying before the experts are trained");
  rows = {{"lie", "gain on this menu", "interval", "gain with the experts retrained", "interval"}};
  for (const Json& lie : run.training["misreports"]) {
    const std::string what = lie.contains("size_inflation")
                                 ? str_cat("size x ", shown(lie["size_inflation"]))
                                 : str_cat("preference mix ", shown(lie["preference_mix"]));
    const Json& fixed = lie["gain_on_fixed_menu"];
    const Json& retrained = lie["gain_with_retraining"];
    rows.push_back({str_cat(lie["group"].get<std::string>(), ": ", what), shown(fixed["estimate"]),
                    interval(fixed), shown(retrained["estimate"]), interval(retrained)});
  }
  page.table(rows);
  page.paragraph(
      "The menu is made from the reports here, so a lie changes it. The experts of the lying group "
      "were trained again under the lie, the new menu was sampled, scored with the true rewards "
      "and settled; the difference to telling the truth is what the menu's dependence on reports "
      "is worth to that lie.");
}

void add_lambda(const RunFiles& run, HtmlPage& page) {
  page.heading("How much lambda decides");
  page.paragraph(str_cat(
      "lambda is the price of moving away from the initial model, fixed before reports: ",
      shown(run.study["divergence"]["lambda"]),
      " here. Totals are linear in it, so where each candidate would win is exact. A choice that "
      "is contested lies inside a short interval; at a large lambda the initial model wins "
      "whatever anybody wants."));
  for (const SizesFiles& sizes : run.sizes) {
    std::vector<std::vector<std::string>> rows = {{"lambda from", "to", "wins"}};
    const double used = sizes.sweeps["lambda_used"].get<double>();
    for (const Json& piece : sizes.sweeps["lambda"]) {
      const double begin = piece["begin"].get<double>();
      const double end = piece["end"].get<double>();
      const bool here = begin <= used && used < end;
      rows.push_back({shown(piece["begin"]), shown(piece["end"]),
                      candidate_text(piece["name"].get<std::string>()) +
                          (here ? "  \xe2\x86\x90 this run" : "")});
    }
    page.subheading("Sizes " + sizes.name);
    page.table(rows);
  }
}

void add_table(const RunFiles& run, HtmlPage& page) {
  page.heading("The table");
  page.paragraph(
      "Mean normalised reward of every candidate for one agent of each group, and lambda x "
      "divergence, with intervals over prompts. Settlement takes these numbers as integers "
      "(table.json).");
  std::vector<std::vector<std::string>> rows = {{"candidate"}};
  for (size_t i = 0; i < run.group_count(); ++i) {
    rows[0].push_back(run.group_name(i));
    rows[0].emplace_back("interval");
  }
  rows[0].emplace_back("lambda x D");
  rows[0].emplace_back("interval");
  const Json& names = run.estimates["candidates"];
  for (size_t k = 0; k < names.size(); ++k) {
    std::vector<std::string>& row = rows.emplace_back();
    row = {candidate_text(names[k].get<std::string>())};
    for (size_t i = 0; i < run.group_count(); ++i) {
      const Json& value = run.estimates["valuations"][i][k];
      row.push_back(shown(value["estimate"]));
      row.push_back(interval(value));
    }
    const Json& divergence = run.estimates["divergences"][k];
    row.push_back(shown(divergence["estimate"]));
    row.push_back(interval(divergence));
  }
  page.table(rows);
}

}  // namespace candor::menu_report
