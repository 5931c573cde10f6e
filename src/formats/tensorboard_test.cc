#include "formats/tensorboard.h"

#include <gtest/gtest.h>

namespace candor {
namespace {

std::string hex(std::string_view bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  for (const char c : bytes) {
    out += kDigits[static_cast<unsigned char>(c) >> 4];
    out += kDigits[static_cast<unsigned char>(c) & 15];
  }
  return out;
}

// RFC 3720 B.4: 32 zeros, 32 ones, 0..31; and the check value of the polynomial.
TEST(Tensorboard, Crc32cOfTheStandard) {
  EXPECT_EQ(crc32c("123456789"), 0xe3069283U);
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8a9136aaU);
  EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62a8ab43U);
  std::string rising;
  for (char c = 0; c < 32; ++c) rising += c;
  EXPECT_EQ(crc32c(rising), 0x46dd794eU);
  EXPECT_EQ(crc32c(""), 0U);
}

// Field by field from the format: an event of one scalar at wall time 1.5, step 300.
TEST(Tensorboard, BytesByHand) {
  const std::string event = tensorboard_event({1.5, 300, {{"lr", 0.5}}});
  const std::string message =
      "09"
      "000000000000f83f"  // 1: double 1.5
      "10ac02"            // 2: varint 300
      "2a0b"              // 5: summary of 11 bytes
      "0a09"              //   1: value of 9 bytes
      "0a026c72"          //     1: "lr"
      "150000003f";       //     2: float 0.5
  const std::string bytes = hex(event);
  ASSERT_EQ(bytes.size(), message.size() + 32);
  EXPECT_EQ(bytes.substr(0, 16), "1900000000000000");  // 25 bytes
  EXPECT_EQ(bytes.substr(24, message.size()), message);
}

TEST(Tensorboard, ReadsBackWhatItWrote) {
  std::string file = tensorboard_header(10);
  file += tensorboard_event({11.25, 0, {{"a", 1}, {"b/c", -2.5}}});
  file += tensorboard_event({12, (int64_t{1} << 40) + 3, {{"a", 0.1F}}});
  const auto events = parse_tensorboard(file);
  ASSERT_TRUE(events.ok()) << events.error().message;
  ASSERT_EQ(events->size(), 2U);
  EXPECT_EQ((*events)[0].wall_time_s, 11.25);
  EXPECT_EQ((*events)[0].scalars[1].tag, "b/c");
  EXPECT_EQ((*events)[0].scalars[1].value, -2.5);
  EXPECT_EQ((*events)[1].step, (int64_t{1} << 40) + 3);
  EXPECT_EQ((*events)[1].scalars[0].value, double{0.1F});
}

TEST(Tensorboard, EveryDamagedByteIsFound) {
  const std::string file = tensorboard_header(10) + tensorboard_event({11, 1, {{"a", 1}}});
  for (size_t i = 0; i < file.size(); ++i) {
    std::string damaged = file;
    damaged[i] = static_cast<char>(damaged[i] ^ 0x20);
    EXPECT_FALSE(parse_tensorboard(damaged).ok()) << i;
    const auto cut = parse_tensorboard(std::string_view(file).substr(0, i));
    EXPECT_EQ(cut.ok(), i == 0 || i == tensorboard_header(10).size()) << i;
  }
}

}  // namespace
}  // namespace candor
