#include "study/menu_analysis.h"

#include <algorithm>
#include <cmath>

#include "base/strings.h"
#include "core/audit.h"
#include "core/table_audit.h"
#include "core/table_rules.h"
#include "core/table_sweep.h"

namespace candor {

namespace {

double units(Int128 value) { return from_fixed_point(value); }

Json pieces_json(const MenuSettlement& settled, size_t group,
                 const std::vector<TableSweepPiece>& pieces) {
  const Table::Group& own = settled.table.groups[group];
  Json out = Json::array();
  for (const TableSweepPiece& piece : pieces) {
    const Int128 valuation = Int128{own.group_size} * own.valuations[piece.winner];
    const Int128 payment = settled.settlement.groups[group].prices[piece.winner];
    out.push_back({{"begin", piece.begin},
                   {"end", piece.end},
                   {"winner", piece.winner},
                   {"name", settled.table.candidates[piece.winner].name},
                   {"valuation", units(valuation)},
                   {"payment", units(payment)},
                   {"utility", units(valuation - payment)}});
  }
  return out;
}

Json lambda_json(const Study& study, const MenuSettlement& settled,
                 const std::vector<TableSweepPiece>& pieces) {
  const double lambda = study.divergence.regularization;
  Json out = Json::array();
  for (const TableSweepPiece& piece : pieces) {
    out.push_back({{"begin", piece.begin * lambda},
                   {"end", piece.end * lambda},
                   {"winner", piece.winner},
                   {"name", settled.table.candidates[piece.winner].name}});
  }
  return out;
}

// A rule's outcome as a row of the baselines' table.
Json rule_json(const std::string& name, const std::string& payments, const Table& table,
               const TableRuleOutcome& outcome) {
  double gain = 0;
  std::vector<double> utilities;
  for (size_t i = 0; i < table.groups.size(); ++i) {
    gain = std::max(gain, outcome.deviation_gain[i]);
    utilities.push_back(static_cast<double>(table.groups[i].group_size) * outcome.valuations[i]);
  }
  return {{"rule", name},
          {"payments", payments},
          {"winner", outcome.winner},
          {"name", table.candidates[outcome.winner].name},
          {"welfare", outcome.welfare},
          {"valuations", outcome.valuations},
          {"utilities", utilities},
          {"least_valuation", outcome.least_valuation},
          {"gini", outcome.gini},
          {"jain", outcome.jain},
          {"deviation_gains", outcome.deviation_gain},
          {"largest_deviation_gain", gain},
          {"bound", "exact"}};
}

// SW-Max with p^AFF: the same choice; utilities after payments; gains from the audit.
Result<Json> mechanism_json(const MenuSettlement& settled, const TableRuleOutcome& outcome) {
  Json out = rule_json("sw_max", "affine", settled.table, outcome);
  CANDOR_TRY(const TableAudit audit, audit_table(settled.table, PaymentRule::kAffine));
  double gain = 0;
  for (size_t i = 0; i < settled.table.groups.size(); ++i) {
    out["utilities"][i] = units(settled.settlement.groups[i].utility);
    out["deviation_gains"][i] = units(audit.groups[i].deviation_gain);
    gain = std::max(gain, units(audit.groups[i].deviation_gain));
  }
  out["largest_deviation_gain"] = gain;
  return out;
}

// The block game of the initial model's replies (the sampled level, DESIGN 1), with the table's
// sizes.
Result<Game> initial_game(const MenuPipeline& pipeline, const MenuTable& menu,
                          const std::vector<int64_t>& sizes) {
  const Study& study = pipeline.study();
  const auto samples = static_cast<size_t>(study.bank.samples);
  const size_t prompts = menu.all.prompts;
  Game game;
  game.divergence = study.divergence;
  game.normalization = Normalization::kNone;
  game.max_size = study.max_size;
  game.initial.assign(prompts * samples, 1.0);
  for (size_t q = 0; q <= prompts; ++q) game.block_begin.push_back(q * samples);
  for (size_t i = 0; i < study.groups.size(); ++i) {
    const auto begin = menu.rewards[i].begin();  // the initial model is candidate 0
    game.groups.push_back(
        {.name = study.groups[i].name,
         .group_size = static_cast<double>(sizes[i]),
         .reward = {begin, begin + static_cast<std::ptrdiff_t>(prompts * samples)}});
  }
  return make_game(std::move(game));
}

Result<Json> reweighting_json(const MenuPipeline& pipeline, const MenuTable& menu,
                              const MenuSettlement& settled) {
  CANDOR_TRY(const Game game, initial_game(pipeline, menu, settled.sizes));
  CANDOR_TRY(const Solution solution, solve(game));
  CANDOR_TRY(const Audit audit, audit_game(game, {.payments = PaymentRule::kZero,
                                                  .given_prices = {},
                                                  .seed = pipeline.study().seed}));
  Json out = {{"rule", "per_prompt_reweighting"},
              {"payments", "zero"},
              {"winner", nullptr},
              {"name", "re-weighted replies of the initial model"},
              {"welfare", solution.welfare}};
  std::vector<double> valuations;
  std::vector<double> utilities;
  std::vector<double> gains;
  std::string bound = "exact";
  for (size_t i = 0; i < game.groups.size(); ++i) {
    valuations.push_back(solution.groups[i].valuation / game.groups[i].group_size);
    utilities.push_back(solution.groups[i].valuation);
    gains.push_back(audit.groups[i].deviation_gain);
    if (audit.groups[i].bound != "exact") bound = audit.groups[i].bound;
  }
  out["least_valuation"] = *std::ranges::min_element(valuations);
  out["gini"] = gini_index(valuations);
  out["jain"] = jain_index(valuations);
  out["valuations"] = std::move(valuations);
  out["utilities"] = std::move(utilities);
  out["largest_deviation_gain"] = *std::ranges::max_element(gains);
  out["deviation_gains"] = std::move(gains);
  out["bound"] = bound;
  return out;
}

// Experts of the menu, as candidates of the table.
std::vector<size_t> experts_of(const MenuPipeline& pipeline, const MenuTable& menu) {
  std::vector<size_t> out;
  const size_t first = pipeline.study().menu->menu.initial ? 1 : 0;
  for (size_t k = 0; k < menu.candidates.size(); ++k) {
    const size_t place = menu.candidates[k];
    if (place >= first && place < first + pipeline.study().groups.size()) out.push_back(k);
  }
  return out;
}

}  // namespace

size_t uniform_soup(const std::vector<MenuCandidate>& candidates, const MenuTable& menu) {
  for (size_t k = 0; k < menu.candidates.size(); ++k) {
    const MenuCandidate& candidate = candidates[menu.candidates[k]];
    const std::vector<double>& weights = candidate.weights;
    const bool uniform =
        candidate.kind == MenuCandidate::Kind::kSoup &&
        std::ranges::all_of(weights, [&](double w) { return std::abs(w - weights[0]) < 1e-9; });
    if (uniform) return k;
  }
  return menu.candidates.size();
}

Result<Json> menu_sweeps(const Study& study, const MenuTable& menu, const MenuSettlement& settled) {
  const auto samples = static_cast<size_t>(study.bank.samples);
  const double largest_size = *std::ranges::max_element(study.size_inflation);
  const double largest_mix = *std::ranges::max_element(study.preference_mix);
  Json sweeps = Json::array();
  for (size_t i = 0; i < settled.table.groups.size(); ++i) {
    const std::string& name = settled.table.groups[i].name;
    CANDOR_TRY(const auto sizes, size_inflation_pieces(settled.table, i, largest_size));
    sweeps.push_back({{"group", name},
                      {"kind", "size_inflation"},
                      {"pieces", pieces_json(settled, i, sizes)},
                      {"flat", sizes.size() == 1}});
    if (settled.table.groups.size() < 2) continue;
    CANDOR_TRY(const auto mixes, preference_mix_pieces(settled.table, i, largest_mix));
    Json points = Json::array();
    for (const ClippedPoint& point :
         clipped_mix_sweep(menu, settled, i, study.preference_mix, samples)) {
      points.push_back({{"parameter", point.parameter},
                        {"winner", point.winner},
                        {"valuation", point.valuation},
                        {"payment", point.payment},
                        {"utility", point.utility},
                        {"clipped", point.clipped}});
    }
    sweeps.push_back({{"group", name},
                      {"kind", "preference_mix"},
                      {"pieces", pieces_json(settled, i, mixes)},
                      {"clipped_points", std::move(points)},
                      {"replies", menu.candidates.size() * menu.all.prompts * samples},
                      {"flat", mixes.size() == 1}});
  }
  CANDOR_TRY(const auto scale,
             divergence_scale_pieces(settled.table, study.menu->largest_lambda_scale));
  return Json{{"candor", "sweeps/1"},
              {"sizes", settled.sizes},
              {"sweeps", std::move(sweeps)},
              {"lambda", lambda_json(study, settled, scale)},
              {"lambda_used", study.divergence.regularization}};
}

Result<Json> menu_baselines(const MenuPipeline& pipeline, const MenuTable& menu,
                            const MenuSettlement& settled) {
  const Table& table = settled.table;
  Json out = Json::array();
  CANDOR_TRY(const TableRuleOutcome sw_max, apply_table_rule(table, {}));
  CANDOR_TRY(Json mechanism, mechanism_json(settled, sw_max));
  out.push_back(std::move(mechanism));
  out.push_back(rule_json("sw_max", "zero", table, sw_max));
  const auto add = [&](const std::string& name, const TableRuleRequest& request) -> Status {
    CANDOR_TRY(const TableRuleOutcome outcome, apply_table_rule(table, request));
    out.push_back(rule_json(name, "zero", table, outcome));
    return {};
  };
  CANDOR_RETURN_IF_ERROR(add("max_min", {.rule = TableRule::kMaxMin, .candidates = {}}));
  // Nash is undefined where every product is 0; then it is left out, and said so by its absence.
  const Result<TableRuleOutcome> nash =
      apply_table_rule(table, {.rule = TableRule::kNash, .candidates = {}});
  if (nash.ok()) out.push_back(rule_json("nash", "zero", table, *nash));
  const std::vector<size_t> experts = experts_of(pipeline, menu);
  if (!experts.empty()) {
    CANDOR_RETURN_IF_ERROR(add("best_expert", {.rule = TableRule::kBestOf, .candidates = experts}));
  }
  if (const size_t soup = uniform_soup(pipeline.candidates, menu); soup < table.candidates.size()) {
    CANDOR_RETURN_IF_ERROR(add("uniform_soup", {.rule = TableRule::kFixed, .candidates = {soup}}));
  }
  if (pipeline.study().menu->menu.initial && menu.candidates[0] == 0) {
    CANDOR_RETURN_IF_ERROR(add("initial", {.rule = TableRule::kFixed, .candidates = {0}}));
    CANDOR_TRY(Json reweighting, reweighting_json(pipeline, menu, settled));
    out.push_back(std::move(reweighting));
  }
  return out;
}

Result<Json> predicted_and_realised(const MenuPipeline& pipeline, const MenuTable& menu,
                                    const MenuSettlement& settled) {
  if (!pipeline.study().menu->menu.initial || menu.candidates[0] != 0) return Json();
  CANDOR_TRY(const Game game, initial_game(pipeline, menu, settled.sizes));
  CANDOR_TRY(const Solution solution, solve(game));
  Json groups = Json::array();
  for (size_t i = 0; i < game.groups.size(); ++i) {
    const Settlement::Group& real = settled.settlement.groups[i];
    groups.push_back({{"name", game.groups[i].name},
                      {"predicted_valuation", solution.groups[i].valuation},
                      {"realised_valuation", units(real.valuation)},
                      {"predicted_payment", solution.groups[i].payment},
                      {"realised_payment", units(real.payment)}});
  }
  return Json{{"sizes", settled.sizes},
              {"predicted_welfare", solution.welfare},
              {"realised_welfare", units(settled.settlement.welfare)},
              {"predicted_gap", solution.gap()},
              {"groups", std::move(groups)}};
}

}  // namespace candor
