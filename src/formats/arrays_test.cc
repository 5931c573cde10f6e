#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>

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
  fs::path write(const std::string& bytes, const std::string& name = "x") {
    fs::path path = folder_ / name;
    // Thousands of files: no sync, and a new file each time (truncating an old one syncs on ext4).
    fs::remove(path);
    std::ofstream(path, std::ios::binary) << bytes;
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

std::string safetensors_of(const std::string& header, const std::string& data) {
  std::string bytes(8, '\0');
  const uint64_t size = header.size();
  std::memcpy(bytes.data(), &size, sizeof size);
  return bytes + header + data;
}

template <typename T>
std::string bytes_of(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

TEST_F(ArraysTest, SafetensorsRowsAndTypes) {
  const std::string header =
      R"({"__metadata__":{"format":"pt"},"m":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},)"
      R"("h":{"dtype":"BF16","shape":[2],"data_offsets":[16,20]},)"
      R"("s":{"dtype":"I64","shape":[],"data_offsets":[20,28]}})";
  const auto file = SafeTensors::open(write(
      safetensors_of(header, bytes_of<float>({1, 2, 3, -4}) + bytes_of<uint16_t>({0x3f80, 0xc000}) +
                                 bytes_of<int64_t>({7}))));
  ASSERT_TRUE(file.ok()) << file.error().message;
  EXPECT_EQ(file->tensors().size(), 3U);
  EXPECT_EQ(*file->doubles_of_row("m", 0), (std::vector<double>{1, 2}));
  EXPECT_EQ(*file->doubles_of_row("m", 1), (std::vector<double>{3, -4}));
  EXPECT_FALSE(file->doubles_of_row("m", 2).ok());
  EXPECT_FALSE(file->doubles_of_row("m", -1).ok());
  EXPECT_EQ(*file->doubles_of_row("h", 0), (std::vector<double>{1, -2}));
  EXPECT_FALSE(file->doubles_of_row("h", 1).ok());
  EXPECT_FALSE(file->doubles_of_row("s", 0).ok()) << "a scalar has no rows";
  EXPECT_FALSE(file->doubles("s").ok()) << "whole numbers are not rewards";
}

TEST_F(ArraysTest, SafetensorsRefuseLies) {
  const auto entry = [](const std::string& dtype, const std::string& shape,
                        const std::string& offsets) {
    return R"({"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets +
           "}";
  };
  const std::string good = entry("F32", "[2]", "[0,8]");
  const std::vector<std::pair<std::string, std::string>> cases = {
      {R"({"a":)" + good + R"(,"b":)" + entry("F32", "[1]", "[4,8]") + "}", "share bytes"},
      {R"({"a":)" + good + R"(,"a":)" + good + "}", "duplicate key"},
      {R"({"a":)" + entry("F32", "[3]", "[0,8]") + "}", "disagree"},
      {R"({"a":)" + entry("F32", "[4611686018427387904]", "[0,8]") + "}", "shape"},
      {R"({"a":)" + entry("F32", "[65536,65536,65536,65536]", "[0,8]") + "}", "disagree"},
      {R"({"a":)" + entry("F32", "[-2]", "[0,8]") + "}", "shape"},
      {R"({"a":)" + entry("F32", "[2.0]", "[0,8]") + "}", "shape"},
      {R"({"a":)" + entry("F32", "[4]", "[0,16]") + "}", "inside the file"},
      {R"({"a":)" + entry("F32", "[2]", "[8,0]") + "}", "ascending"},
      {R"({"a":)" + entry("F32", "[2]", "[0]") + "}", "data_offsets"},
      {R"({"a":)" + entry("F8_E4M3", "[8]", "[0,8]") + "}", "\"F8_E4M3\" is not supported"},
      {R"({"a":3})", "expected an object"},
      {"[]", "not an object"},
  };
  for (const auto& [header, expected] : cases) {
    const auto file = SafeTensors::open(write(safetensors_of(header, std::string(8, 'x'))));
    ASSERT_FALSE(file.ok()) << header;
    EXPECT_NE(file.error().message.find(expected), std::string::npos) << file.error().message;
  }
  std::string lying = safetensors_of("{}", "");
  lying[7] = '\x7f';  // a header of 2^62 bytes
  EXPECT_FALSE(SafeTensors::open(write(lying)).ok());
}

TEST_F(ArraysTest, SafetensorsShards) {
  write(safetensors_bytes({{"a", {1}}}), "one.safetensors");
  write(safetensors_bytes({{"b", {2}}}), "two.safetensors");
  const auto index = [&](const std::string& map) {
    write(R"({"metadata":{},"weight_map":)" + map + "}", "model.safetensors.index.json");
    return SafeTensors::open_folder(folder_);
  };
  const auto both = index(R"({"a":"one.safetensors","b":"two.safetensors"})");
  ASSERT_TRUE(both.ok()) << both.error().message;
  EXPECT_EQ(*both->doubles("b"), (std::vector<double>{2}));
  EXPECT_FALSE(index(R"({"a":"one.safetensors","b":"three.safetensors"})").ok());
  EXPECT_FALSE(index(R"({"a":"../one.safetensors"})").ok()) << "a shard lies in the folder";
  EXPECT_FALSE(index("3").ok());
  write(safetensors_bytes({{"a", {3}}}), "two.safetensors");
  EXPECT_FALSE(index(R"({"a":"one.safetensors","b":"two.safetensors"})").ok()) << "a is in both";
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
