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

// "3-7": the choice, and what of it is noise.
void warn_of_choice(const MenuResults& results, size_t index, Json& out) {
  const SettlementEstimate& estimate = results.estimate.settlements[index];
  const std::vector<std::string>& names = results.menu.menu.candidates;
  if (estimate.close_call()) {
    std::vector<std::string> others;
    for (const size_t k : estimate.contenders) {
      if (k != estimate.winner) others.push_back(names[k]);
    }
    const std::string rivals =
        others.empty() ? std::string("the rest spread over others")
                       : str_cat(others.size(), others.size() == 1 ? " other is" : " others are",
                                 " as good within the noise (", join(others, ", "), ")");
    out.push_back(str_cat(
        "Sizes ", dashed(estimate.sizes), ": a close call. ", names[estimate.winner], " wins in ",
        format_short(100 * estimate.win_share[estimate.winner], 3), " % of the resamples; ", rivals,
        ". Welfare as printed is about ", format_short(estimate.welfare.bias, 2),
        " above what the chosen model is worth on average."));
  }
  std::vector<std::string> payers;
  for (size_t i = 0; i < estimate.groups.size(); ++i) {
    const SettledFigure& payment = estimate.groups[i].payment;
    if (payment.interval.estimate > 0 && payment.interval.low <= 0) {
      payers.push_back(results.menu.menu.groups[i]);
    }
  }
  if (!payers.empty()) {
    out.push_back(str_cat("Sizes ", dashed(estimate.sizes), ": what ", join(payers, " and "),
                          payers.size() == 1 ? " pays" : " pay",
                          " cannot be told from noise: the interval reaches 0."));
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

struct Change {
  double mean = 0;
  double half_width = 0;  // two standard errors over prompts
};

// Of a candidate's mean score over the initial model's, prompt by prompt. `scores` [K x Q x
// samples].
Change change_of(const std::vector<double>& scores, size_t candidate, size_t prompts,
                 size_t samples) {
  std::vector<double> differences(prompts, 0);
  for (size_t prompt = 0; prompt < prompts; ++prompt) {
    for (size_t sample = 0; sample < samples; ++sample) {
      const size_t initial = prompt * samples + sample;
      differences[prompt] += (scores[candidate * prompts * samples + initial] - scores[initial]) /
                             static_cast<double>(samples);
    }
  }
  Change out;
  const auto count = static_cast<double>(prompts);
  for (const double d : differences) out.mean += d / count;
  double squares = 0;
  for (const double d : differences) squares += (d - out.mean) * (d - out.mean);
  out.half_width = 2 * std::sqrt(squares / (count * std::max(1.0, count - 1)));
  return out;
}

// The expert's reward rose above the initial model's and its judge did not follow. Changes within
// two standard errors say nothing.
void warn_of_judges(const MenuPipeline& pipeline, const MenuRun& run, const MenuResults& results,
                    Json& out) {
  if (!pipeline.study().menu->menu.initial) return;
  const size_t prompts = results.menu.all.prompts;
  const auto samples = static_cast<size_t>(pipeline.study().bank.samples);
  for (size_t i = 0; i < pipeline.study().groups.size(); ++i) {
    if (run.bank.judge_scores[i].empty()) continue;
    const Change reward = change_of(run.bank.scores[i], i + 1, prompts, samples);
    const Change judged = change_of(run.bank.judge_scores[i], i + 1, prompts, samples);
    if (reward.mean <= reward.half_width || judged.mean > judged.half_width) continue;
    const auto text = [](const Change& change) {
      return str_cat(format_short(change.mean, 3), " (+- ", format_short(change.half_width, 2),
                     ")");
    };
    out.push_back(str_cat(
        "Group ", pipeline.study().groups[i].name, ": its expert's reward rose by ", text(reward),
        " over the initial model's; the independent judge moved by ", text(judged),
        judged.mean < -judged.half_width ? ": the reward is being gamed."
                                         : ": whether people would agree cannot be seen."));
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
  for (size_t s = 0; s < results.estimate.settlements.size(); ++s) warn_of_choice(results, s, out);
  if (results.estimate.redrawn_banks == 0) {
    out.push_back(
        "How far chance in the reference bank moves the constants of normalisation cannot be told "
        "(fewer than 4 prompts, or replies that all score alike): the intervals leave it out.");
  }
  for (const std::string& name : results.menu.excluded) {
    out.push_back("Candidate " + name + " has an infinite divergence and is not on the menu.");
  }
  warn_of_clipping(pipeline, run, results, out);
  warn_of_judges(pipeline, run, results, out);
  warn_of_training(run, pipeline, out);
  if (study.target_epsilon > 0 && results.estimate.epsilon_bound > study.target_epsilon) {
    out.push_back(str_cat("The error bound of this run is ",
                          format_short(results.estimate.epsilon_bound, 3), ", above the target of ",
                          study.target_epsilon,
                          "; the report forecasts how many prompts reach it."));
  }
  if (study.bank.temperature != 1) {
    out.push_back(
        "Replies are not drawn at temperature 1: every candidate is the model at that temperature, "
        "the initial one too.");
  }
  for (const std::string& warning : pipeline.warnings()) out.push_back(warning);
  return out;
}

}  // namespace candor
