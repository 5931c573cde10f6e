#include "study/menu_warnings.h"

#include <algorithm>
#include <cmath>

#include "base/strings.h"
#include "study/menu_analysis.h"

namespace candor {

namespace {

constexpr double kMuchClipping = 0.1;  // of all replies

void warn_of_scale(const MenuPipeline& pipeline, const MenuResults& results, const Json& sweeps,
                   const std::vector<int64_t>& sizes, Json& out) {
  std::vector<std::string> flat;
  for (const Json& sweep : sweeps["sweeps"]) {
    if (sweep["flat"].get<bool>()) {
      flat.push_back(sweep["group"].get<std::string>() + "'s " +
                     (sweep["kind"] == "size_inflation" ? "size" : "preference"));
    }
  }
  if (!flat.empty()) {
    out.push_back(str_cat("Sizes ", dashed(sizes), ": one candidate wins along the whole sweep of ",
                          join(flat, ", "),
                          "; lambda or the sizes leave nothing to contest there. Each candidate's "
                          "winning interval of lambda is in the report."));
  }
  for (const MenuSettlement& settled : results.settlements) {
    const Table& table = settled.table;
    if (settled.sizes == sizes && table.candidates[settled.settlement.winner].name == "initial") {
      out.push_back(str_cat("Sizes ", dashed(sizes), ": the initial model wins: with lambda ",
                            pipeline.study().divergence.regularization,
                            " moving away from it costs more than the groups would gain."));
    }
  }
}

void warn_of_clipping(const MenuPipeline& pipeline, const MenuRun& run, const MenuResults& results,
                      Json& out) {
  for (size_t i = 0; i < results.menu.clipped.size(); ++i) {
    const double share =
        static_cast<double>(results.menu.clipped[i]) / static_cast<double>(run.bank.replies.size());
    if (share < kMuchClipping) continue;
    out.push_back(str_cat("Group ", pipeline.study().groups[i].name, ": ",
                          format_short(100 * share, 3),
                          " % of the replies score outside the range of the reference bank and "
                          "are clipped to 0 or 1."));
  }
}

// The expert's reward rose above the initial model's while its judge fell.
void warn_of_judges(const MenuPipeline& pipeline, const MenuRun& run, const MenuResults& results,
                    Json& out) {
  if (!pipeline.study().menu->menu.initial) return;
  const size_t length =
      results.menu.all.prompts * static_cast<size_t>(pipeline.study().bank.samples);
  const auto mean = [&](const std::vector<double>& values, size_t candidate) {
    double total = 0;
    for (size_t r = 0; r < length; ++r) total += values[candidate * length + r];
    return total / static_cast<double>(length);
  };
  for (size_t i = 0; i < pipeline.study().groups.size(); ++i) {
    const std::vector<double>& judge = run.bank.judge_scores[i];
    if (judge.empty()) continue;
    const double reward = mean(run.bank.scores[i], i + 1) - mean(run.bank.scores[i], 0);
    const double judged = mean(judge, i + 1) - mean(judge, 0);
    if (reward <= 0 || judged >= 0) continue;
    out.push_back(str_cat("Group ", pipeline.study().groups[i].name,
                          ": its expert's reward rose by ", format_short(reward, 3),
                          " over the initial model's, while the independent judge fell by ",
                          format_short(-judged, 3), ": the reward is being gamed."));
  }
}

void warn_of_training(const MenuRun& run, const MenuPipeline& pipeline, Json& out) {
  for (size_t r = 0; r < run.run_metrics.size(); ++r) {
    const Json& warnings = run.run_metrics[r]["warnings"];
    const Json& list =
        warnings.is_object() && warnings.contains("warnings") ? warnings["warnings"] : warnings;
    if (!list.is_array()) continue;
    for (const Json& warning : list) {
      const std::string text = warning.is_string()   ? warning.get<std::string>()
                               : warning.is_object() ? warning.value("message", warning.dump())
                                                     : warning.dump();
      out.push_back(str_cat("Training of ", pipeline.runs[r].name, ": ", text));
    }
  }
}

}  // namespace

Result<Json> menu_warnings(const MenuPipeline& pipeline, const MenuRun& run,
                           const MenuResults& results) {
  const Study& study = pipeline.study();
  Json out = Json::array();
  if (pipeline.depends_on_reports()) {
    out.push_back(
        "The candidates were trained from the rewards that are priced here: the menu depends on "
        "the reports, so truth is dominant for this menu as it stands, not strictly in the choice "
        "of what gets trained. What that can be worth is measured under misreports, where the "
        "study asks for it.");
  }
  for (const MenuSettlement& settled : results.settlements) {
    CANDOR_TRY(const Json sweeps, menu_sweeps(study, results.menu, settled));
    warn_of_scale(pipeline, results, sweeps, settled.sizes, out);
  }
  for (const std::string& name : results.menu.excluded) {
    out.push_back("Candidate " + name + " has an infinite divergence and is not on the menu.");
  }
  warn_of_clipping(pipeline, run, results, out);
  warn_of_judges(pipeline, run, results, out);
  warn_of_training(run, pipeline, out);
  if (study.target_epsilon > 0 && results.estimate.epsilon_bernstein > study.target_epsilon) {
    out.push_back(str_cat("The error bound of this run is ",
                          format_short(results.estimate.epsilon_bernstein, 3),
                          ", above the target of ", study.target_epsilon,
                          "; the report says how many prompts would reach it."));
  }
  if (study.bank.temperature != 1 || study.bank.top_p != 1 || study.bank.top_k != 0) {
    out.push_back(
        "Replies are not drawn at temperature 1 without top-p and top-k: every candidate is the "
        "model under these settings, the initial one too.");
  }
  return out;
}

}  // namespace candor
