#include "base/money.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "base/check.h"
#include "base/strings.h"

namespace candor {

namespace {

constexpr std::string_view kDigits = "0123456789";
// Beyond this many a number is neither a price nor worth shifting digits for.
constexpr int64_t kLargestShift = 64;

constexpr int64_t power_of_ten(int exponent) {
  int64_t out = 1;
  for (int i = 0; i < exponent; ++i) out *= 10;
  return out;
}

Error refused(std::string_view text) {
  return invalid_argument(str_cat("found ", quote(text), "; expected a decimal from 0 to ",
                                  UnitPrice::kLargest, " with at most ", UnitPrice::kDecimals,
                                  " decimals, such as \"100\" or \"0.29\""));
}

// A number of JSON's grammar without its exponent: "2.9e-1" -> "0.29", and no zeros at the end of
// its decimals. Empty where it is none, is negative or has an exponent beyond all prices.
std::string without_exponent(std::string_view text) {
  const size_t mark = std::min(text.find_first_of("eE"), text.size());
  std::string_view mantissa = text.substr(0, mark);
  int64_t shift = 0;
  if (mark < text.size()) {
    std::string_view power = text.substr(mark + 1);
    if (power.starts_with('+')) power.remove_prefix(1);
    const auto [end, code] = std::from_chars(power.data(), power.data() + power.size(), shift);
    if (code != std::errc() || end != power.data() + power.size()) return "";
  }
  const size_t point = std::min(mantissa.find('.'), mantissa.size());
  std::string digits(mantissa.substr(0, point));
  if (point < mantissa.size()) digits += mantissa.substr(point + 1);
  if (point == 0 || digits.find_first_not_of(kDigits) != std::string::npos) return "";
  if (std::max(shift, -shift) > kLargestShift) return "";
  // Where the point now stands among the digits, which get zeros on the side that lacks them.
  const int64_t place = static_cast<int64_t>(point) + shift;
  if (place < 1) digits.insert(0, static_cast<size_t>(1 - place), '0');
  const auto whole = static_cast<size_t>(std::max<int64_t>(place, 1));
  if (digits.size() < whole) digits.append(whole - digits.size(), '0');
  std::string out = digits.substr(0, whole);
  out.erase(0, std::min(out.find_first_not_of('0'), out.size() - 1));
  const std::string decimals = digits.substr(whole);
  const size_t last = decimals.find_last_not_of('0');
  if (last != std::string::npos) out += "." + decimals.substr(0, last + 1);
  return out;
}

// The codes of ISO 4217 by their digits: list one as of 1 January 2026.
struct IsoDigits {
  int digits;
  std::string_view codes;
};
constexpr std::array<IsoDigits, 4> kIso4217 = {{
    {0, "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"},
    {2,
     "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD "
     "CDF CHE CHF CHW CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS "
     "GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD "
     "LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB "
     "PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP "
     "SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XAD XCD XCG YER ZAR ZMW "
     "ZWG"},
    {3, "BHD IQD JOD KWD LYD OMR TND"},
    {4, "CLF UYW"},
}};

std::string upper(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  }
  return out;
}

}  // namespace

Result<UnitPrice> UnitPrice::parse(std::string_view text) {
  const size_t point = text.find('.');
  const std::string_view whole = text.substr(0, point);
  std::string decimals;
  if (point != std::string_view::npos) {
    decimals = text.substr(point + 1);
    if (decimals.empty()) return refused(text);
  }
  if (whole.empty() || (whole.size() > 1 && whole[0] == '0')) return refused(text);
  if (decimals.size() > kDecimals) return refused(text);
  decimals.append(kDecimals - decimals.size(), '0');
  const std::string digits = std::string(whole) + decimals;
  if (digits.find_first_not_of(kDigits) != std::string::npos) return refused(text);
  int64_t micros = 0;
  const auto [end, code] = std::from_chars(digits.data(), digits.data() + digits.size(), micros);
  if (code != std::errc() || micros > kLargest * kMicros) return refused(text);
  return UnitPrice(micros);
}

Result<UnitPrice> UnitPrice::parse_number(std::string_view text) {
  const std::string plain = without_exponent(text);
  const Result<UnitPrice> price = parse(plain);
  if (!price.ok()) return refused(text);
  return *price;
}

std::string UnitPrice::text() const {
  std::string out = amount_text(micros_, kDecimals);
  out.erase(out.find_last_not_of('0') + 1);
  if (out.ends_with('.')) out.pop_back();
  return out;
}

std::optional<int> iso_4217_digits(std::string_view code) {
  if (code.size() != 3) return std::nullopt;
  const std::string wanted = upper(code);
  for (const IsoDigits& entry : kIso4217) {
    for (size_t at = 0; at < entry.codes.size(); at += 4) {
      if (entry.codes.substr(at, 3) == wanted) return entry.digits;
    }
  }
  return std::nullopt;
}

Result<Currency> make_currency(std::string code, std::optional<int64_t> exponent) {
  const std::optional<int> iso = iso_4217_digits(code);
  if (!exponent.has_value()) {
    return Currency{std::move(code), iso.value_or(Currency::kDefaultExponent)};
  }
  if (*exponent < 0 || *exponent > Currency::kLargestExponent) {
    return invalid_argument(str_cat("found ", *exponent, "; expected a whole number from 0 to ",
                                    Currency::kLargestExponent));
  }
  if (iso.has_value() && *iso != *exponent) {
    return invalid_argument(str_cat("found ", *exponent, "; amounts in ", quote(code), " have ",
                                    *iso, " digits by ISO 4217 (leave exponent out)"));
  }
  return Currency{std::move(code), static_cast<int>(*exponent)};
}

Result<Int128> minor_units(Int128 units, UnitPrice price, int exponent) {
  CANDOR_CHECK(exponent >= 0 && exponent <= Currency::kLargestExponent);
  // units = high 2^32 + low with 0 <= low < 2^32; both shifts round down, negative numbers too.
  const Int128 high = units >> 32;
  const Int128 low = units - high * kFixedPointOne;
  Int128 micros = 0;  // floor(units x price / 2^32)
  if (__builtin_mul_overflow(high, Int128{price.micros()}, &micros) ||
      __builtin_add_overflow(micros, (low * price.micros()) >> 32, &micros)) {
    return invalid_argument(str_cat("a payment of ", to_string(units), " units of 2^-32 at ",
                                    price.text(), " each is more money than 128 bits hold"));
  }
  // floor(floor(x) / d) = floor(x / d) for a whole d > 0, so this is still the one rounding.
  const int64_t divisor = power_of_ten(UnitPrice::kDecimals - exponent);
  const Int128 minor = micros / divisor;
  return micros % divisor < 0 ? minor - 1 : minor;
}

Result<Int128> settled_units(double payment) {
  static constexpr double kLimit = 0x1.0p94;
  if (!std::isfinite(payment) || std::abs(payment) >= kLimit) {
    return invalid_argument(
        str_cat("a payment of ", payment, " is no amount; it must be smaller than 2^94 in size"));
  }
  return static_cast<Int128>(std::floor(payment * 0x1.0p32));  // the product is exact
}

std::string amount_text(Int128 minor, int exponent) {
  std::string digits = to_string(minor);
  const std::string sign = minor < 0 ? "-" : "";
  digits.erase(0, sign.size());
  if (exponent == 0) return sign + digits;
  const auto decimals = static_cast<size_t>(exponent);
  if (digits.size() <= decimals) digits.insert(0, decimals + 1 - digits.size(), '0');
  return sign + digits.insert(digits.size() - decimals, ".");
}

std::string format_money(std::string_view amount, std::string_view currency) {
  return str_cat(amount, " ", currency);
}

}  // namespace candor
