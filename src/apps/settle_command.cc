#include <cstdio>
#include <memory>

#include "apps/commands.h"
#include "base/strings.h"
#include "core/table.h"
#include "receipt/canonical_json.h"
#include "study/result_files.h"
#include "study/table_file.h"

namespace candor {

namespace {

struct SettleCommandOptions {
  std::string table;
  bool prices = false;
};

std::string in_welfare_units(Int128 units) { return format_short(from_fixed_point(units), 8); }

void print_settlement(const Table& table, const Settlement& settlement, bool prices) {
  std::vector<std::vector<std::string>> rows = {
      {"group", "size", "valuation", "payment", "utility"}};
  for (const Settlement::Group& group : settlement.groups) {
    rows.push_back({group.name, std::to_string(group.group_size), in_welfare_units(group.valuation),
                    in_welfare_units(group.payment), in_welfare_units(group.utility)});
  }
  print_table(rows);
  print_line(str_cat("\nwinner: ", printable(table.candidates[settlement.winner].name),
                     " (candidate ", settlement.winner, "), welfare ",
                     in_welfare_units(settlement.welfare)));
  if (prices) {
    rows = {{"price of"}};
    for (const Settlement::Group& group : settlement.groups) rows[0].push_back("to " + group.name);
    for (size_t k = 0; k < table.candidates.size(); ++k) {
      std::vector<std::string>& row = rows.emplace_back();
      row.push_back(table.candidates[k].name);
      for (const Settlement::Group& group : settlement.groups) {
        row.push_back(in_welfare_units(group.prices[k]));
      }
    }
    std::printf("\n");
    print_table(rows);
  }
  if (table.menu_depends_on_reports) {
    std::printf("The menu depends on the reports: truth is not strictly dominant here.\n");
  }
}

CommandResult run_settle(const SettleCommandOptions& settle_options, const CommonOptions& options) {
  CANDOR_TRY(const LoadedTable loaded, load_table(settle_options.table));
  const Settlement settlement =
      settle(loaded.table, {.prices = settle_options.prices, .threads = options.threads});
  if (options.json()) {
    CANDOR_TRY(const std::string text,
               canonical_json(settlement_json(loaded.table, loaded.digest, settlement,
                                              settle_options.prices)));
    std::printf("%s\n", text.c_str());
  } else {
    print_settlement(loaded.table, settlement, settle_options.prices);
  }
  return 0;
}

}  // namespace

void add_settle_command(CLI::App& app, CommonOptions& options) {
  auto own = std::make_shared<SettleCommandOptions>();
  CLI::App* command =
      add_command(app,
                  {"settle", "Winner and payments of a valuation table, in integers, bit-exact",
                   "candor settle catalog/sun2025/table2_w321.json --prices"},
                  options, [own, &options] { return run_settle(*own, options); });
  command->add_option("TABLE", own->table, "A table/1 file")->required();
  command->add_flag("--prices", own->prices, "What every candidate would cost every group");
}

}  // namespace candor
