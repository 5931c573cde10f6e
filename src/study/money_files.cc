#include "study/money_files.h"

#include <cmath>

#include "base/strings.h"

namespace candor {

UnitPrice read_unit_price(JsonReader& study, const YamlDocument& document) {
  const Json& value = study.any("unit_price");
  if (!study.ok()) return {};
  if (!value.is_string() && !value.is_number()) {
    study.fail("unit_price", str_cat("found ", value.dump(),
                                     "; expected a decimal with at most 6 decimals, such as "
                                     "\"0.29\""));
    return {};
  }
  Result<UnitPrice> price =
      value.is_string()
          ? UnitPrice::parse(value.get_ref<const std::string&>())
          : UnitPrice::parse_number(document.number_text(study.path() + ".unit_price", value));
  if (price.ok()) return *price;
  study.fail("unit_price", price.error().message);
  return {};
}

Currency read_currency(JsonReader& study) {
  std::string code = study.text("currency");
  std::optional<int64_t> exponent;
  if (study.has("exponent")) {
    exponent = study.integer("exponent", 0, Currency::kLargestExponent);
  }
  Result<Currency> currency = make_currency(std::move(code), exponent);
  if (currency.ok()) return *std::move(currency);
  study.fail("exponent", currency.error().message);
  return {};
}

std::string unit_price_text(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  const Result<UnitPrice> price = UnitPrice::parse_number(value.dump());
  return price.ok() ? price->text() : value.dump();
}

std::string written_amount(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  const double hundredths = std::nearbyint(value.get<double>() * 100);
  return amount_text(static_cast<Int128>(hundredths), 2);
}

Json with_decimal_money(Json resolved) {
  if (!resolved.is_object() || !resolved.contains("unit_price")) return resolved;
  resolved["unit_price"] = unit_price_text(resolved["unit_price"]);
  if (!resolved.contains("exponent")) {
    resolved["exponent"] = make_currency(resolved.value("currency", ""), std::nullopt)->exponent;
  }
  return resolved;
}

}  // namespace candor
