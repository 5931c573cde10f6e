#include "study/theory_page.h"

#include <cmath>

#include "base/strings.h"
#include "core/solution.h"
#include "report/bar_plot.h"
#include "report/html_page.h"
#include "report/line_plot.h"

namespace candor {

namespace {

constexpr const char* kBlue = "#2f6fb0";
constexpr const char* kRed = "#c0392b";
constexpr const char* kGreen = "#1e8449";
constexpr const char* kGrey = "#9aa3ad";

std::string shown(double value) { return format_short(value, 4); }

std::string shown_reward(const std::vector<double>& reward) {
  static constexpr size_t kShown = 24;
  std::vector<std::string> values;
  for (size_t x = 0; x < std::min(kShown, reward.size()); ++x) {
    values.push_back(shown(reward[x]));
  }
  return join(values, ", ") + (reward.size() > kShown ? ", ..." : "");
}

void add_rules_table(const Laboratory& lab, HtmlPage& page) {
  std::vector<std::vector<std::string>> rows = {
      {"rule", "verdict", "types searched", "worst cycle", "its length", "payments unique within",
       "gain, nobody pays", "gain, all pay their report"}};
  for (const RuleStudy& study : lab.rules) {
    const Implementability& incentives = study.incentives;
    rows.push_back({study.rule, verdict_name(study.verdict), std::to_string(study.types_searched),
                    join(study.worst_cycle, " \xe2\x86\x92 "), shown(incentives.worst_cycle_length),
                    study.verdict == Verdict::kNo ? "-" : shown(incentives.widest),
                    shown(study.gain_zero), shown(study.gain_pay_report)});
  }
  page.table(rows);
  for (const RuleStudy& study : lab.rules) {
    page.paragraph(str_cat(study.rule, ", ", verdict_name(study.verdict), ": ", study.why, "."));
    if (study.verdict != Verdict::kNo) continue;
    std::vector<std::vector<std::string>> witness = {{"witness type", "size", "reward"}};
    for (const Report& type : study.worst_cycle_types()) {
      witness.push_back({type.name, shown(type.group_size), shown_reward(type.reward)});
    }
    page.table(witness);
  }
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
      "\xe2\x80\x9d through the constant reward. Where payments make truth dominant, whatever they "
      "are, the difference between these two types lies between the two curves, which close like 1 "
      "/ steps: who knows the rule's choices knows its payments. Curves that close do not show "
      "that "
      "there are payments: the verdict none_found leaves that open."));
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
    if (study.verdict == Verdict::kNo) continue;
    page.subheading(study.verdict == Verdict::kProved
                        ? study.rule
                        : str_cat(study.rule, ", as far as these types go"));
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
        {"epsilon", "delta of the paper", "sharp, whatever the initial model",
         "sharp for this initial model", "largest move found at it"}};
    for (const auto& row : lab.moduli) {
      rows.push_back({shown(row.epsilon),
                      row.modulus.paper.has_value() ? shown(*row.modulus.paper) : "-",
                      row.modulus.sharp > 0 ? shown(row.modulus.sharp) : "none",
                      str_cat(row.initial.sharp ? "" : ">= ", shown(row.initial.delta)),
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
  page.code(shown_reward(lab.fee->type.reward));
  page.paragraph(lab.fee_formula.holds
                     ? str_cat("By the closed form min L log(1 + p(x)(e^(1/L) - 1)) it is ",
                               shown(lab.fee_formula.largest), ": ", lab.fee_formula.why, ".")
                     : str_cat("The closed form of kl does not apply: ", lab.fee_formula.why, "."));
}

}  // namespace

std::string lab_page(const Game& game, const Laboratory& lab) {
  HtmlPage page(str_cat("Candor laboratory: group ", game.groups[lab.space.group].name));
  page.paragraph(str_cat(
      "A training rule is implementable when some payments make truth dominant, which holds "
      "exactly when no cycle of lies has negative length. \xe2\x80\x9cno\xe2\x80\x9d: a "
      "negative cycle, which proves that no payments exist. \xe2\x80\x9cproved\xe2\x80\x9d: "
      "payments exist for every type. \xe2\x80\x9cnone_found\xe2\x80\x9d: no negative cycle "
      "among the types searched, ",
      lab.space.types.size(), " to begin with, which does not prove that there is none."));
  add_rules_table(lab, page);
  add_paths(lab, page);
  add_intervals(lab, page);
  add_continuity(lab, page);
  add_fee(lab, page);
  return page.finish();
}

// ---------------------------------------------------------------- noise

namespace {

std::string shown(const Mean& mean) {
  return str_cat(shown(mean.value), " \xc2\xb1 ", format_short(mean.half_width, 2));
}

}  // namespace

std::string noise_page(const NoiseOptions& options, const NoiseStudy& study) {
  HtmlPage page("Candor: noise in the rewards");
  page.paragraph(str_cat(
      "The mechanism sees every reward with an error of at most ", shown(study.epsilon), " (",
      noise_model_names()[static_cast<size_t>(options.model)], " noise, ", options.draws,
      " draws). Two bounds say what that can cost: welfare (Lemma B.2) and the gain from lying "
      "(Thm B.3). Under this noise the mechanism is ",
      shown(study.epsilon_dsic), "-DSIC and ", shown(study.epsilon_ir), "-IR."));
  page.heading("Welfare lost");
  BarPlot losses;
  losses.title = "Welfare lost";
  losses.y_label = "reward x agents";
  losses.categories = {"expected", "largest drawn", "worst found", "bound"};
  losses.series = {
      {"loss",
       kBlue,
       {study.expected_loss.value, study.largest_loss, study.worst_loss, study.loss_bound}}};
  page.raw(render_svg(losses));
  page.heading("Gains from lying, beside the bound");
  BarPlot gains;
  gains.title = "Gain from lying";
  gains.y_label = "reward x agents";
  gains.series = {
      {"expected, best lie", kBlue, {}}, {"worst noise found", kRed, {}}, {"bound", kGreen, {}}};
  std::vector<std::vector<std::string>> rows = {{"group", "best lie", "expected gain",
                                                 "worst noise found", "bound", "truthful utility",
                                                 "least utility drawn"}};
  for (const NoiseGroup& group : study.groups) {
    gains.categories.push_back(group.name);
    gains.series[0].values.push_back(group.expected_gain.value);
    gains.series[1].values.push_back(group.worst_gain);
    gains.series[2].values.push_back(group.gain_bound);
    rows.push_back({group.name, group.best_lie, shown(group.expected_gain), shown(group.worst_gain),
                    shown(group.gain_bound), shown(group.truthful_utility),
                    shown(group.least_utility)});
  }
  page.raw(render_svg(gains));
  page.table(rows);
  page.paragraph(
      "The best lie is chosen on half of the draws and measured on the other half. A negative gain "
      "means that no lie that was tried pays. The worst noise is searched for, not proved.");
  return page.finish();
}

std::string table_noise_page(const std::vector<TableNoiseGroup>& groups) {
  HtmlPage page("Candor: noise in a valuation table");
  page.paragraph(
      "Candidates, bank and divergences were fixed first, so the table as measured is exactly "
      "truthful. Where every true value lies within its half-width, a report gains at most the "
      "bound against the true values. Half-widths that a run wrote are an "
      "approximation and each for itself; the run's estimates.json has a bound for all of them "
      "together, epsilon_bound.");
  BarPlot gains;
  gains.title = "Gain in hindsight";
  gains.y_label = "reward x agents";
  gains.series = {{"largest drawn", kBlue, {}}, {"bound", kGreen, {}}};
  std::vector<std::vector<std::string>> rows = {{"group", "half-width", "gain in hindsight",
                                                 "largest drawn", "bound", "least utility drawn",
                                                 "floor"}};
  for (const TableNoiseGroup& group : groups) {
    gains.categories.push_back(group.name);
    gains.series[0].values.push_back(group.largest_gain);
    gains.series[1].values.push_back(group.gain_bound);
    rows.push_back({group.name, shown(group.half_width), shown(group.gain),
                    shown(group.largest_gain), shown(group.gain_bound), shown(group.least_utility),
                    shown(group.utility_floor)});
  }
  page.raw(render_svg(gains));
  page.table(rows);
  return page.finish();
}

// ---------------------------------------------------------------- audit

namespace {

constexpr size_t kMostOutcomesDrawn = 24;

// The paper's Figure 1: where the model stands at the truth and after the group's best lie.
void add_best_lie(const Game& game, size_t group, const Report& lie, HtmlPage& page) {
  const Result<Solution> before = solve(game);
  const Result<Solution> after = solve(with_report(game, group, lie.group_size, lie.reward));
  if (!before.ok() || !after.ok()) return;
  BarPlot models;
  models.title = "The model";
  models.y_label = "probability";
  models.series = {{"initial", kGrey, game.initial},
                   {"truth", kBlue, before->allocation},
                   {"after the lie", kRed, after->allocation}};
  BarPlot rewards;
  rewards.title = "The group's reward";
  rewards.y_label = "reward";
  rewards.series = {{"true", kBlue, game.groups[group].reward}, {"reported", kRed, lie.reward}};
  for (size_t x = 0; x < game.outcome_count(); ++x) {
    models.categories.push_back(std::to_string(x));
    rewards.categories.push_back(std::to_string(x));
  }
  page.raw(render_svg(rewards) + render_svg(models));
  page.paragraph(str_cat("Reported size ", shown(lie.group_size), " instead of ",
                         shown(game.groups[group].group_size), "."));
}

template <typename Families, typename Shown>
void add_families(const Families& families, const Shown& show, HtmlPage& page) {
  std::vector<std::vector<std::string>> rows = {{"family of lies", "best gain", "at"}};
  for (const auto& family : families) {
    rows.push_back({family.family, show(family.deviation_gain),
                    family.parameter.has_value() ? shown(*family.parameter) : "-"});
  }
  page.table(rows);
}

std::string verdict(const std::string& payments, bool profitable) {
  return str_cat("Payments: ", payments, ". ",
                 profitable ? "A group gains by lying." : "No group gains by lying.");
}

}  // namespace

std::string audit_page(const Game& game, const Audit& audit, const std::string& payments) {
  HtmlPage page("Candor audit");
  page.paragraph(verdict(payments, audit.profitable));
  BarPlot gains;
  gains.title = "Gain from the best lie found";
  gains.y_label = "reward x agents";
  gains.series = {{"gain", kRed, {}}, {"certificate: no lie gains more", kGreen, {}}};
  for (const GroupAudit& group : audit.groups) {
    gains.categories.push_back(group.name);
    gains.series[0].values.push_back(group.deviation_gain);
    gains.series[1].values.push_back(std::isfinite(group.certificate) ? group.certificate : 0.0);
  }
  page.raw(render_svg(gains));
  for (size_t i = 0; i < audit.groups.size(); ++i) {
    const GroupAudit& group = audit.groups[i];
    page.heading(group.name);
    page.paragraph(str_cat("Utility of the truth ", shown(group.utility_truth), ", best found ",
                           shown(group.best_utility), " (", group.bound, ")."));
    if (group.profitable && game.outcome_count() <= kMostOutcomesDrawn) {
      add_best_lie(game, i, group.best_report, page);
    }
    add_families(
        group.families, [](double gain) { return shown(gain); }, page);
  }
  page.paragraph(str_cat("A gain counts above its group's own rounding, at most ",
                         shown(audit.threshold), "."));
  return page.finish();
}

std::string table_audit_page(const Table& table, const TableAudit& audit,
                             const std::string& payments) {
  const auto show = [](Int128 units) { return shown(from_fixed_point(units)); };
  HtmlPage page("Candor audit of a menu");
  page.paragraph(verdict(payments, audit.profitable));
  if (table.menu_depends_on_reports) {
    page.note("The menu depends on the reports: this audit takes the menu as it stands.");
  }
  BarPlot utilities;
  utilities.title = "Utility";
  utilities.y_label = "reward x agents";
  utilities.series = {{"truth", kBlue, {}}, {"best lie found", kRed, {}}};
  for (const TableGroupAudit& group : audit.groups) {
    utilities.categories.push_back(group.name);
    utilities.series[0].values.push_back(from_fixed_point(group.utility_truth));
    utilities.series[1].values.push_back(from_fixed_point(group.best_utility));
  }
  page.raw(render_svg(utilities));
  for (const TableGroupAudit& group : audit.groups) {
    page.heading(group.name);
    page.paragraph(str_cat("Best report found: size ", group.best_size, ", which makes ",
                           table.candidates[group.best_candidate].name, " win (", group.bound,
                           ")."));
    add_families(group.families, show, page);
  }
  return page.finish();
}

}  // namespace candor
