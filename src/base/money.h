#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/fixed_point.h"
#include "base/result.h"

namespace candor {

// What one unit of reward x agents costs, as a whole number of millionths of the currency's unit:
// a price is a decimal, and no binary fraction ever stands between the text and an amount.
class UnitPrice {
 public:
  static constexpr int kDecimals = 6;
  static constexpr int64_t kLargest = 1'000'000'000'000;  // of the currency's unit
  static constexpr int64_t kMicros = 1'000'000;           // one of the currency's unit

  UnitPrice() = default;  // free

  // "100", "0.29": digits, then at most a point and six digits. No sign, exponent, blank or zero in
  // front of another digit; at most kLargest. Zero is a price.
  // Errors: kInvalidArgument with the text and what is allowed (no location: the caller adds it).
  static Result<UnitPrice> parse(std::string_view text);
  // A number of JSON or YAML as it is written, exactly: an exponent and zeros at the end are read
  // for what they mean ("1e2" is 100, "0.2900000" is 0.29), the rest as parse does.
  static Result<UnitPrice> parse_number(std::string_view text);

  [[nodiscard]] int64_t micros() const { return micros_; }
  [[nodiscard]] std::string text() const;  // the one spelling: "100", "0.29"

 private:
  explicit UnitPrice(int64_t micros) : micros_(micros) {}
  int64_t micros_ = 0;
};

// The digits after the point of a currency's amounts by ISO 4217 (the list of 1 January 2026):
// 0 for JPY, 3 for KWD, 4 for CLF, mostly 2. Capital letters or not. Nothing for other names and
// for the codes to which ISO gives none (XAU, XDR, XXX ...).
[[nodiscard]] std::optional<int> iso_4217_digits(std::string_view code);

struct Currency {
  static constexpr int kDefaultExponent = 2;
  static constexpr int kLargestExponent = UnitPrice::kDecimals;
  std::string code;                 // of ISO 4217, or a name of one's own ("credits")
  int exponent = kDefaultExponent;  // an amount is a whole number of 10^-exponent
};

// A currency of ISO 4217 has ISO's digits; another has `exponent`, or two where there is none.
// Errors: kInvalidArgument when `exponent` is not 0 to 6, or not ISO's (no location).
Result<Currency> make_currency(std::string code, std::optional<int64_t> exponent);

// A payment in money, in whole minor units:
//
//   floor( units x micros x 10^exponent / (2^32 x 10^6) )
//
// `units` is the payment in 2^-32. Exact but for that one rounding, down: nobody is charged more
// than the payment, so individual rationality (Thm 3.3) survives it, and a lie gains less than one
// minor unit. Down is towards minus infinity: a negative payment hands out at least what it says.
//
// Errors: kInvalidArgument when the amount does not fit 128 bits. At the largest price that takes
// more than 2^99 units; what a group pays is below 2^63 for each other group, at 2^31 agents each,
// and 2^63 for divergences.
Result<Int128> minor_units(Int128 units, UnitPrice price, int exponent);

// The settled integer of a payment that is known as a double (a quote's): the largest number of
// units of 2^-32 that is at most `payment`.
// Errors: kInvalidArgument when it is not finite or at least 2^94 in size.
Result<Int128> settled_units(double payment);

// Minor units as a decimal with exactly `exponent` digits after the point: "0.29", "-0.01", "28".
[[nodiscard]] std::string amount_text(Int128 minor, int exponent);

// How every table and page shows money: "0.29 EUR".
[[nodiscard]] std::string format_money(std::string_view amount, std::string_view currency);

}  // namespace candor
