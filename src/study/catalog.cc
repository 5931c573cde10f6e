#include "study/catalog.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <set>

#include "base/strings.h"
#include "core/best_response.h"
#include "core/deviation_experiment.h"
#include "core/lab.h"
#include "core/noise.h"
#include "core/table_sweep.h"
#include "study/game_file.h"
#include "study/lab_files.h"
#include "study/noise_files.h"
#include "study/result_files.h"
#include "study/table_file.h"

namespace candor {

namespace {

// What an entry's command sees: its file and its options.
struct Request {
  std::string file;
  JsonReader& options;
};

Result<Json> run_solve(Request& request) {
  CANDOR_TRY(const Game game, load_game(request.file));
  CANDOR_TRY(const Solution solution, solve(game));
  return solution_json(solution, true);
}

Result<Json> run_settle(Request& request) {
  CANDOR_TRY(const LoadedTable loaded, load_table(request.file));
  return settlement_json(loaded.table, loaded.digest, settle(loaded.table), true);
}

Result<Json> run_audit(Request& request) {
  CANDOR_TRY(const PaymentRule rule,
             parse_payment_rule(request.options.text_or("payments", "affine")));
  const bool attacks = request.options.boolean_or("attacks", false);
  CANDOR_TRY(const std::string kind, kind_of_file(request.file));
  if (kind == "table/1") {
    CANDOR_TRY(const LoadedTable loaded, load_table(request.file));
    CANDOR_TRY(const TableAudit audit, audit_table(loaded.table, rule));
    return audit_json(loaded.table, audit);
  }
  CANDOR_TRY(const Game game, load_game(request.file));
  CANDOR_TRY(const Audit audit, audit_game(game, {.payments = rule, .given_prices = {}}));
  Json out = audit_json(audit);
  if (attacks) {
    CANDOR_TRY(const std::vector<Attack> found, search_attacks(game, {.payments = rule}));
    out["attacks"] = attacks_json(found);
  }
  return out;
}

Result<Json> run_lab(Request& request) {
  const std::string name = request.options.text("rule");
  const std::string group = request.options.text_or("group", "");
  const int64_t steps = request.options.integer_or("steps", 64, 1, 65536);
  CANDOR_RETURN_IF_ERROR(request.options.status());
  CANDOR_TRY(const Game game, load_game(request.file));
  CANDOR_TRY(const size_t index, find_group(game, group));
  CANDOR_TRY(const auto rule, make_training_rule(name));
  CANDOR_TRY(const Laboratory lab, run_laboratory(game, index, {rule.get()}, {},
                                                  {.largest_steps = static_cast<int>(steps)}));
  return lab_json(game, lab);
}

Result<Json> run_noise(Request& request) {
  NoiseOptions options;
  CANDOR_TRY(options.model, parse_noise_model(request.options.text_or("noise", "uniform")));
  options.epsilon = request.options.number_or("epsilon", 0.05, 1e-12, 1e6);
  options.draws = static_cast<int>(request.options.integer_or("draws", 200, 4, 1000000));
  CANDOR_TRY(const Game game, load_game(request.file));
  CANDOR_TRY(const NoiseStudy study, study_noise(game, options));
  return noise_json(options, study);
}

// The curves of Figure 2 and Tables 2-3 on a menu: true valuation, utility and welfare of one group
// that inflates its size by each parameter.
Result<Json> run_inflation(Request& request) {
  const std::string group = request.options.text("group");
  const std::vector<double> parameters = request.options.numbers("parameters");
  CANDOR_RETURN_IF_ERROR(request.options.status());
  CANDOR_TRY(const LoadedTable loaded, load_table(request.file));
  const Table& table = loaded.table;
  const auto found = std::ranges::find(table.groups, group, &Table::Group::name);
  if (found == table.groups.end()) {
    return invalid_argument(str_cat("group: no group is named ", quote(group)));
  }
  const auto index = static_cast<size_t>(found - table.groups.begin());
  if (parameters.empty()) return invalid_argument("parameters: expected at least one");
  CANDOR_TRY(const auto pieces,
             size_inflation_pieces(table, index, 2 * *std::ranges::max_element(parameters)));
  const Settlement settled = settle(table);
  Json valuation = Json::array();
  Json utility = Json::array();
  Json welfare = Json::array();
  for (const double parameter : parameters) {
    size_t winner = pieces.back().winner;
    for (const TableSweepPiece& piece : pieces) {
      if (parameter > piece.begin && parameter < piece.end) winner = piece.winner;
    }
    const Int128 value =
        Int128{table.groups[index].group_size} * table.groups[index].valuations[winner];
    Int128 total = -Int128{table.candidates[winner].divergence};
    for (const Table::Group& one : table.groups) {
      total += Int128{one.group_size} * one.valuations[winner];
    }
    valuation.push_back(from_fixed_point(value));
    utility.push_back(from_fixed_point(value - settled.groups[index].prices[winner]));
    welfare.push_back(from_fixed_point(total));
  }
  return Json{{"valuation", valuation}, {"utility", utility}, {"welfare", welfare}};
}

Result<Json> run_best_response(Request& request) {
  const std::string group = request.options.text("group");
  CANDOR_RETURN_IF_ERROR(request.options.status());
  CANDOR_TRY(const Game game, load_game(request.file));
  CANDOR_TRY(const size_t index, find_group(game, group));
  const double size = request.options.number_or("size", game.groups[index].group_size, 1, 1e9);
  const BestResponse best = best_response_without_payments(game, index, size);
  return Json{{"valuation", best.valuation},
              {"mean_valuation", best.valuation / game.groups[index].group_size},
              {"reward", best.report.reward}};
}

Result<Json> run_deviation_table(Request& request) {
  const std::vector<double> epsilons = request.options.numbers("epsilons");
  DeviationExperiment experiment;
  experiment.games = static_cast<int>(request.options.integer_or("games", 20000, 1, 10000000));
  CANDOR_RETURN_IF_ERROR(request.options.status());
  CANDOR_TRY(const auto rows, run_deviations(experiment, epsilons));
  Json valuation = Json::array();
  Json utility = Json::array();
  for (const DeviationRow& row : rows) {
    valuation.push_back(100 * row.valuation_change);
    utility.push_back(1e4 * row.utility_change);
  }
  return Json{{"valuation_change_x100", valuation}, {"utility_change_x10000", utility}};
}

using Command = Result<Json> (*)(Request&);
const std::map<std::string, Command>& commands() {
  static const std::map<std::string, Command> kCommands = {{"solve", run_solve},
                                                           {"settle", run_settle},
                                                           {"audit", run_audit},
                                                           {"lab", run_lab},
                                                           {"noise", run_noise},
                                                           {"size_inflation", run_inflation},
                                                           {"best_response", run_best_response},
                                                           {"deviations", run_deviation_table}};
  return kCommands;
}

// The element that a path's segment names: a key, an index, or the entry of an array whose name,
// family, rule, type or attack it is.
const Json* step(const Json& from, const std::string& segment) {
  if (from.is_object()) return from.contains(segment) ? &from[segment] : nullptr;
  if (!from.is_array()) return nullptr;
  const bool number =
      !segment.empty() && segment.find_first_not_of("0123456789") == std::string::npos;
  if (number) {
    const size_t index = std::stoul(segment.substr(0, 9));
    return index < from.size() ? &from[index] : nullptr;
  }
  for (const Json& element : from) {
    for (const char* key : {"name", "family", "rule", "type", "attack"}) {
      if (element.is_object() && element.contains(key) && element[key] == segment) return &element;
    }
  }
  return nullptr;
}

// Integer strings are amounts in 2^-32.
Json as_number(const Json& value) {
  if (!value.is_string()) return value;
  const Result<Int128> units = parse_int128(value.get<std::string>());
  return units.ok() ? Json(from_fixed_point(*units)) : value;
}

bool near(const Json& found, const Json& expected, double tolerance) {
  if (expected.is_array()) {
    if (!found.is_array() || found.size() != expected.size()) return false;
    for (size_t i = 0; i < expected.size(); ++i) {
      if (!near(found[i], expected[i], tolerance)) return false;
    }
    return true;
  }
  if (!expected.is_number() || !found.is_number()) return found == expected;
  return std::abs(found.get<double>() - expected.get<double>()) <= tolerance;
}

bool agrees(const Json& found, const Json& says) {
  if (says.contains("equals")) {
    const double tolerance = says.value("tolerance", 0.0);
    const double relative = says.value("relative", 0.0);
    if (relative == 0 || !says["equals"].is_array()) {
      const double size = says["equals"].is_number() ? std::abs(says["equals"].get<double>()) : 0;
      return near(found, says["equals"], tolerance + relative * size);
    }
    if (!found.is_array() || found.size() != says["equals"].size()) return false;
    for (size_t i = 0; i < found.size(); ++i) {
      const Json& expected = says["equals"][i];
      if (!near(found[i], expected, tolerance + relative * std::abs(expected.get<double>()))) {
        return false;
      }
    }
    return true;
  }
  // An array keeps a bound where every element does.
  if (found.is_array()) {
    return !found.empty() &&
           std::ranges::all_of(found, [&](const Json& element) { return agrees(element, says); });
  }
  if (!found.is_number()) return false;
  if (says.contains("at_least")) return found.get<double>() >= says["at_least"].get<double>();
  return found.get<double>() <= says["at_most"].get<double>();
}

// What the path leads to; below "*" an array of what every element has there.
Result<Json> value_at(const Json& from, const std::vector<std::string>& path, size_t begin) {
  if (begin == path.size()) return as_number(from);
  if (path[begin] == "*" && from.is_array()) {
    Json out = Json::array();
    for (const Json& element : from) {
      CANDOR_TRY(Json one, value_at(element, path, begin + 1));
      out.push_back(std::move(one));
    }
    return out;
  }
  const Json* next = step(from, path[begin]);
  if (next == nullptr) return invalid_argument(str_cat("nothing at ", quote(path[begin])));
  return value_at(*next, path, begin + 1);
}

std::string value_text(const Json& value) {
  if (value.is_number()) return format_short(value.get<double>(), 4);
  if (value.is_boolean()) return value.get<bool>() ? "yes" : "no";
  if (value.is_null()) return "none";
  if (!value.is_array()) return value.is_string() ? value.get<std::string>() : value.dump();
  std::vector<std::string> parts;
  for (const Json& element : value) parts.push_back(value_text(element));
  return join(parts, ", ");
}

std::string filled(const std::string& sentence, const std::string& value) {
  const size_t gap = sentence.find("{}");
  if (gap == std::string::npos) return sentence;
  return str_cat(sentence.substr(0, gap), value, sentence.substr(gap + 2));
}

// A sentence, or one for each truth value.
void check_finding(JsonReader& in, CatalogEntry& entry) {
  if (!in.json()["finding"].is_object()) {
    entry.finding = in.text("finding");
    return;
  }
  JsonReader finding = in.object("finding");
  entry.finding = {{"yes", finding.text("yes")}, {"no", finding.text("no")}};
  in.adopt(finding.finish());
}

Status check_says(JsonReader& in) {
  JsonReader says = in.object("says");
  const int kinds =
      (says.has("equals") ? 1 : 0) + (says.has("at_least") ? 1 : 0) + (says.has("at_most") ? 1 : 0);
  if (in.ok() && kinds != 1) in.fail("says", "expected one of equals, at_least, at_most");
  if (says.has("equals")) {
    says.any("equals");
    says.number_or("tolerance", 0, 0);
    says.number_or("relative", 0, 0);
  }
  if (says.has("at_least")) says.number("at_least");
  if (says.has("at_most")) says.number("at_most");
  return says.finish();
}

}  // namespace

Result<std::vector<CatalogEntry>> load_catalog(const std::string& folder) {
  const std::string path = (std::filesystem::path(folder) / "catalog.json").string();
  CANDOR_TRY(const Json json, read_json_file(path));
  JsonReader in(json, path);
  static const std::vector<std::string> kKind = {"catalog/1"};
  in.choice("candor", kKind);
  std::vector<CatalogEntry> entries;
  std::set<std::string> names;
  for (JsonReader& entry : in.objects("entries")) {
    CatalogEntry out;
    out.name = entry.text("name");
    out.source = entry.text("source");
    static const std::vector<std::string> kBy = {"paper", "us"};
    out.ours = entry.choice("by", kBy) == "us";
    out.claim = entry.text("claim");
    out.file = entry.text_or("file", "");
    out.run = entry.any("run");
    out.value = entry.text("value");
    if (entry.ok()) check_finding(entry, out);
    in.adopt(check_says(entry));
    if (in.ok()) out.says = entry.json()["says"];
    if (in.ok() && !names.insert(out.name).second) {
      entry.fail("name", str_cat("found ", quote(out.name), " a second time"));
    }
    in.adopt(entry.finish());
    entries.push_back(std::move(out));
  }
  CANDOR_RETURN_IF_ERROR(in.finish());
  return entries;
}

Result<CatalogResult> run_entry(const std::string& folder, const CatalogEntry& entry) {
  JsonReader options(entry.run, str_cat(folder, "/catalog.json"), str_cat(entry.name, ".run"));
  std::vector<std::string> known;
  for (const auto& [name, command] : commands()) known.push_back(name);
  const std::string name = options.choice("command", known);
  CANDOR_RETURN_IF_ERROR(options.status());
  Request request{(std::filesystem::path(folder) / entry.file).string(), options};
  CANDOR_TRY(const Json result, commands().at(name)(request));
  CANDOR_RETURN_IF_ERROR(options.finish());
  Result<Json> found = value_at(result, split(entry.value, '/'), 0);
  if (!found.ok()) {
    return invalid_argument(str_cat("catalog entry ", quote(entry.name), ": value: ",
                                    found.error().message, " of ", quote(entry.value)));
  }
  CatalogResult out{.entry = entry, .found = std::move(found).value()};
  out.agrees = agrees(out.found, entry.says);
  return out;
}

std::string claim_text(const CatalogEntry& entry) {
  const Json& says = entry.says;
  const char* key = says.contains("equals")     ? "equals"
                    : says.contains("at_least") ? "at_least"
                                                : "at_most";
  return str_cat(entry.ours ? "we say: " : "the paper says: ",
                 filled(entry.claim, value_text(says[key])));
}

std::string finding_text(const CatalogResult& result) {
  const Json& finding = result.entry.finding;
  if (finding.is_string()) {
    return str_cat("we find: ", filled(finding.get<std::string>(), value_text(result.found)));
  }
  const bool yes = result.found.is_boolean() && result.found.get<bool>();
  return str_cat("we find: ", finding[yes ? "yes" : "no"].get<std::string>());
}

std::string tolerance_text(const CatalogEntry& entry) {
  const Json& says = entry.says;
  if (says.contains("at_least"))
    return str_cat("at least ", format_short(says["at_least"].get<double>(), 10), " asked");
  if (says.contains("at_most"))
    return str_cat("at most ", format_short(says["at_most"].get<double>(), 10), " allowed");
  if (says.contains("relative")) {
    return str_cat("tolerance ", format_short(100 * says["relative"].get<double>(), 4), " %");
  }
  const Json& equals = says["equals"];
  if (!equals.is_number() && !equals.is_array()) return "no tolerance";
  return str_cat("tolerance ", format_short(says.value("tolerance", 0.0), 4));
}

}  // namespace candor
