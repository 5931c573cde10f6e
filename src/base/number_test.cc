#include "base/number.h"

#include <gtest/gtest.h>

#include <bit>

namespace candor {
namespace {

std::string number_error(std::string_view text, const NumberRange& range = {}) {
  const Result<double> number = parse_number(text, range);
  return number.ok() ? "" : number.error().message;
}

TEST(Number, IsAllOfTheText) {
  EXPECT_EQ(*parse_number("0.25"), 0.25);
  EXPECT_EQ(*parse_number("-1e-3"), -0.001);
  EXPECT_EQ(*parse_number("1e308"), 1e308);
  EXPECT_EQ(*parse_number("5e-324"), 5e-324);
  for (const char* bad : {"", " 1", "1 ", "1x", "x", "0x10", "1,5", "1_000", "+1", "--1", "1e",
                          "1.2.3", "one", "\x1b[31m1"}) {
    EXPECT_NE(number_error(bad), "") << bad;
  }
  EXPECT_EQ(number_error("1x"), "found \"1x\"; expected a finite number");
}

TEST(Number, IsFinite) {
  for (const char* bad : {"nan", "NaN", "-nan", "nan(1)", "inf", "-inf", "INF", "infinity"}) {
    EXPECT_EQ(number_error(bad), std::string("found \"") + bad + "\"; expected a finite number");
  }
  // What a double would round to infinity, or to a zero that nobody wrote.
  EXPECT_EQ(number_error("1e400"),
            "found \"1e400\"; expected a finite number that a double can hold");
  EXPECT_EQ(number_error("1e-400", {0, 1}),
            "found \"1e-400\"; expected a number from 0 to 1 that a double can hold");
  EXPECT_EQ(*parse_number("0e-400", {0, 1}), 0);
}

TEST(Number, IsInItsRange) {
  EXPECT_EQ(*parse_number("1", {0, 1}), 1);
  EXPECT_EQ(*parse_number("0", {0, 1}), 0);
  EXPECT_EQ(number_error("1.0000001", {0, 1}),
            "found \"1.0000001\"; expected a number from 0 to 1");
  EXPECT_EQ(number_error("0", kPositive), "found \"0\"; expected a finite number above 0");
  EXPECT_EQ(number_error("-0", kPositive), "found \"-0\"; expected a finite number above 0");
  EXPECT_EQ(number_error("-1", kNotNegative), "found \"-1\"; expected a number of at least 0");
  EXPECT_EQ(number_error("3", {.high = 2}), "found \"3\"; expected a number of at most 2");
  EXPECT_EQ(number_error("0", {0, 2, true}),
            "found \"0\"; expected a finite number above 0, at most 2");
  EXPECT_EQ(number_error("1", {0.5, 0.999999999999}),
            "found \"1\"; expected a number from 0.5 to 0.999999999999");
  EXPECT_EQ(std::bit_cast<uint64_t>(*parse_number("-0", {0, 1})), 0U);
}

std::string whole_error(std::string_view text, int64_t low, int64_t high) {
  const Result<int64_t> number = parse_whole(text, low, high);
  return number.ok() ? "" : number.error().message;
}

TEST(WholeNumber, IsAllOfTheTextAndInItsRange) {
  EXPECT_EQ(*parse_whole("7", 0, 7), 7);
  EXPECT_EQ(*parse_whole("-7", -7, 7), -7);
  EXPECT_EQ(*parse_whole("9223372036854775807", 0, kLargestSeed), kLargestSeed);
  for (const char* bad : {"", "1x", "1.0", "1e3", "0x1", "010x", " 1", "+1", "nan", "inf", "1e400",
                          "9223372036854775808", "99999999999999999999999999"}) {
    EXPECT_NE(whole_error(bad, 0, kLargestSeed), "") << bad;
  }
  EXPECT_EQ(whole_error("-1", 0, kLargestSeed),
            "found \"-1\"; expected a whole number from 0 to 9223372036854775807");
  EXPECT_EQ(whole_error("8", 1, 7), "found \"8\"; expected a whole number from 1 to 7");
}

}  // namespace
}  // namespace candor
