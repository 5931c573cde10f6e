#include "study/theory_page.h"

#include <cmath>

#include "base/strings.h"
#include "report/html_page.h"
#include "report/line_plot.h"

namespace candor {

namespace {

constexpr const char* kBlue = "#2f6fb0";
constexpr const char* kRed = "#c0392b";
constexpr const char* kGreen = "#1e8449";

std::string shown(double value) { return format_short(value, 4); }

void add_rules_table(const Laboratory& lab, HtmlPage& page) {
  std::vector<std::vector<std::string>> rows = {
      {"rule", "implementable", "worst cycle", "its length", "payments unique within",
       "gain, nobody pays", "gain, all pay their report"}};
  for (const RuleStudy& study : lab.rules) {
    const Implementability& incentives = study.incentives;
    rows.push_back({study.rule, incentives.implementable ? "yes" : "no",
                    join(study.worst_cycle, " \xe2\x86\x92 "), shown(incentives.worst_cycle_length),
                    incentives.implementable ? shown(incentives.widest) : "-",
                    shown(study.gain_zero), shown(study.gain_pay_report)});
  }
  page.table(rows);
}

PlotSeries series(const std::string& name, const std::string& color, bool dashed = false) {
  return {.name = name, .color = color, .dashed = dashed, .x = {}, .y = {}};
}

LinePlot plot_of(const std::string& title, const std::string& x_label, const std::string& y_label) {
  LinePlot plot;
  plot.title = title;
  plot.x_label = x_label;
  plot.y_label = y_label;
  return plot;
}

LinePlot path_plot(const RuleStudy& study) {
  LinePlot plot = plot_of(study.rule, "log2 of the steps of each leg", "payment difference");
  PlotSeries upper = series("upper bound", kRed);
  PlotSeries lower = series("lower bound", kBlue);
  PlotSeries affine = series("p^AFF", kGreen, true);
  for (const PaymentPath& path : study.paths) {
    const double x = std::log2(path.steps);
    upper.x.push_back(x);
    upper.y.push_back(path.forward);
    lower.x.push_back(x);
    lower.y.push_back(-path.backward);
    if (!study.affine_difference.has_value()) continue;
    affine.x.push_back(x);
    affine.y.push_back(*study.affine_difference);
  }
  plot.series = {upper, lower};
  if (!affine.x.empty()) plot.series.push_back(affine);
  return plot;
}

void add_paths(const Laboratory& lab, HtmlPage& page) {
  page.heading("Payments from the allocation alone (Thm 3.6)");
  page.paragraph(str_cat(
      "A path of small lies joins the type \xe2\x80\x9c", lab.path_from,
      "\xe2\x80\x9d to \xe2\x80\x9c", lab.path_to,
      "\xe2\x80\x9d through the constant reward. Whatever payments make truth dominant, the "
      "difference between these two types lies between the two curves, which close like 1 / "
      "steps: who knows the rule's choices knows its payments."));
  for (const RuleStudy& study : lab.rules) {
    if (!study.paths.empty()) {
      page.raw(render_svg(path_plot(study)));
    } else {
      page.note(str_cat(study.rule, ": no path, because ", study.no_path));
    }
  }
}

void add_intervals(const Laboratory& lab, HtmlPage& page) {
  page.heading("What payments there are");
  for (const RuleStudy& study : lab.rules) {
    if (!study.incentives.implementable) continue;
    page.subheading(study.rule);
    std::vector<std::vector<std::string>> rows = {
        {"type", "size", "least payment", "largest payment"}};
    if (!study.affine.empty()) rows[0].emplace_back("p^AFF");
    for (size_t t = 0; t < lab.space.types.size(); ++t) {
      rows.push_back({lab.space.types[t].name, shown(lab.space.types[t].group_size),
                      shown(study.incentives.low[t]), shown(study.incentives.high[t])});
      if (!study.affine.empty()) rows.back().push_back(shown(study.affine[t]));
    }
    page.table(rows);
  }
  page.paragraph(
      str_cat("Relative to what the type \xe2\x80\x9c", lab.path_from, "\xe2\x80\x9d pays."));
}

void add_continuity(const Laboratory& lab, HtmlPage& page) {
  if (lab.moduli.empty() && !lab.lemma_e_1.has_value()) return;
  page.heading("How far the model moves (Condition 3.5)");
  if (!lab.moduli.empty()) {
    std::vector<std::vector<std::string>> rows = {
        {"epsilon", "delta of the paper", "sharp delta", "largest move found at the sharp delta"}};
    for (const auto& row : lab.moduli) {
      rows.push_back({shown(row.epsilon), shown(row.modulus.paper), shown(row.modulus.sharp),
                      shown(row.worst_found)});
    }
    page.table(rows);
  }
  if (lab.lemma_e_1.has_value()) {
    page.paragraph(str_cat("Lemma E.1's bound on these types: the largest move is ",
                           shown(100 * *lab.lemma_e_1), " % of it."));
  }
}

void add_fee(const Laboratory& lab, HtmlPage& page) {
  page.heading("Room for a fee (NeurIPS Thm 4.11)");
  if (!lab.fee.has_value()) {
    page.note(lab.no_fee);
    return;
  }
  page.paragraph(str_cat(
      "p^AFF is the smallest non-negative truthful payment. A fee that depends on the others alone "
      "keeps truth dominant, and keeps every type willing to take part up to ",
      shown(lab.fee->largest),
      lab.fee->error > 0 ? str_cat(" (within ", shown(lab.fee->error), ")") : "",
      ". A larger fee drives away the type of size 1 that values:"));
  static constexpr size_t kShown = 24;
  std::vector<std::string> values;
  for (size_t x = 0; x < std::min(kShown, lab.fee->type.reward.size()); ++x) {
    values.push_back(shown(lab.fee->type.reward[x]));
  }
  page.code(join(values, ", ") + (lab.fee->type.reward.size() > kShown ? ", ..." : ""));
}

}  // namespace

std::string lab_page(const Game& game, const Laboratory& lab) {
  HtmlPage page(str_cat("Candor laboratory: group ", game.groups[lab.space.group].name));
  page.paragraph(
      str_cat("A training rule is implementable on these ", lab.space.types.size(),
              " types of the group when some payments make truth dominant. That holds exactly when "
              "no cycle "
              "of lies has negative length; a negative one is a proof that no payments exist."));
  add_rules_table(lab, page);
  add_paths(lab, page);
  add_intervals(lab, page);
  add_continuity(lab, page);
  add_fee(lab, page);
  return page.finish();
}

}  // namespace candor
