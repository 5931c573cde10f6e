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
}

TEST(Strings, SmallParts) {
  EXPECT_EQ(split("a,,b", ',').size(), 3U);
  EXPECT_EQ(trim("  x \n"), "x");
  EXPECT_EQ(format_bytes(1536), "1.5 KiB");
}

}  // namespace
}  // namespace candor
