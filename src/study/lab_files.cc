#include "study/lab_files.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/strings.h"
#include "study/result_files.h"

namespace candor {

namespace {

// {"name"?, "size", "reward"} of one type, normalised.
Report read_type(JsonReader& in, const Game& game, size_t index) {
  Report type;
  type.name = in.text_or("name", str_cat("type ", index));
  type.group_size = static_cast<double>(in.integer("size", 1, game.max_size));
  type.reward = in.numbers("reward");
  if (!in.ok()) return type;
  if (type.reward.size() != game.outcome_count()) {
    in.fail("reward", str_cat("has ", type.reward.size(), " entries; the game has ",
                              game.outcome_count(), " outcomes"));
    return type;
  }
  // Checked and normalised by the same code as a game's groups.
  Game alone;
  alone.divergence = game.divergence;
  alone.normalization = game.normalization;
  alone.initial = game.initial;
  alone.block_begin = game.block_begin;
  alone.groups = {type};
  Result<Game> made = make_game(std::move(alone));
  if (!made.ok()) {
    in.fail("reward", made.error().message);
    return type;
  }
  type.reward = made->groups[0].reward;
  return type;
}

std::vector<double> read_allocation(JsonReader& in, const Game& game) {
  std::vector<double> model = in.numbers("allocation");
  if (!in.ok()) return model;
  if (model.size() != game.outcome_count()) {
    in.fail("allocation", str_cat("has ", model.size(), " entries; the game has ",
                                  game.outcome_count(), " outcomes"));
    return model;
  }
  for (size_t block = 0; block < game.block_count(); ++block) {
    double mass = 0;
    for (size_t x = game.block_begin[block]; x < game.block_begin[block + 1]; ++x) {
      if (model[x] < 0) {
        in.fail("allocation", str_cat("found ", model[x], " at entry ", x, "; expected >= 0"));
      }
      mass += model[x];
    }
    if (std::abs(mass - 1) > 1e-9) {
      in.fail("allocation", str_cat("sums to ", mass, "; a model sums to 1 in each block"));
    }
    for (size_t x = game.block_begin[block]; x < game.block_begin[block + 1]; ++x) {
      model[x] /= mass;
    }
  }
  return model;
}

void check_count(JsonReader& in, const std::string& key, size_t count) {
  if (in.ok() && (count == 0 || count > kMostTypes)) {
    in.fail(key, str_cat("found ", count, "; expected 1 to ", kMostTypes));
  }
}

Json fee_json(const Laboratory& lab) {
  Json formula = {{"holds", lab.fee_formula.holds}, {"why", lab.fee_formula.why}};
  if (lab.fee_formula.holds) formula["largest"] = lab.fee_formula.largest;
  if (!lab.fee.has_value()) return {{"reason", lab.no_fee}, {"kl_formula", std::move(formula)}};
  return {{"largest", lab.fee->largest},
          {"error", lab.fee->error},
          {"type", report_json(lab.fee->type)},
          {"kl_formula", std::move(formula)}};
}

Json type_json(const Report& type) {
  Json out = report_json(type);
  out["name"] = type.name;
  return out;
}

Json types_json(const std::vector<Report>& types) {
  Json out = Json::array();
  for (const Report& type : types) out.push_back(type_json(type));
  return out;
}

Json rule_json(const Laboratory& lab, const RuleStudy& study) {
  const Implementability& incentives = study.incentives;
  const std::optional<bool> implementable = study.implementable();
  Json out = {{"rule", study.rule},
              {"verdict", verdict_name(study.verdict)},
              {"implementable", implementable.has_value() ? Json(*implementable) : Json(nullptr)},
              {"why", study.why},
              {"types_searched", study.types_searched},
              {"rule_runs", study.rule_runs},
              {"tolerance", incentives.tolerance},
              {"gain_zero", study.gain_zero},
              {"gain_pay_report", study.gain_pay_report}};
  if (!incentives.worst_cycle.empty()) {
    out["worst_cycle"] = {{"types", study.worst_cycle}, {"length", incentives.worst_cycle_length}};
  }
  if (study.verdict == Verdict::kNo) out["witness"] = types_json(study.worst_cycle_types());
  if (study.gain_affine.has_value()) out["gain_affine"] = *study.gain_affine;
  if (study.verdict != Verdict::kNo) {
    Json payments = Json::array();
    for (size_t t = 0; t < incentives.low.size(); ++t) {
      Json row = {
          {"type", study.types[t].name}, {"low", incentives.low[t]}, {"high", incentives.high[t]}};
      if (!study.affine.empty()) row["affine"] = study.affine[t];
      payments.push_back(std::move(row));
    }
    out["payments"] = std::move(payments);
    out["widest_interval"] = incentives.widest;
  }
  Json points = Json::array();
  for (const PaymentPath& path : study.paths) {
    points.push_back({{"steps", path.steps},
                      {"forward", path.forward},
                      {"backward", path.backward},
                      {"width", path.forward + path.backward},
                      {"predicted_width", path.predicted_width}});
  }
  out["path"] = {{"from", lab.path_from}, {"to", lab.path_to}, {"points", std::move(points)}};
  if (study.affine_difference.has_value()) {
    out["path"]["affine_difference"] = *study.affine_difference;
  }
  if (!study.no_path.empty()) out["path"]["reason"] = study.no_path;
  return out;
}

}  // namespace

Result<std::vector<Report>> load_types(const std::string& path, const Game& game) {
  CANDOR_TRY(const Json json, read_json_file(path));
  JsonReader in(json, path);
  static const std::vector<std::string> kKind = {"types/1"};
  in.choice("candor", kKind);
  std::vector<Report> types;
  for (JsonReader& type : in.objects("types")) {
    types.push_back(read_type(type, game, types.size()));
    in.adopt(type.finish());
  }
  check_count(in, "types", types.size());
  CANDOR_RETURN_IF_ERROR(in.finish());
  return types;
}

Result<LoadedRule> load_rule(const std::string& path, const Game& game, size_t group) {
  CANDOR_TRY(const Json json, read_json_file(path));
  JsonReader in(json, path);
  static const std::vector<std::string> kKind = {"rule/1"};
  in.choice("candor", kKind);
  const std::string name = in.text("name");
  LoadedRule out;
  std::vector<RuleRow> rows;
  for (JsonReader& row : in.objects("rows")) {
    Report type = read_type(row, game, rows.size());
    std::vector<double> model = read_allocation(row, game);
    in.adopt(row.finish());
    out.types.push_back(type);
    rows.push_back({std::move(type), std::move(model)});
  }
  check_count(in, "rows", rows.size());
  for (size_t a = 0; a < rows.size() && in.ok(); ++a) {
    for (size_t b = 0; b < a; ++b) {
      if (rows[a].type.group_size != rows[b].type.group_size ||
          rows[a].type.reward != rows[b].type.reward) {
        continue;
      }
      in.fail(str_cat("rows[", a, "]"), str_cat("has the same type as rows[", b, "]"));
    }
  }
  CANDOR_RETURN_IF_ERROR(in.finish());
  out.rule = make_table_rule(name, group, std::move(rows));
  return out;
}

Json witness_types_json(const Laboratory& lab) {
  Json types = Json::array();
  for (const RuleStudy& study : lab.rules) {
    if (study.verdict != Verdict::kNo) continue;
    for (const Report& type : study.worst_cycle_types()) {
      // In full, however long: it is there to be read again.
      types.push_back({{"name", type.name},
                       {"size", static_cast<int64_t>(type.group_size)},
                       {"reward", type.reward}});
    }
  }
  return {{"candor", "types/1"}, {"types", std::move(types)}};
}

Json lab_json(const Game& game, const Laboratory& lab) {
  Json rules = Json::array();
  for (const RuleStudy& study : lab.rules) rules.push_back(rule_json(lab, study));
  Json moduli = Json::array();
  for (const auto& row : lab.moduli) {
    Json entry = {{"epsilon", row.epsilon},
                  {"delta_paper", nullptr},
                  {"delta_sharp", nullptr},
                  {"delta_initial", row.initial.delta},
                  {"delta_initial_is_sharp", row.initial.sharp},
                  {"largest_shift_found", row.worst_found}};
    if (row.modulus.paper.has_value()) entry["delta_paper"] = *row.modulus.paper;
    if (row.modulus.sharp > 0) entry["delta_sharp"] = row.modulus.sharp;
    moduli.push_back(std::move(entry));
  }
  Json out = {{"candor", "lab/1"},
              {"group", game.groups[lab.space.group].name},
              {"types", types_json(lab.space.types)},
              {"rules", std::move(rules)},
              {"continuity", std::move(moduli)},
              {"fee", fee_json(lab)}};
  out["lemma_e_1"] = lab.lemma_e_1.has_value() ? Json(*lab.lemma_e_1) : Json(nullptr);
  return out;
}

}  // namespace candor
