#include "study/source.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

namespace candor {
namespace {

namespace fs = std::filesystem;

// Two made-up packages: toy-model 1.2 with one GGUF, pair 3 with two folders of models.
class SourceTest : public testing::Test {
 protected:
  SourceTest() : site_(fs::path(testing::TempDir()) / "candor-source-test") {
    fs::remove_all(site_);
    write("toy_model/a.gguf", "x");
    write("toy_model-1.2.dist-info/RECORD", "toy_model/a.gguf,sha256=1,1\n../../../bin/toy,,\n");
    write("pair/one/config.json", "{}");
    write("pair/one/model.safetensors", "x");
    write("pair/two/config.json", "{}");
    write("pair/two/model.safetensors", "x");
    write("pair-3.dist-info/RECORD",
          "pair/one/config.json,,\npair/one/model.safetensors,,\n"
          "pair/two/config.json,,\npair/two/model.safetensors,,\n");
    write("stranger/a.gguf", "x");
    ::setenv("CANDOR_PACKAGES", site_.c_str(), 1);
  }
  ~SourceTest() override {
    ::unsetenv("CANDOR_PACKAGES");
    fs::remove_all(site_);
  }
  void write(const std::string& name, const std::string& text) const {
    fs::create_directories((site_ / name).parent_path());
    std::ofstream(site_ / name) << text;
  }
  void expect_error(const std::string& source, const std::string& part) const {
    const Result<fs::path> path = resolve_source(source, site_);
    ASSERT_FALSE(path.ok()) << source << " is " << path.value();
    EXPECT_EQ(path.error().code, ErrorCode::kInvalidArgument);
    EXPECT_NE(path.error().message.find(part), std::string::npos) << path.error().message;
  }

  fs::path site_;
};

TEST_F(SourceTest, Found) {
  const fs::path gguf = site_ / "toy_model" / "a.gguf";
  for (const char* source :
       {"pypi:toy-model", "pypi:toy_model==1.2", "pypi:Toy.Model==1.2/toy_model/a.gguf"}) {
    const Result<fs::path> path = resolve_source(source, "/");
    ASSERT_TRUE(path.ok()) << path.error().message;
    EXPECT_EQ(*path, gguf);
  }
  EXPECT_EQ(*resolve_source("pypi:pair/pair/two", "/"), site_ / "pair" / "two");
  EXPECT_EQ(*resolve_source("toy_model/a.gguf", site_), gguf);
  EXPECT_EQ(*resolve_source(gguf.string(), "/"), gguf);
}

TEST_F(SourceTest, Refused) {
  expect_error("pypi:nothing", "make setup");
  expect_error("pypi:toy-model==1.3", "is installed in version 1.2; 1.3 is asked for");
  expect_error("pypi:toy-model/toy_model/b.gguf", "did you mean \"toy_model/a.gguf\"");
  expect_error("pypi:toy-model/stranger/a.gguf", "holds no");  // another package's file
  expect_error("pypi:toy-model/..", "without \"..\"");         // RECORD lists ../../../bin/toy
  expect_error("pypi:toy-model/toy_model/../stranger/a.gguf", "without \"..\"");
  expect_error("pypi:toy-model/", "holds no");
  expect_error("pypi:pair", "holds 2 models");
  expect_error("nowhere.jsonl", "no such file");
}

// Equal bytes, equal digest, wherever the folder lies; another byte or name, another digest.
TEST_F(SourceTest, FolderDigest) {
  const auto digest = [&](const char* name) { return *digest_of_source(site_ / name); };
  EXPECT_EQ(digest("pair/one"), digest("pair/two"));
  write("pair/two/config.json", "{ }");
  EXPECT_NE(digest("pair/one"), digest("pair/two"));
  write("pair/two/config.json", "{}");
  fs::rename(site_ / "pair/two/config.json", site_ / "pair/two/config2.json");
  EXPECT_NE(digest("pair/one"), digest("pair/two"));
}

}  // namespace
}  // namespace candor
