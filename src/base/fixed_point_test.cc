#include "base/fixed_point.h"

#include <gtest/gtest.h>

#include <limits>

namespace candor {
namespace {

TEST(FixedPoint, RoundsToNearestEven) {
  EXPECT_EQ(*to_fixed_point(1.0), kFixedPointOne);
  EXPECT_EQ(*to_fixed_point(0x1.0p-33), 0);       // half a unit: to even
  EXPECT_EQ(*to_fixed_point(0x1.8p-32), 2);       // one and a half: to even
  EXPECT_EQ(*to_fixed_point(-0.3), -1288490189);  // 0.3 * 2^32 = 1288490188.8
  EXPECT_FALSE(to_fixed_point(std::numeric_limits<double>::quiet_NaN()).ok());
  EXPECT_FALSE(to_fixed_point(std::numeric_limits<double>::infinity()).ok());
  EXPECT_FALSE(to_fixed_point(0x1.0p30).ok());
}

TEST(FixedPoint, TextRoundTrip) {
  const Int128 big = (Int128{1} << 126) - 1;
  EXPECT_FALSE(parse_int128(to_string(big)).ok()) << "38 digits";
  for (const Int128 value : {Int128{0}, Int128{-7}, Int128{1} << 100, -(Int128{1} << 62)}) {
    ASSERT_TRUE(parse_int128(to_string(value)).ok());
    EXPECT_TRUE(*parse_int128(to_string(value)) == value);
  }
  EXPECT_EQ(to_string(std::numeric_limits<Int128>::min()),
            "-170141183460469231731687303715884105728");
}

TEST(FixedPoint, RefusesWhatIsNotAWholeNumber) {
  for (const char* text : {"", "-", "-0", "007", "1.0", "1e3", " 1", "+1", "0x1", "1 "}) {
    EXPECT_FALSE(parse_int128(text).ok()) << text;
  }
}

}  // namespace
}  // namespace candor
