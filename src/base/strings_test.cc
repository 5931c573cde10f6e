#include "base/strings.h"

#include <gtest/gtest.h>

namespace candor {
namespace {

TEST(Strings, DoublesAreShortestRoundTrip) {
  EXPECT_EQ(format_double(0.1), "0.1");
  EXPECT_EQ(format_double(1e-300), "1e-300");
  EXPECT_EQ(str_cat("x=", 1.0 / 3, "!"), "x=0.3333333333333333!");
}

TEST(Strings, Suggestions) {
  const std::vector<std::string> keys = {"lambda", "groups", "size"};
  EXPECT_EQ(did_you_mean("lamda", keys), "; did you mean \"lambda\"?");
  EXPECT_EQ(did_you_mean("group", keys), "; did you mean \"groups\"?");
  EXPECT_EQ(did_you_mean("zzzzzz", keys), "");
}

TEST(Strings, QuotingShowsControlBytesAndCuts) {
  EXPECT_EQ(quote("a\nb"), "\"a\\x0ab\"");
  EXPECT_EQ(quote("abcdef", 3), "\"abc...\"");
  EXPECT_EQ(quote("ab\xc3\xa9", 3), "\"ab...\"") << "no half of a character";
}

// Nothing that a terminal would obey, or that turns a line round, passes; letters of any script do.
TEST(Strings, PrintableTextIsHarmless) {
  EXPECT_EQ(printable("Zo\xc3\xab \xe2\x82\xac \xf0\x9f\x99\x82 a-z"),
            "Zo\xc3\xab \xe2\x82\xac \xf0\x9f\x99\x82 a-z");
  EXPECT_EQ(printable("\x1b[31mred\x07"), "\\x1b[31mred\\x07");
  EXPECT_EQ(printable(std::string_view("a\0b\x7f", 4)), "a\\x00b\\x7f");
  EXPECT_EQ(printable("\xc2\x9b"
                      "31m"),
            "\\u009b31m")
      << "a C1 control: CSI in one character";
  EXPECT_EQ(printable("\x9b"
                      "31m"),
            "\\x9b31m")
      << "the same as a byte, which is not UTF-8";
  EXPECT_EQ(printable("a\xe2\x80\xae"
                      "b"),
            "a\\u202eb")
      << "right to left";
  EXPECT_EQ(printable("\xed\xa0\x80 \xc0\xaf \xf4\x90\x80\x80 \xe2\x82"),
            "\\xed\\xa0\\x80 \\xc0\\xaf \\xf4\\x90\\x80\\x80 \\xe2\\x82");
  EXPECT_EQ(printable("a\tb\nc"), "a\\x09b\\x0ac");
  EXPECT_EQ(printable("a\tb\nc\r", Lines::kKeep), "a\tb\nc\\x0d");
}

TEST(Strings, SmallParts) {
  EXPECT_EQ(split("a,,b", ',').size(), 3U);
  EXPECT_EQ(trim("  x \n"), "x");
  EXPECT_EQ(format_bytes(1536), "1.5 KiB");
}

}  // namespace
}  // namespace candor
