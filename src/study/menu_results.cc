#include "study/menu_results.h"

#include <algorithm>
#include <cmath>

#include "base/strings.h"
#include "core/sampling_plan.h"
#include "core/table_audit.h"
#include "receipt/canonical_json.h"
#include "study/menu_analysis.h"
#include "study/menu_warnings.h"
#include "study/receipt_file.h"
#include "study/result_files.h"

namespace candor {

namespace {

Json interval_json(const Interval& interval) {
  return {{"estimate", interval.estimate}, {"low", interval.low}, {"high", interval.high}};
}

Json intervals_json(const std::vector<Interval>& row) {
  Json out = Json::array();
  for (const Interval& interval : row) out.push_back(interval_json(interval));
  return out;
}

Json figure_json(const SettledFigure& figure) {
  Json out = interval_json(figure.interval);
  out["bias"] = figure.bias;
  return out;
}

Json settlement_estimate_json(const SettlementEstimate& estimate, const TableSamples& menu) {
  Json groups = Json::array();
  for (size_t i = 0; i < menu.groups.size(); ++i) {
    groups.push_back({{"name", menu.groups[i]},
                      {"size", estimate.sizes[i]},
                      {"valuation", figure_json(estimate.groups[i].valuation)},
                      {"payment", figure_json(estimate.groups[i].payment)},
                      {"utility", figure_json(estimate.groups[i].utility)}});
  }
  Json contenders = Json::array();
  for (const size_t k : estimate.contenders) contenders.push_back(menu.candidates[k]);
  return {{"sizes", estimate.sizes},
          {"welfare", figure_json(estimate.welfare)},
          {"win_share", estimate.win_share},
          {"contenders", std::move(contenders)},
          {"close_call", estimate.close_call()},
          {"groups", std::move(groups)}};
}

// When a run's own bound reaches the target: with variances as they were measured, and with any.
Result<Json> plan_json(const Study& study, const MenuResults& results) {
  if (study.target_epsilon <= 0) return Json();
  const TableEstimate& estimate = results.estimate;
  PlanRequest request{.epsilon = study.target_epsilon,
                      .confidence = study.confidence,
                      .groups = study.groups.size(),
                      .candidates = results.menu.candidates.size()};
  CANDOR_TRY(const SampleSize certain, forecast_own_bound(request));
  request.between = std::clamp(estimate.between, 0.0, 0.25);
  request.within = std::clamp(estimate.within, 0.0, 0.25);
  CANDOR_TRY(const SampleSize forecast, forecast_own_bound(request));
  return Json{{"target_epsilon", study.target_epsilon},
              {"prompts", forecast.prompts},
              {"prompts_hoeffding", certain.prompts},
              {"replies", forecast.replies},
              {"samples", forecast.samples},
              {"between", estimate.between},
              {"within", estimate.within}};
}

Result<Json> estimates_json(const Study& study, const MenuResults& results) {
  const TableEstimate& estimate = results.estimate;
  Json valuations = Json::array();
  for (const auto& row : estimate.valuations) valuations.push_back(intervals_json(row));
  Json settlements = Json::array();
  for (const SettlementEstimate& one : estimate.settlements) {
    settlements.push_back(settlement_estimate_json(one, results.menu.menu));
  }
  CANDOR_TRY(Json plan, plan_json(study, results));
  return Json{
      {"candor", "table-estimate/2"},
      {"confidence", estimate.confidence},
      {"resamples", estimate.resamples},
      {"prompts", results.menu.menu.prompts},
      {"replies", study.bank.samples},
      {"groups", results.menu.menu.groups},
      {"candidates", results.menu.menu.candidates},
      {"valuations", std::move(valuations)},
      {"divergences", intervals_json(estimate.divergences)},
      {"redrawn_reference_banks", estimate.redrawn_banks},
      {"epsilon_bound", estimate.epsilon_bound},
      {"epsilon_bound_by", estimate.epsilon_by_variance ? "hoeffding and bennett" : "hoeffding"},
      {"epsilon_bootstrap", estimate.epsilon_bootstrap},
      {"divergence_epsilon", estimate.divergence_epsilon},
      {"settlements", std::move(settlements)},
      {"plan", std::move(plan)}};
}

const char* kind_name(MenuCandidate::Kind kind) {
  switch (kind) {
    case MenuCandidate::Kind::kInitial:
      return "initial";
    case MenuCandidate::Kind::kSoup:
      return "soup";
    case MenuCandidate::Kind::kMixture:
      return "mixture";
    case MenuCandidate::Kind::kAdapter:
      return "trained";
  }
  return "";
}

double mean_of_block(const std::vector<double>& values, size_t block, size_t length) {
  double total = 0;
  for (size_t r = block * length; r < (block + 1) * length; ++r) total += values[r];
  return total / static_cast<double>(length);
}

// menu.json: every measured candidate with its means, raw scores and judges.
Json menu_json(const MenuPipeline& pipeline, const MenuRun& run, const MenuResults& results) {
  const TableMeans means = means_of_samples(results.menu.all);
  const size_t length =
      results.menu.all.prompts * static_cast<size_t>(pipeline.study().bank.samples);
  Json candidates = Json::array();
  for (size_t k = 0; k < run.bank.candidates.size(); ++k) {
    const MenuCandidate& candidate = run.bank.candidates[k];
    Json entry = {
        {"name", candidate.name},
        {"kind", kind_name(candidate.kind)},
        {"weights", candidate.weights},
        {"on_menu", std::ranges::find(results.menu.candidates, k) != results.menu.candidates.end()},
        {"divergence",
         std::isfinite(means.divergences[k]) ? Json(means.divergences[k]) : Json("infinite")},
        {"valuations", Json::array()},
        {"raw_scores", Json::array()},
        {"judges", Json::array()}};
    for (size_t i = 0; i < means.valuations.size(); ++i) {
      entry["valuations"].push_back(means.valuations[i][k]);
      entry["raw_scores"].push_back(mean_of_block(run.bank.scores[i], k, length));
      const std::vector<double>& judge = run.bank.judge_scores[i];
      entry["judges"].push_back(judge.empty() ? Json() : Json(mean_of_block(judge, k, length)));
    }
    candidates.push_back(std::move(entry));
  }
  Json normalization = Json::array();
  for (size_t i = 0; i < run.normalizers.size(); ++i) {
    normalization.push_back({{"group", pipeline.study().groups[i].name},
                             {"rule", pipeline.study().normalization},
                             {"low", run.normalizers[i].low},
                             {"high", run.normalizers[i].high},
                             {"clipped", results.menu.clipped[i]},
                             {"replies", run.bank.replies.size()}});
  }
  return {{"candor", "menu/1"},
          {"candidates", std::move(candidates)},
          {"normalization", std::move(normalization)},
          {"menu_depends_on_reports", pipeline.depends_on_reports()},
          {"excluded", results.menu.excluded}};
}

// training.json: the runs, their curves, and what they say about prices.
Result<Json> training_json(const MenuPipeline& pipeline, const MenuRun& run,
                           const MenuResults& results) {
  Json runs = Json::array();
  for (size_t r = 0; r < pipeline.runs.size(); ++r) {
    const ExpertRun& one = pipeline.runs[r];
    runs.push_back({{"name", one.name},
                    {"weights", one.weights},
                    {"kl_coefficient", one.kl_coefficient},
                    {"steps", one.steps},
                    {"candidate", run.bank.candidates[run.bank.run_candidates[r]].name},
                    {"metrics", run.run_metrics[r]["steps"]},
                    {"summary", run.run_metrics[r]["summary"]},
                    {"warnings", run.run_metrics[r]["warnings"]}});
  }
  CANDOR_TRY(Json dependence, menu_dependence(pipeline, run, results.menu));
  return Json{{"candor", "training/1"},
              {"runs", std::move(runs)},
              {"shortcuts", shortcut_prices(pipeline, run, results.menu)},
              {"misreports", std::move(dependence)}};
}

std::string sweeps_csv(const Json& sweeps) {
  std::string out = "group,kind,begin,end,candidate,valuation,payment,utility\n";
  const auto add = [&](const Json& sweep, const std::string& kind, const Json& begin,
                       const Json& end, const std::string& name, const Json& figures) {
    out += str_cat("\"", sweep["group"].get<std::string>(), "\",", kind, ",", begin.dump(), ",",
                   end.dump(), ",\"", name, "\"");
    for (const char* key : {"valuation", "payment", "utility"}) out += "," + figures[key].dump();
    out += "\n";
  };
  for (const Json& sweep : sweeps["sweeps"]) {
    const std::string kind = sweep["kind"];
    for (const Json& piece : sweep["pieces"]) {
      add(sweep, kind, piece["begin"], piece["end"], piece["name"], piece);
    }
    for (const Json& point : sweep.value("clipped_points", Json::array())) {
      add(sweep, kind + "_clipped", point["parameter"], point["parameter"],
          str_cat(point["winner"].dump()), point);
    }
  }
  return out;
}

// The files of one vector of sizes.
Status write_settlement(const RunDirectory& directory, const std::string& prefix,
                        const MenuPipeline& pipeline, const MenuTable& menu,
                        const MenuSettlement& settled) {
  const Study& study = pipeline.study();
  CANDOR_RETURN_IF_ERROR(directory.write(prefix + "table.json", to_text(settled.table_json)));
  CANDOR_TRY(
      const std::string settlement,
      canonical_json(settlement_json(settled.table, settled.digest, settled.settlement, true)));
  CANDOR_RETURN_IF_ERROR(directory.write(prefix + "settlement.json", settlement + "\n"));
  for (size_t i = 0; i < settled.table.groups.size(); ++i) {
    CANDOR_TRY(const Json own, receipt_json(study, settled, i));
    CANDOR_TRY(const std::string receipt, canonical_json(own));
    CANDOR_RETURN_IF_ERROR(
        directory.write(str_cat(prefix, "receipts/", i + 1, ".json"), receipt + "\n"));
  }
  for (const auto& [rule, name] :
       {std::pair{PaymentRule::kAffine, "audit.json"}, {PaymentRule::kZero, "audit_zero.json"}}) {
    CANDOR_TRY(const TableAudit audit, audit_table(settled.table, rule));
    CANDOR_RETURN_IF_ERROR(
        directory.write(prefix + name, to_text(audit_json(settled.table, audit))));
  }
  CANDOR_TRY(const Json sweeps, menu_sweeps(study, menu, settled));
  CANDOR_RETURN_IF_ERROR(directory.write(prefix + "sweeps.json", to_text(sweeps)));
  CANDOR_RETURN_IF_ERROR(directory.write(prefix + "sweeps.csv", sweeps_csv(sweeps)));
  CANDOR_TRY(Json rules, menu_baselines(pipeline, menu, settled));
  CANDOR_TRY(Json quoted, predicted_and_realised(pipeline, menu, settled));
  const Json baselines = {{"candor", "baselines/1"},
                          {"sizes", settled.sizes},
                          {"rules", std::move(rules)},
                          {"quote", std::move(quoted)}};
  return directory.write(prefix + "baselines.json", to_text(baselines));
}

std::string bank_lines(const Study& study, const MenuRun& run) {
  std::string out;
  for (size_t reply = 0; reply < run.bank.replies.size(); ++reply) {
    Json line = run.bank.replies[reply];
    line.erase("token_logprobs");  // the stage's own bank has them
    line["divergence"] = std::isfinite(run.bank.divergences[reply])
                             ? Json(run.bank.divergences[reply])
                             : Json("infinite");
    for (size_t i = 0; i < study.groups.size(); ++i) {
      line["scores"][study.groups[i].name] = run.bank.scores[i][reply];
      if (!run.bank.judge_scores[i].empty()) {
        line["judges"][study.groups[i].name] = run.bank.judge_scores[i][reply];
      }
    }
    out += to_line(line) + "\n";
  }
  return out;
}

std::string metrics_lines(const Study& study, const MenuRun& run) {
  std::string out;
  const auto add = [&](const std::string& stage, Json metrics) {
    if (!metrics.is_object()) return;
    metrics["stage"] = stage;
    out += to_line(metrics) + "\n";
  };
  add("menu bank", run.bank.metrics);
  add("reference bank", run.reference_metrics);
  add("sft", run.sft_metrics);
  for (size_t i = 0; i < study.groups.size(); ++i) {
    add("reward " + study.groups[i].name, run.reward_metrics[i]);
    add("judge of " + study.groups[i].name, run.judge_metrics[i]);
  }
  return out;
}

Json run_json(const MenuPipeline& pipeline, const MenuRun& run) {
  Json groups = Json::array();
  for (size_t i = 0; i < pipeline.study().groups.size(); ++i) {
    Json entry = pipeline.base.groups[i].digests();
    entry["name"] = pipeline.study().groups[i].name;
    if (pipeline.judges[i].has_value()) entry["judge"] = pipeline.judges[i]->digests();
    if (!pipeline.given_digests[i].empty()) entry["adapter"] = pipeline.given_digests[i];
    groups.push_back(std::move(entry));
  }
  Json out = {{"candor", "run/1"},
              {"level", "menu"},
              {"version", CANDOR_VERSION},
              {"seed", pipeline.study().seed},
              {"machine", run_machine_json(pipeline.base.machine)},
              {"base_model", pipeline.base.model_digest},
              {"initial_model", run.model_digest},
              {"prompts", pipeline.base.prompts_digest},
              {"groups", std::move(groups)},
              {"seal", run.seal["digest"]},
              {"menu_seal", run.menu_seal["digest"]},
              {"stages", run.stages},
              {"stages_digest", run.stages_digest}};
  if (!pipeline.study().budget.empty()) out["budget"] = pipeline.study().budget;
  if (!pipeline.sft_digest.empty()) out["sft_data"] = pipeline.sft_digest;
  if (!pipeline.train_prompts_digest.empty()) out["train_prompts"] = pipeline.train_prompts_digest;
  return out;
}

}  // namespace

std::vector<std::string> failed_self_tests(const Json& self_tests) {
  std::vector<std::string> out;
  for (const Json& test : self_tests) {
    if (!test["passed"].get<bool>()) out.push_back(test["name"]);
  }
  return out;
}

Result<MenuResults> settle_menu_run(const MenuPipeline& pipeline, const MenuRun& run) {
  const Study& study = pipeline.study();
  MenuResults out;
  CANDOR_TRY(out.menu,
             tabulate_menu(study, run.bank, run.normalizers, pipeline.base.prompts.size()));
  add_reference_redraws(study, run, out.menu);
  CANDOR_TRY(out.estimate, estimate_table(out.menu.menu, size_vectors(study),
                                          {.seed = study.seed,
                                           .resamples = static_cast<int>(study.resamples),
                                           .confidence = study.confidence,
                                           .replies = static_cast<double>(study.bank.samples)}));
  for (const std::vector<int64_t>& sizes : size_vectors(study)) {
    CANDOR_TRY(MenuSettlement settled, settle_menu(pipeline, run, out.menu, out.estimate, sizes));
    out.settlements.push_back(std::move(settled));
  }
  out.self_tests = menu_self_tests(pipeline, run, out.menu, out.settlements);
  CANDOR_TRY(out.warnings, menu_warnings(pipeline, run, out));
  return out;
}

Status write_menu_results(const RunDirectory& directory, const MenuPipeline& pipeline,
                          const MenuRun& run, const MenuResults& results) {
  const Study& study = pipeline.study();
  CANDOR_RETURN_IF_ERROR(directory.write_seal("seal.json", run.seal));
  CANDOR_RETURN_IF_ERROR(directory.write_seal("menu_seal.json", run.menu_seal));
  CANDOR_RETURN_IF_ERROR(directory.write("self_tests.json", to_text(results.self_tests)));
  CANDOR_RETURN_IF_ERROR(directory.write("bank.jsonl", bank_lines(study, run)));
  std::string prompts;
  for (const Json& prompt : pipeline.base.prompts) prompts += to_line(prompt) + "\n";
  CANDOR_RETURN_IF_ERROR(directory.write("prompts.jsonl", prompts));
  for (size_t s = 0; s < results.settlements.size(); ++s) {
    const MenuSettlement& settled = results.settlements[s];
    const std::string prefix = s == 0 ? "" : str_cat("sizes-", dashed(settled.sizes), "/");
    CANDOR_RETURN_IF_ERROR(write_settlement(directory, prefix, pipeline, results.menu, settled));
  }
  CANDOR_TRY(const Json estimates, estimates_json(study, results));
  CANDOR_RETURN_IF_ERROR(directory.write("estimates.json", to_text(estimates)));
  CANDOR_RETURN_IF_ERROR(directory.write("menu.json", to_text(menu_json(pipeline, run, results))));
  CANDOR_TRY(const Json training, training_json(pipeline, run, results));
  CANDOR_RETURN_IF_ERROR(directory.write("training.json", to_text(training)));
  CANDOR_RETURN_IF_ERROR(directory.write("warnings.json", to_text(results.warnings)));
  CANDOR_RETURN_IF_ERROR(directory.write("metrics.jsonl", metrics_lines(study, run)));
  return directory.write_run(run_json(pipeline, run));
}

}  // namespace candor
