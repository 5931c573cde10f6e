#pragma once

#include <string>

#include "base/json.h"
#include "base/money.h"
#include "study/yaml_file.h"

namespace candor {

// "unit_price" of a study: a decimal string, or a number, which is taken as it is written.
// Errors go to `study`, at the field.
UnitPrice read_unit_price(JsonReader& study, const YamlDocument& document);

// "currency" and "exponent?" of a study. Errors go to `study`, at the field.
Currency read_currency(JsonReader& study);

// A unit price out of a file that we wrote: text, or a number in runs before money was decimal.
[[nodiscard]] std::string unit_price_text(const Json& value);

// An amount out of a file that we wrote: text, or in quote/1 a number with two decimals.
[[nodiscard]] std::string written_amount(const Json& value);

// A resolved study in today's spelling of money: the price as text, the exponent given.
[[nodiscard]] Json with_decimal_money(Json resolved);

}  // namespace candor
