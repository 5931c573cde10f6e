#include "base/file.h"

#include <gtest/gtest.h>

#include <filesystem>

namespace candor {
namespace {

namespace fs = std::filesystem;

class FileTest : public testing::Test {
 protected:
  FileTest() {
    std::string pattern = (fs::temp_directory_path() / "candor-file-XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
  }
  ~FileTest() override { fs::remove_all(folder_); }
  fs::path folder_;
};

TEST_F(FileTest, WritesAndReadsBack) {
  const std::string bytes("a\0b\n", 4);
  ASSERT_TRUE(write_file_atomically(folder_ / "x", bytes).ok());
  ASSERT_TRUE(write_file_atomically(folder_ / "x", bytes + bytes).ok());
  EXPECT_EQ(*read_file(folder_ / "x"), bytes + bytes);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()), 1);
}

TEST_F(FileTest, SaysWhatIsWrong) {
  EXPECT_EQ(read_file(folder_ / "absent").error().code, ErrorCode::kInvalidArgument);
  EXPECT_NE(read_file(folder_).error().message.find("is a folder"), std::string::npos);
  ASSERT_TRUE(write_file_atomically(folder_ / "x", "12345").ok());
  EXPECT_FALSE(read_file(folder_ / "x", 4).ok());
  EXPECT_EQ(write_file_atomically(folder_ / "no" / "x", "1").error().code, ErrorCode::kResource);
}

TEST_F(FileTest, FullDiskIsAResourceError) {
  if (!fs::exists("/dev/full")) GTEST_SKIP() << "skipped: /dev/full is missing";
  const Status status = write_new_file("/dev/full", "12345");
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, ErrorCode::kResource);
}

TEST_F(FileTest, CommitsAFolder) {
  fs::create_directories(folder_ / "from" / "sub");
  ASSERT_TRUE(write_new_file(folder_ / "from" / "sub" / "x", "1").ok());
  ASSERT_TRUE(commit_directory(folder_ / "from", folder_ / "to").ok());
  EXPECT_EQ(*read_file(folder_ / "to" / "sub" / "x"), "1");
  EXPECT_FALSE(fs::exists(folder_ / "from"));
}

TEST_F(FileTest, Maps) {
  ASSERT_TRUE(write_file_atomically(folder_ / "x", "12345").ok());
  auto mapped = MappedFile::open(folder_ / "x");
  ASSERT_TRUE(mapped.ok());
  const MappedFile moved = std::move(mapped).value();
  EXPECT_EQ(moved.bytes(), "12345");
  EXPECT_FALSE(MappedFile::open(folder_).ok());
}

}  // namespace
}  // namespace candor
