#include <gtest/gtest.h>

#include <filesystem>

#include "base/rng.h"
#include "formats/half.h"
#include "formats/npy.h"
#include "formats/safetensors.h"

namespace candor {
namespace {

namespace fs = std::filesystem;

class ArraysTest : public testing::Test {
 protected:
  ArraysTest() {
    std::string pattern = (fs::temp_directory_path() / "candor-arrays-XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
  }
  ~ArraysTest() override { fs::remove_all(folder_); }
  fs::path write(const std::string& bytes) {
    const fs::path path = folder_ / "x";
    EXPECT_TRUE(write_new_file(path, bytes).ok());
    return path;
  }
  fs::path folder_;
};

std::string npy_of(const std::string& header, const std::string& data) {
  std::string bytes("\x93NUMPY\x01\0", 8);
  bytes += static_cast<char>(header.size());
  bytes += '\0';
  return bytes + header + data;
}

TEST_F(ArraysTest, NpyRoundTrip) {
  const std::vector<double> values = {1.5, -2, 1e300};
  const auto file = NpyFile::open(write(npy_bytes(values)));
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(*file->doubles(), values);
  EXPECT_FALSE(file->doubles(1).ok());
  EXPECT_FALSE(file->integers().ok());
}

TEST_F(ArraysTest, NpyRowsOfIntegers) {
  const std::vector<int64_t> data = {1, 2, 3, 4, 5, -6};
  const std::string bytes(reinterpret_cast<const char*>(data.data()), 48);
  const auto file = NpyFile::open(
      write(npy_of("{'descr': '<i8', 'fortran_order': False, 'shape': (2, 3), }\n", bytes)));
  ASSERT_TRUE(file.ok()) << file.error().message;
  EXPECT_EQ(*file->integers(1), (std::vector<int64_t>{4, 5, -6}));
  EXPECT_FALSE(
      NpyFile::open(
          write(npy_of("{'descr': '>i8', 'fortran_order': False, 'shape': (2, 3), }\n", bytes)))
          .ok());
  EXPECT_FALSE(
      NpyFile::open(
          write(npy_of("{'descr': '<i8', 'fortran_order': True, 'shape': (2, 3), }\n", bytes)))
          .ok());
  EXPECT_FALSE(
      NpyFile::open(
          write(npy_of("{'descr': '<i8', 'fortran_order': False, 'shape': (2, 2), }\n", bytes)))
          .ok());
  EXPECT_FALSE(
      NpyFile::open(
          write(npy_of(
              "{'descr': '<i8', 'fortran_order': False, 'shape': (4294967296, 4294967296), }\n",
              bytes)))
          .ok());
}

TEST_F(ArraysTest, SafetensorsRoundTrip) {
  const std::string bytes = safetensors_bytes({{"weight", {1, 2, 3}}, {"bias", {0.1}}});
  const auto file = SafeTensors::open(write(bytes));
  ASSERT_TRUE(file.ok()) << file.error().message;
  EXPECT_EQ(*file->doubles("weight"), (std::vector<double>{1, 2, 3}));
  EXPECT_EQ(*file->doubles("bias"), (std::vector<double>{0.1}));
  EXPECT_NE(file->doubles("wieght").error().message.find("did you mean \"weight\""),
            std::string::npos);
  EXPECT_FALSE(file->floats("bias").ok());
}

// Cut anywhere, or with bytes flipped, a file is refused or read; nothing is read outside it.
TEST_F(ArraysTest, SurviveDamage) {
  const std::string tensors = safetensors_bytes({{"weight", {1, 2, 3}}, {"bias", {0.1}}});
  const std::string array = npy_bytes(std::vector<double>{1, 2, 3});
  for (const std::string& good : {tensors, array}) {
    for (size_t size = 0; size < good.size(); ++size) {
      const fs::path path = write(good.substr(0, size));
      EXPECT_FALSE(SafeTensors::open(path).ok());
      EXPECT_FALSE(NpyFile::open(path).ok());
    }
    for (uint32_t trial = 0; trial < 2000; ++trial) {
      RandomStream random({.seed = 1, .prompt = trial});
      std::string bad = good;
      for (int flips = 0; flips < 3; ++flips)
        bad[random.below(bad.size())] ^= static_cast<char>(1 + random.below(255));
      const fs::path path = write(bad);
      if (const auto file = SafeTensors::open(path); file.ok()) {
        for (const auto& item : file->tensors()) (void)file->doubles(item.first).ok();
      }
      if (const auto file = NpyFile::open(path); file.ok()) (void)file->doubles().ok();
    }
  }
}

TEST(Half, ExactValues) {
  EXPECT_EQ(float_from_f16(0x3c00), 1.0F);
  EXPECT_EQ(float_from_f16(0xc000), -2.0F);
  EXPECT_EQ(float_from_f16(0x0001), 0x1.0p-24F);
  EXPECT_EQ(float_from_f16(0x7bff), 65504.0F);
  EXPECT_EQ(float_from_bf16(0x3f80), 1.0F);
  EXPECT_EQ(bf16_from_float(1.00390625F), 0x3f80);  // a tie: to even
  EXPECT_EQ(bf16_from_float(1.01171875F), 0x3f82);
}

}  // namespace
}  // namespace candor
