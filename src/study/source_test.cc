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

// Who reads between `hold` and `unchanged` has read what the digest names: any write is seen, one
// that puts everything back too.
TEST_F(SourceTest, HeldSourcesTellOfEveryChange) {
  const fs::path folder = site_ / "pair";
  const auto put = [&](const std::string& name, const std::string& text) {
    write("pair/" + name, text);
  };
  const auto changes = [&](const auto& change) {
    const HeldSource held = HeldSource::hold(folder, digest_of_source(folder).value()).value();
    EXPECT_TRUE(held.unchanged().ok());
    change();
    return !held.unchanged().ok();
  };
  EXPECT_FALSE(changes([] {}));
  EXPECT_TRUE(changes([&] { put("one/config.json", "{ }"); }));
  EXPECT_TRUE(changes([&] {  // flipped, and put back as it was
    fs::copy(folder / "one/config.json", site_ / "kept");
    const auto time = fs::last_write_time(folder / "one/config.json");
    put("one/config.json", "[ ]");
    fs::rename(site_ / "kept", folder / "one/config.json");
    fs::last_write_time(folder / "one/config.json", time);
  }));
  EXPECT_TRUE(changes([&] { put("three.json", "{}"); }));
  EXPECT_TRUE(changes([&] { fs::remove(folder / "three.json"); }));
  const std::string digest = digest_of_source(folder).value();
  put("two/config.json", "[]");
  const auto other = HeldSource::hold(folder, digest);
  ASSERT_FALSE(other.ok());
  EXPECT_EQ(other.error().code, ErrorCode::kInvalidArgument);
  EXPECT_NE(other.error().message.find("has changed since the run was planned"), std::string::npos);
  EXPECT_NE(HeldSource::hold(site_ / "gone", digest).error().message.find("no longer there"),
            std::string::npos);
}

}  // namespace
}  // namespace candor
