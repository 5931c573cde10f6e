#include <algorithm>
#include <cstdio>
#include <memory>

#include "apps/commands.h"
#include "base/file.h"
#include "base/strings.h"
#include "core/attack.h"
#include "core/audit.h"
#include "core/table_audit.h"
#include "study/game_file.h"
#include "study/result_files.h"
#include "study/table_file.h"
#include "study/theory_page.h"

namespace candor {

namespace {

struct AuditCommandOptions {
  std::string file;
  std::string payments = "affine";
  std::string report;
  bool attacks = false;
};

struct AuditRow {
  std::string name, truth, best, gain, bound, family;
};

void print_audit(const std::string& payments, bool profitable, const std::vector<AuditRow>& rows) {
  std::vector<std::vector<std::string>> cells = {
      {"group", "utility of truth", "best found", "gain from lying", "bound", "best family"}};
  for (const AuditRow& row : rows) {
    cells.push_back({row.name, row.truth, row.best, row.gain, row.bound, row.family});
  }
  print_table(cells);
  print_line(str_cat("\npayments ", printable(payments), ": ",
                     profitable ? "a group gains by lying" : "no group gains by lying"));
  std::printf("exact: no report does better; lower: found by search, more may be possible.\n");
}

// Whether what the paper says of truth without payments applies here, and why not.
void print_theorems(const std::vector<GroupAudit>& groups) {
  std::printf("\nWhat the paper says of truth when nobody pays:\n");
  for (const GroupAudit& group : groups) {
    const MisreportTheorems& theorems = group.theorems;
    std::string line = printable(group.name) + ": ";
    if (!theorems.thm_3_2.holds) {
      line += str_cat("Thm 3.2 does not apply (", theorems.thm_3_2.why, ")");
    } else if (theorems.thm_3_2_case == 1) {
      line += str_cat("truth is optimal by Thm 3.2 (1): ", theorems.thm_3_2.why);
    } else {
      line += str_cat("a lie gains by Thm 3.2 (2): ", theorems.thm_3_2.why);
    }
    if (theorems.thm_e_2_case > 0) {
      line +=
          str_cat("; a lie gains by Thm E.2 (", theorems.thm_e_2_case, "): ", theorems.thm_e_2_why);
    } else if (!theorems.thm_3_2.holds) {
      line += str_cat("; Thm E.2 does not apply (", theorems.thm_e_2_why, ")");
    }
    print_line(line + ".");
  }
}

template <typename Families>
std::string best_family(const Families& families) {
  const auto* best = &families.front();
  for (const auto& family : families) {
    if (family.deviation_gain > best->deviation_gain) best = &family;
  }
  return best->deviation_gain > 0 ? best->family : "-";
}

void print_attacks(const std::vector<Attack>& attacks) {
  if (attacks.empty()) return;
  std::vector<std::vector<std::string>> cells = {
      {"attack", "members", "utility of truth", "gain found", "how"}};
  for (const Attack& attack : attacks) {
    cells.push_back({attack.kind, join(attack.members, " + "),
                     format_short(attack.utility_truth, 8), format_short(attack.gain, 6),
                     attack.gain > 0 ? attack.family : "-"});
  }
  std::printf("\n");
  print_table(cells);
  std::printf(
      "Truth is dominant for one group under one name; joint lies and further names are not "
      "excluded. Gains are lower bounds.\n");
}

// What was asked for with --attacks; nothing otherwise.
template <typename Input>
Result<std::vector<Attack>> find_attacks(const Input& input, const AuditCommandOptions& own,
                                         PaymentRule rule, uint64_t seed) {
  if (!own.attacks) return std::vector<Attack>();
  return search_attacks(input, {.payments = rule, .seed = seed});
}

Result<PaymentRule> parse_rule(const std::string& text) {
  if (text.ends_with(".json")) return PaymentRule::kGiven;
  const Result<PaymentRule> rule = parse_payment_rule(text);
  if (rule.ok()) return *rule;
  return usage_error(str_cat("--", rule.error().message, ", or a prices/1 file (*.json)"));
}

CommandResult audit_table_file(const AuditCommandOptions& own, PaymentRule rule,
                               const CommonOptions& options) {
  CANDOR_TRY(const LoadedTable loaded, load_table(own.file));
  std::vector<std::vector<Int128>> prices;
  if (rule == PaymentRule::kGiven) {
    std::vector<std::string> names;
    for (const Table::Group& group : loaded.table.groups) names.push_back(group.name);
    CANDOR_TRY(prices, load_prices(own.payments, names, loaded.table.candidates.size()));
  }
  CANDOR_TRY(const TableAudit audit, audit_table(loaded.table, rule, prices));
  if (!own.report.empty()) {
    CANDOR_RETURN_IF_ERROR(
        write_file_atomically(own.report, table_audit_page(loaded.table, audit, own.payments)));
  }
  CANDOR_TRY(const std::vector<Attack> attacks,
             find_attacks(loaded.table, own, rule, options.seed));
  if (options.json()) {
    Json json = audit_json(loaded.table, audit);
    if (own.attacks) json["attacks"] = attacks_json(attacks);
    std::printf("%s", to_text(json).c_str());
    return audit.profitable ? 1 : 0;
  }
  std::vector<AuditRow> rows;
  const auto show = [](Int128 units) { return format_short(from_fixed_point(units), 8); };
  for (const TableGroupAudit& group : audit.groups) {
    rows.push_back({group.name, show(group.utility_truth), show(group.best_utility),
                    show(group.deviation_gain), group.bound, best_family(group.families)});
  }
  print_audit(own.payments, audit.profitable, rows);
  if (loaded.table.menu_depends_on_reports) {
    std::printf("The menu depends on the reports: this audit takes the menu as it stands.\n");
  }
  if (rule == PaymentRule::kAffine && !audit.profitable) {
    std::printf(
        "Certificate: at its prices the truth is worth the maximum over all candidates to every "
        "group, reachable or not.\n");
  }
  print_attacks(attacks);
  return audit.profitable ? 1 : 0;
}

CommandResult audit_game_file(const AuditCommandOptions& own, PaymentRule rule,
                              const CommonOptions& options) {
  CANDOR_TRY(const Game game, load_game(own.file));
  AuditOptions audit_options{.payments = rule, .given_prices = {}, .seed = options.seed};
  if (rule == PaymentRule::kGiven) {
    if (game.candidates.empty()) {
      return invalid_argument(
          str_cat(own.file, ": has no candidates, so there is nothing that the prices of ",
                  own.payments, " could be for"));
    }
    std::vector<std::string> names;
    for (const Report& report : game.groups) names.push_back(report.name);
    CANDOR_TRY(const auto prices, load_prices(own.payments, names, game.candidates.size()));
    for (const auto& row : prices) {
      std::vector<double>& out = audit_options.given_prices.emplace_back();
      for (const Int128 price : row) out.push_back(from_fixed_point(price));
    }
  }
  Progress progress(options.progress_mode(), "groups", game.groups.size());
  audit_options.progress = [&](size_t done, size_t) { progress.set(done); };
  const Result<Audit> audit = audit_game(game, audit_options);
  if (!audit.ok()) return Error{audit.error().code, str_cat(own.file, ": ", audit.error().message)};
  progress.finish();
  if (!own.report.empty()) {
    CANDOR_RETURN_IF_ERROR(
        write_file_atomically(own.report, audit_page(game, *audit, own.payments)));
  }
  CANDOR_TRY(const std::vector<Attack> attacks, find_attacks(game, own, rule, options.seed));
  if (options.json()) {
    Json json = audit_json(*audit);
    if (own.attacks) json["attacks"] = attacks_json(attacks);
    std::printf("%s", to_text(json).c_str());
    return audit->profitable ? 1 : 0;
  }
  std::vector<AuditRow> rows;
  for (const GroupAudit& group : audit->groups) {
    rows.push_back({group.name, format_short(group.utility_truth, 8),
                    format_short(group.best_utility, 8),
                    format_short(group.profitable ? group.deviation_gain : 0, 6), group.bound,
                    group.profitable ? best_family(group.families) : "-"});
  }
  print_audit(own.payments, audit->profitable, rows);
  std::printf("A gain counts above its group's own rounding, at most %s.\n",
              format_short(audit->threshold, 3).c_str());
  if (rule == PaymentRule::kAffine) {
    double most = 0;
    for (const GroupAudit& group : audit->groups) most = std::max(most, group.certificate);
    std::printf("Certificate: no report of any group gains more than %s.\n",
                format_short(most, 3).c_str());
  }
  if (rule == PaymentRule::kZero) print_theorems(audit->groups);
  print_attacks(attacks);
  return audit->profitable ? 1 : 0;
}

CommandResult run_audit(const AuditCommandOptions& own, const CommonOptions& options) {
  CANDOR_TRY(const PaymentRule rule, parse_rule(own.payments));
  CANDOR_TRY(const std::string kind, kind_of_file(own.file));
  if (kind == "table/1") return audit_table_file(own, rule, options);
  if (kind == "game/1") return audit_game_file(own, rule, options);
  return invalid_argument(
      str_cat(own.file, ": $.candor: found ", quote(kind), "; expected \"game/1\" or \"table/1\""));
}

}  // namespace

void add_audit_command(CLI::App& app, CommonOptions& options) {
  auto own = std::make_shared<AuditCommandOptions>();
  CLI::App* command = add_command(app,
                                  {"audit", "Can any group gain by lying? Exit 1 when one can",
                                   "candor audit catalog/sun2025/fig1_shape.json --payments zero"},
                                  options, [own, &options] { return run_audit(*own, options); });
  command->add_option("FILE", own->file, "A game/1 or table/1 file")->required();
  command->add_option("--payments", own->payments,
                      "affine (default), zero, pay_report, or a prices/1 file");
  command->add_flag("--attacks", own->attacks,
                    "Also search for joint lies of two groups and for false names (these do not "
                    "change the exit code)");
  command->add_option("--report", own->report, "Write an HTML page with pictures");
}

}  // namespace candor
