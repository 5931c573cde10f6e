#include "study/run_directory.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "base/strings.h"

namespace candor {
namespace {

namespace fs = std::filesystem;

class RunDirectoryTest : public testing::Test {
 protected:
  RunDirectoryTest() {
    std::string pattern = (fs::temp_directory_path() / "candor-run-XXXXXX").string();
    root_ = ::mkdtemp(pattern.data());
    study_.resolved = {{"name", "tiny"}};
  }
  ~RunDirectoryTest() override { fs::remove_all(root_); }

  static RunInputs inputs() {
    return {.sources = {{"prompts", {{"source", "p.jsonl"}, {"digest", "sha256:01"}}},
                        {"group kind: data", {{"source", "texts.jsonl"}, {"digest", "sha256:02"}}}},
            .machine = {.threads = 2,
                        .instruction_set = InstructionSet::kAvx2,
                        .cpu_vendor = "GenuineIntel",
                        .torch = "2.13.0"}};
  }
  // The error of going on with that; empty where it is allowed.
  [[nodiscard]] std::string resumed(const RunInputs& with) const {
    const auto run = RunDirectory::open(root_ / "run", study_, with, true);
    return run.ok() ? "" : run.error().message;
  }
  void expect_part(const std::string& message, const std::string& part) const {
    EXPECT_NE(message.find(part), std::string::npos) << message;
  }

  fs::path root_;
  Study study_;
};

TEST_F(RunDirectoryTest, IsBoundToItsSourcesAndItsMachine) {
  ASSERT_TRUE(RunDirectory::open(root_ / "run", study_, inputs(), false).ok());
  EXPECT_EQ(resumed(inputs()), "");
  RunInputs other = inputs();
  other.sources["group kind: data"]["digest"] = "sha256:03";
  expect_part(resumed(other),
              "group kind: data (texts.jsonl) has changed since this run began: \"sha256:02\" "
              "then, \"sha256:03\" now");
  other = inputs();
  other.machine.threads = 4;
  expect_part(resumed(other), "began with threads 2, and now it is 4");
  expect_part(resumed(other), "go on with --threads 2, or choose another --out");
  other = inputs();
  other.machine.instruction_set = InstructionSet::kAvx512;
  expect_part(resumed(other), "--instruction-set avx2,");
  other = inputs();
  other.machine.torch = "2.11.0";
  expect_part(resumed(other), "began with torch \"2.13.0\", and now it is \"2.11.0\"");
  EXPECT_EQ(resumed(inputs()), "");  // what was refused has changed nothing
}

// Folders of programs before inputs.json are bound to what their run.json names.
TEST_F(RunDirectoryTest, EarlierFoldersAreBoundToTheirRunJson) {
  ASSERT_TRUE(RunDirectory::open(root_ / "run", study_, inputs(), false).ok());
  fs::remove(root_ / "run" / "inputs.json");
  std::ofstream(root_ / "run" / "run.json")
      << R"({"prompts":"sha256:01","groups":[{"name":"kind","data":"sha256:04"}]})";
  expect_part(resumed(inputs()), "group kind: data (texts.jsonl) has changed");
  std::ofstream(root_ / "run" / "run.json")
      << R"({"prompts":"sha256:01","groups":[{"name":"kind","data":"sha256:02"}]})";
  EXPECT_EQ(resumed(inputs()), "");
}

TEST_F(RunDirectoryTest, WhatIsSealedStays) {
  const RunDirectory run = RunDirectory::open(root_ / "run", study_, inputs(), false).value();
  const Json seal = {{"prompts", "sha256:01"}, {"threads", 2}};
  ASSERT_TRUE(run.write_seal("seal.json", seal).ok());
  ASSERT_TRUE(run.write_seal("seal.json", seal).ok());
  Json other = seal;
  other["prompts"] = "sha256:05";
  const Status refused = run.write_seal("seal.json", other);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument);
  expect_part(refused.error().message,
              "sealed already, with another prompts (\"sha256:01\" then, \"sha256:05\" now)");
  EXPECT_EQ(read_json_file((root_ / "run" / "seal.json").string()).value(), seal);
}

}  // namespace
}  // namespace candor
