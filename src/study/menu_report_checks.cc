// The report's sections that compare and check: other rules, quotes, shortcuts, errors, digests.

#include <algorithm>
#include <cmath>

#include "base/strings.h"
#include "study/menu_report.h"

namespace candor::menu_report {

namespace {

std::string rule_text(const Json& rule) {
  const std::string name = rule["rule"];
  if (name == "sw_max") {
    return rule["payments"] == "affine" ? "this mechanism (SW-Max, with payments)"
                                        : "SW-Max without payments";
  }
  if (name == "max_min") return "MaxMin: the worst-off group's reward, less D";
  if (name == "nash") return "Nash: the product of rewards, less D";
  if (name == "best_expert") return "the best single expert";
  if (name == "uniform_soup") return "the uniform soup";
  if (name == "initial") return "the initial model";
  return "per-prompt re-weighting of the initial model's replies";
}

// What the choice among noisy candidates adds to the printed figures.
void add_bias(const RunFiles& run, HtmlPage& page) {
  if (!run.sizes.front().estimate["welfare"].contains("bias")) return;  // a run of before
  page.paragraph(
      "The best of several noisy totals looks better than it is, and so does the best without a "
      "group, which a payment contains. How much that adds on average, estimated by choosing on "
      "half of the prompts and measuring on the other half (units of reward x agents):");
  std::vector<std::vector<std::string>> rows = {{"sizes", "welfare"}};
  for (size_t i = 0; i < run.group_count(); ++i) {
    rows[0].push_back(run.group_name(i) + "'s payment");
  }
  for (const SizesFiles& sizes : run.sizes) {
    std::vector<std::string>& row = rows.emplace_back();
    row = {sizes.name, shown(sizes.estimate["welfare"]["bias"], 2)};
    for (const Json& group : sizes.estimate["groups"]) {
      row.push_back(shown(group["payment"]["bias"], 2));
    }
  }
  page.table(rows);
}

}  // namespace

void add_baselines(const RunFiles& run, HtmlPage& page) {
  page.heading("Other rules on the same candidates");
  for (const SizesFiles& sizes : run.sizes) {
    page.subheading("Sizes " + sizes.name);
    std::vector<std::vector<std::string>> rows = {
        {"rule", "chooses", "welfare", "least reward", "Gini", "Jain", "most a lie gains"}};
    for (const Json& rule : sizes.baselines["rules"]) {
      const std::string gain = shown(rule["largest_deviation_gain"]);
      rows.push_back({rule_text(rule), candidate_text(rule["name"].get<std::string>()),
                      shown(rule["welfare"]), shown(rule["least_valuation"], 3),
                      shown(rule["gini"], 3), shown(rule["jain"], 3),
                      rule["bound"] == "exact" ? gain : "at least " + gain});
    }
    page.table(rows);
  }
  page.paragraph(
      "Welfare is the sum of all agents' rewards less lambda x divergence. Least reward is one "
      "agent's in the worst-off group; Gini is 0 and Jain 1 where all agents are equally well off. "
      "The last column is what one group gains by its best lie, in units of reward x agents. "
      "Re-weighting picks among a prompt's sampled replies: its welfare is that of its own small "
      "bank and flatters it.");
}

void add_quote(const RunFiles& run, HtmlPage& page) {
  bool any = false;
  for (const SizesFiles& sizes : run.sizes) any = any || sizes.baselines["quote"].is_object();
  if (!any) return;
  page.heading("The quote, and what came of it");
  std::vector<std::vector<std::string>> rows = {
      {"sizes", "figure", "quoted before training", "realised on the menu"}};
  for (const SizesFiles& sizes : run.sizes) {
    const Json& quote = sizes.baselines["quote"];
    if (!quote.is_object()) continue;
    rows.push_back({sizes.name, "welfare", shown(quote["predicted_welfare"]),
                    shown(quote["realised_welfare"])});
    for (const Json& group : quote["groups"]) {
      const std::string name = group["name"];
      rows.push_back({sizes.name, name + ": valuation", shown(group["predicted_valuation"]),
                      shown(group["realised_valuation"])});
      rows.push_back({sizes.name, name + ": payment", shown(group["predicted_payment"]),
                      shown(group["realised_payment"])});
    }
  }
  page.table(rows);
  page.paragraph(
      "The quote re-weights the initial model's own replies, prompt by prompt: it needs no "
      "training, and it may choose anything that the initial model says now and then. A menu can "
      "choose only among its candidates, which reach further but are few, and training stops "
      "early: so the two differ.");
}

void add_shortcuts(const RunFiles& run, HtmlPage& page) {
  const Json& shortcuts = run.training["shortcuts"];
  if (shortcuts.empty()) return;
  page.heading("The price of the shortcuts");
  std::vector<std::vector<std::string>> rows = {
      {"trained on", "its welfare", "best soup or mixture", "its welfare", "difference"}};
  for (const Json& one : shortcuts) {
    rows.push_back({candidate_text(one["name"].get<std::string>()), shown(one["welfare_trained"]),
                    candidate_text(one["best_combination"].get<std::string>()),
                    shown(one["welfare_best_combination"]),
                    format_short(one["welfare_trained"].get<double>() -
                                     one["welfare_best_combination"].get<double>(),
                                 4)});
  }
  page.table(rows);
  page.paragraph(
      "Soups and mixtures need one training run per group; training on the groups' sum needs one "
      "per vector of sizes. A positive difference is what the shortcut lost.");
  rows = {{"trained on", "group", "price on the menu", "price by a run without it",
           "price by checkpoints", "price by shortened runs"}};
  for (const Json& one : shortcuts) {
    for (const Json& group : one["groups"]) {
      std::string early;
      for (const Json& stop : group["early_stop_prices"]) {
        early += str_cat(early.empty() ? "" : "; ", shown(stop["price"]), " at ",
                         percent(stop["share"].get<double>()));
      }
      rows.push_back({candidate_text(one["name"].get<std::string>()), group["name"],
                      shown(group["menu_price"]), shown(group["leave_one_out_price"]),
                      shown(group["checkpoint_price"]), early.empty() ? "-" : early});
    }
  }
  page.table(rows);
  page.paragraph(
      "Prices of the trained model, were it chosen: what the others would have had without the "
      "group, less what they have with it. Trained runs are no exact maximum, so a price by "
      "another "
      "run may be negative; it is printed as it is, never clipped.");
}

void add_exactness(const RunFiles& run, HtmlPage& page) {
  const Json& estimates = run.estimates;
  page.heading("How exact this is");
  // The bound's name until table-estimate/2.
  const char* bound = estimates.contains("epsilon_bound") ? "epsilon_bound" : "epsilon_bernstein";
  page.paragraph(str_cat(
      "For this table prices are exact integers. As an estimate of the models' true rewards, as "
      "the reference bank normalises them: with ",
      percent(estimates["confidence"].get<double>()), " confidence no entry is off by more than ",
      shown(estimates[bound], 3),
      " (a bound whatever the rewards are, all groups and candidates together), about ",
      shown(estimates["epsilon_bootstrap"], 3), " by the bootstrap; lambda x D by about ",
      shown(estimates["divergence_epsilon"], 3),
      ". On this menu a group of w agents can then gain at most 2 w x that by a lie, measured in "
      "true rewards, and is left with at least -w x that",
      run.menu["menu_depends_on_reports"].get<bool>()
          ? "; lies that change what is on the menu are not in that bound."
          : "."));
  add_bias(run, page);
  if (estimates["plan"].is_object()) {
    const Json& plan = estimates["plan"];
    page.paragraph(str_cat(
        "A run whose rewards vary as these do, over prompts and over replies to one, brings that "
        "bound to ",
        shown(plan["target_epsilon"]), " with ", plan["prompts"].dump(), " prompts and ",
        plan["replies"].dump(), " replies to each (", plan["samples"].dump(),
        " replies in all). That is a forecast: variances measured on few prompts can be far off. "
        "The bound that the run then prints is computed anew and holds whatever comes of it. With ",
        plan["prompts_hoeffding"].dump(), " prompts it is reached whatever the rewards are."));
  }
  std::vector<std::vector<std::string>> rows = {{"self-test", "passed", "found"}};
  for (const Json& test : run.self_tests) {
    rows.push_back({test["name"], test["passed"].get<bool>() ? "yes" : "NO", test["detail"]});
  }
  page.subheading("Self-tests of this run");
  page.table(rows);
}

void add_check(const RunFiles& run, HtmlPage& page) {
  page.heading("How anybody can check it");
  page.paragraph("The files beside this page are all that is needed:");
  page.code(
      "candor settle table.json --prices        # the same winner and payments, bit by bit\n"
      "candor audit table.json                  # no profitable lie; exit code 0\n"
      "candor audit table.json --payments zero  # without payments there is one; exit code 1\n"
      "candor verify .                          # the files fit together; exit code 0\n"
      "candor report .                          # this page again");
  std::vector<std::vector<std::string>> rows = {
      {"sealed before any reward was read", "digest or value"}};
  for (const char* key : {"model", "prompts", "reference_bank", "divergence", "lambda",
                          "normalization", "menu", "unit_price", "digest"}) {
    rows.push_back({key, run.seal[key].get<std::string>()});
  }
  page.table(rows);
  rows = {{"sealed before any reply of the menu was scored", "digest"}};
  for (const char* key : {"rules", "bank", "digest"}) {
    rows.push_back({key, run.menu_seal[key].get<std::string>()});
  }
  for (const Json& adapter : run.menu_seal["adapters"]) {
    rows.push_back({adapter["name"], adapter["digest"]});
  }
  page.table(rows);
}

}  // namespace candor::menu_report
