#include "base/money.h"

#include <gtest/gtest.h>

#include <limits>
#include <random>
#include <vector>

namespace candor {
namespace {

constexpr Int128 kOne = kFixedPointOne;

UnitPrice price_of(const std::string& text) {
  const auto price = UnitPrice::parse(text);
  EXPECT_TRUE(price.ok()) << text;
  return price.ok() ? *price : UnitPrice();
}

// What a payment costs, as it is printed.
std::string charged(Int128 units, const std::string& price, const std::string& currency) {
  const Currency known = *make_currency(currency, std::nullopt);
  const auto minor = minor_units(units, price_of(price), known.exponent);
  if (!minor.ok()) return minor.error().message;
  return format_money(amount_text(*minor, known.exponent), known.code);
}

TEST(Money, AmountsAreTheDecimalsTheyShouldBe) {
  EXPECT_EQ(charged(kOne, "0.29", "EUR"), "0.29 EUR");  // doubles make it 28.999999999999996 cents
  EXPECT_EQ(charged(kOne, "0.57", "EUR"), "0.57 EUR");
  EXPECT_EQ(charged(kOne, "1.15", "EUR"), "1.15 EUR");
  EXPECT_EQ(charged(3 * kOne, "0.1", "EUR"), "0.30 EUR");
  EXPECT_EQ(charged(100 * kOne, "0.07", "EUR"), "7.00 EUR");
  EXPECT_EQ(charged(kOne, "100", "EUR"), "100.00 EUR");
  EXPECT_EQ(charged(kOne, "0", "EUR"), "0.00 EUR");
  EXPECT_EQ(charged(0, "1000000000000", "EUR"), "0.00 EUR");
}

TEST(Money, RoundsOnceAndDown) {
  EXPECT_EQ(charged(kOne - 1, "0.29", "EUR"), "0.28 EUR");  // one unit of 2^-32 short
  EXPECT_EQ(charged(kOne - 1, "100", "EUR"), "99.99 EUR");
  EXPECT_EQ(charged(kOne, "0.009999", "EUR"), "0.00 EUR");
  EXPECT_EQ(charged(1, "1000000000000", "EUR"), "232.83 EUR");  // 10^12 / 2^32 = 232.8306..
  EXPECT_EQ(charged(199 * kOne, "0.005", "EUR"), "0.99 EUR");   // 0.995: the price is not rounded
  // A negative payment hands out: down is towards minus infinity.
  EXPECT_EQ(charged(-1, "1", "EUR"), "-0.01 EUR");
  EXPECT_EQ(charged(-kOne, "0.29", "EUR"), "-0.29 EUR");
  EXPECT_EQ(charged(-kOne - 1, "0.29", "EUR"), "-0.30 EUR");
  EXPECT_EQ(charged(-kOne, "0.000001", "JPY"), "-1 JPY");
}

TEST(Money, AQuoteIsSettledDown) {
  EXPECT_TRUE(*settled_units(1.0) == kOne);
  EXPECT_TRUE(*settled_units(0x1.8p-32) == 1);
  EXPECT_TRUE(*settled_units(0.3) == 1288490188);    // 0.3 x 2^32 = 1288490188.8
  EXPECT_TRUE(*settled_units(-0.3) == -1288490189);  // down, not towards zero
  EXPECT_TRUE(*settled_units(-0x1.0p-40) == -1);
  EXPECT_TRUE(*settled_units(0x1.0p90) == Int128{1} << 122);
  EXPECT_FALSE(settled_units(0x1.0p94).ok());
  EXPECT_FALSE(settled_units(std::numeric_limits<double>::quiet_NaN()).ok());
  EXPECT_FALSE(settled_units(-std::numeric_limits<double>::infinity()).ok());
}

TEST(Money, HasTheDigitsOfItsCurrency) {
  EXPECT_EQ(charged(100 * kOne, "0.29", "JPY"), "29 JPY");
  EXPECT_EQ(charged(kOne, "0.29", "JPY"), "0 JPY");
  EXPECT_EQ(charged(kOne, "1234.56", "KRW"), "1234 KRW");
  EXPECT_EQ(charged(kOne, "0.2999", "KWD"), "0.299 KWD");
  EXPECT_EQ(charged(kOne, "0.29999", "CLF"), "0.2999 CLF");
  EXPECT_EQ(charged(kOne, "0.2999", "credits"), "0.29 credits");
  EXPECT_EQ(charged(kOne, "12.345", "jpy"), "12 jpy");  // the name as it is written
  const Currency fine = *make_currency("credits", 6);
  EXPECT_EQ(amount_text(*minor_units(kOne, price_of("0.000001"), fine.exponent), 6), "0.000001");
  EXPECT_EQ(amount_text(*minor_units(kOne - 1, price_of("0.000001"), fine.exponent), 6),
            "0.000000");
}

// From exact rationals (Python's fractions): floor(units / 2^32 x price x 10^exponent).
TEST(Money, LargePaymentsAndPrices) {
  const Int128 all_agents = (Int128{1} << 63) - 1;  // just below 2^31 agents' largest payment
  const Int128 some = 123456789012345678;
  const Int128 most = Int128{1} << 99;
  const struct {
    Int128 units;
    const char* price;
    int exponent;
    const char* minor;
  } cases[] = {
      {all_agents, "999999.999999", 2, "214748364799785251"},
      {all_agents, "999999999999.999999", 4, "21474836479999999976196857"},
      {all_agents + 1, "1000000000000", 2, "214748364800000000000000"},
      {some, "123456.789012", 3, "3548706591407805"},
      {-some, "123456.789012", 3, "-3548706591407806"},
      {most, "1000000000000", 6, "147573952589676412928000000000000000000"},
      {-most, "1000000000000", 0, "-147573952589676412928000000000000"},
      {Int128{1} << 126, "0.000001", 6, "19807040628566084398385987584"},
      {std::numeric_limits<Int128>::min(), "0.000001", 2, "-3961408125713216879677198"},
  };
  for (const auto& c : cases) {
    const auto minor = minor_units(c.units, price_of(c.price), c.exponent);
    ASSERT_TRUE(minor.ok()) << minor.error().message;
    EXPECT_EQ(to_string(*minor), c.minor) << to_string(c.units) << " at " << c.price;
  }
  EXPECT_EQ(charged(2 * most, "1000000000000", "EUR"),
            "a payment of 1267650600228229401496703205376 units of 2^-32 at 1000000000000 each is "
            "more money than 128 bits hold");
  EXPECT_FALSE(minor_units(-2 * most, price_of("1000000000000"), 0).ok());
  EXPECT_FALSE(minor_units(std::numeric_limits<Int128>::max(), price_of("100000000"), 2).ok());
}

// The magnitude of a whole number in digits of 2^32, the lowest first.
using Magnitude = std::vector<uint32_t>;

Magnitude magnitude(Uint128 value) {
  Magnitude out;
  for (; value != 0; value >>= 32) out.push_back(static_cast<uint32_t>(value));
  return out;
}

Magnitude product(const Magnitude& a, const Magnitude& b) {
  Magnitude out(a.size() + b.size(), 0);
  for (size_t i = 0; i < a.size(); ++i) {
    uint64_t carry = 0;
    for (size_t j = 0; j < b.size(); ++j) {
      carry += static_cast<uint64_t>(a[i]) * b[j] + out[i + j];
      out[i + j] = static_cast<uint32_t>(carry);
      carry >>= 32;
    }
    out[i + b.size()] = static_cast<uint32_t>(carry);
  }
  while (!out.empty() && out.back() == 0) out.pop_back();
  return out;
}

bool less_or_equal(const Magnitude& a, const Magnitude& b) {
  if (a.size() != b.size()) return a.size() < b.size();
  return !std::lexicographical_compare(b.rbegin(), b.rend(), a.rbegin(), a.rend());
}

// Another route: the floor is the one whole number m with m d <= n < (m + 1) d, n = units x micros
// x 10^exponent and d = 2^32 x 10^6; multiplied out with as many digits as it takes.
TEST(Money, IsTheFloorByItsDefinition) {
  std::mt19937_64 random(20240516);  // NOLINT(cert-msc32-c,cert-msc51-cpp): the same cases always
  const Magnitude divisor = product(magnitude(Uint128{1} << 32), magnitude(1000000));
  for (int trial = 0; trial < 20000; ++trial) {
    const Uint128 bits = (Uint128{random()} << 64) | random();
    const auto units = static_cast<Int128>(bits >> (1 + random() % 96));
    const auto micros = static_cast<int64_t>(random() % 1000000000000000001) >> (random() % 60);
    const int exponent = static_cast<int>(random() % 7);
    const UnitPrice price = price_of(amount_text(micros, 6));
    ASSERT_EQ(price.micros(), micros);
    Magnitude numerator = product(magnitude(units), magnitude(micros));
    for (int i = 0; i < exponent; ++i) numerator = product(numerator, magnitude(10));
    const auto minor = minor_units(units, price, exponent);
    const auto below = minor_units(-units, price, exponent);
    if (!minor.ok()) {  // floor(units x micros / 2^32) is past 2^127
      Magnitude limit = product(magnitude(Uint128{1} << 127), magnitude(Uint128{1} << 32));
      EXPECT_TRUE(less_or_equal(limit, product(magnitude(units), magnitude(micros))));
      continue;
    }
    const Magnitude least = product(magnitude(*minor), divisor);
    const Magnitude more = product(magnitude(*minor + 1), divisor);
    EXPECT_TRUE(less_or_equal(least, numerator)) << to_string(units) << " at " << price.text();
    EXPECT_FALSE(less_or_equal(more, numerator)) << to_string(units) << " at " << price.text();
    // floor(-x) = -ceil(x).
    EXPECT_EQ(to_string(*below), to_string(-*minor - (least == numerator ? 0 : 1)));
  }
}

TEST(UnitPrice, IsADecimalOfSixDecimals) {
  const std::vector<std::pair<const char*, int64_t>> prices = {
      {"0", 0},
      {"0.0", 0},
      {"0.29", 290000},
      {"0.290000", 290000},
      {"0.000001", 1},
      {"100", 100000000},
      {"123456789012.345678", 123456789012345678},
      {"1000000000000", 1000000000000000000},
      {"1000000000000.000000", 1000000000000000000}};
  for (const auto& [text, micros] : prices) EXPECT_EQ(price_of(text).micros(), micros) << text;
  for (const char* text : {"",
                           "-1",
                           "-0",
                           "+1",
                           "1e2",
                           "1E2",
                           "nan",
                           "inf",
                           "NaN",
                           ".5",
                           "5.",
                           ".",
                           "00",
                           "01",
                           "00.5",
                           " 1",
                           "1 ",
                           "1,5",
                           "1_000",
                           "1.5.0",
                           "0.2900000",
                           "0.0000001",
                           "1000000000000.1",
                           "1000000000000.000001",
                           "1000000000001",
                           "99999999999999999999999",
                           "0x10",
                           "1.5e0",
                           "0.-1",
                           "1\n",
                           "EUR 1"}) {
    EXPECT_FALSE(UnitPrice::parse(text).ok()) << text;
  }
  const auto seven = UnitPrice::parse("0.1234567");
  ASSERT_FALSE(seven.ok());
  EXPECT_EQ(seven.error().message,
            "found \"0.1234567\"; expected a decimal from 0 to 1000000000000 with at most 6 "
            "decimals, such as \"100\" or \"0.29\"");
}

TEST(UnitPrice, ReadsNumbersAsTheyAreWritten) {
  const std::vector<std::pair<const char*, const char*>> numbers = {
      {"0.29", "0.29"},
      {"100", "100"},
      {"100.0", "100"},
      {"0.2900000", "0.29"},
      {"0", "0"},
      {"0.0", "0"},
      {"0e5", "0"},
      {"1e2", "100"},
      {"1.5E+3", "1500"},
      {"2.9e-1", "0.29"},
      {"29e-2", "0.29"},
      {"1e-6", "0.000001"},
      {"1e12", "1000000000000"},
      {"123456789012.345678", "123456789012.345678"},  // the nearest double ends in ..345673
      {"123.4560e2", "12345.6"}};
  for (const auto& [written, text] : numbers) {
    const auto price = UnitPrice::parse_number(written);
    ASSERT_TRUE(price.ok()) << written << ": " << price.error().message;
    EXPECT_EQ(price->text(), text) << written;
  }
  for (const char* text : {"-1", "-0.5", "1e-7", "0.2900001", "0.29000000000000004", "1.1e12",
                           "1e400", "1e-400", "1e99999999999999999999", "true", "", "1e", "e1"}) {
    EXPECT_FALSE(UnitPrice::parse_number(text).ok()) << text;
  }
  EXPECT_NE(UnitPrice::parse_number("2.9e-7").error().message.find("found \"2.9e-7\""),
            std::string::npos);
}

TEST(Currency, DigitsOfIso4217) {
  for (const char* code : {"BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF",
                           "UGX", "UYI", "VND", "VUV", "XAF", "XOF", "XPF"}) {
    EXPECT_EQ(iso_4217_digits(code), 0) << code;
  }
  for (const char* code : {"BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"}) {
    EXPECT_EQ(iso_4217_digits(code), 3) << code;
  }
  for (const char* code : {"CLF", "UYW"}) EXPECT_EQ(iso_4217_digits(code), 4) << code;
  for (const char* code : {"AED", "CDF", "CHF", "CNY", "EUR", "GBP", "HUF", "INR", "LSL", "USD",
                           "XCG", "ZWG", "eur"}) {
    EXPECT_EQ(iso_4217_digits(code), 2) << code;
  }
  for (const char* code :
       {"", "EU", "EURO", "XAU", "XDR", "XXX", "DEM", "D A", "ED ", "ABC", "credits"}) {
    EXPECT_EQ(iso_4217_digits(code), std::nullopt) << code;
  }
}

TEST(Currency, AStudyMayNotContradictIso) {
  EXPECT_EQ(make_currency("JPY", std::nullopt)->exponent, 0);
  EXPECT_EQ(make_currency("JPY", 0)->exponent, 0);
  EXPECT_EQ(make_currency("credits", std::nullopt)->exponent, 2);
  EXPECT_EQ(make_currency("credits", 0)->exponent, 0);
  EXPECT_EQ(make_currency("XAU", 5)->exponent, 5);
  const auto yen = make_currency("JPY", 2);
  ASSERT_FALSE(yen.ok());
  EXPECT_EQ(yen.error().message,
            "found 2; amounts in \"JPY\" have 0 digits by ISO 4217 (leave exponent out)");
  const auto seven = make_currency("credits", 7);
  ASSERT_FALSE(seven.ok());
  EXPECT_EQ(seven.error().message, "found 7; expected a whole number from 0 to 6");
  EXPECT_FALSE(make_currency("credits", -1).ok());
}

}  // namespace
}  // namespace candor
