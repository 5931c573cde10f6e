#include "study/receipt_file.h"

#include <optional>
#include <string>
#include <vector>

#include "base/money.h"
#include "base/strings.h"

namespace candor {

Result<Json> receipt_json(const Study& study, const MenuSettlement& settled, size_t group) {
  const Settlement::Group& paid = settled.settlement.groups[group];
  const Table::Group& own = settled.table.groups[group];
  const std::vector<Int128> others = welfare_without(settled.table, group);
  Json candidates = Json::array();
  for (size_t k = 0; k < others.size(); ++k) {
    const Int128 worth = Int128{own.group_size} * own.valuations[k];
    candidates.push_back({{"name", settled.table.candidates[k].name},
                          {"valuation", std::to_string(own.valuations[k])},
                          {"total", to_string(others[k] + worth)},
                          {"price", to_string(paid.prices[k])}});
  }
  const std::optional<Int128> without =
      payment_without_own(settled.table, settled.settlement.winner, group);
  const Result<Int128> minor = minor_units(paid.payment, study.unit_price, study.currency.exponent);
  if (!minor.ok()) {
    return invalid_argument(str_cat("group ", quote(own.name), ": ", minor.error().message));
  }
  return Json{
      {"candor", "receipt/1"},
      {"table", settled.digest},
      {"group", own.name},
      {"size", own.group_size},
      {"winner", settled.settlement.winner},
      {"winner_name", settled.table.candidates[settled.settlement.winner].name},
      {"candidates", std::move(candidates)},
      {"valuation", to_string(paid.valuation)},
      {"payment", to_string(paid.payment)},
      {"payment_without_own", without.has_value() ? Json(to_string(*without)) : Json(nullptr)},
      {"utility", to_string(paid.utility)},
      {"unit_price", study.unit_price.text()},
      {"currency", study.currency.code},
      {"exponent", study.currency.exponent},
      {"amount", amount_text(*minor, study.currency.exponent)},
      {"menu_depends_on_reports", settled.table.menu_depends_on_reports}};
}

}  // namespace candor
