// tokenizer.json as written from GGUF files, read again: the ids of the GGUF file's own tokenizer.
#include "formats/tokenizer_writer.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/json.h"
#include "formats/tokenizer.h"

namespace candor {
namespace {

namespace fs = std::filesystem;

GgufFile corpus(const std::string& name) {
  return *GgufFile::open(fs::path(CANDOR_SOURCE_DIR) / "fuzz" / "corpus" / "gguf" / name);
}

class TokenizerWriterTest : public testing::Test {
 protected:
  TokenizerWriterTest() {
    std::string pattern = (fs::temp_directory_path() / "candor-writer-XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
  }
  ~TokenizerWriterTest() override { fs::remove_all(folder_); }
  [[nodiscard]] std::shared_ptr<const Tokenizer> written(const Json& tokenizer,
                                                         const Json& config) const {
    std::ofstream(folder_ / "tokenizer.json") << tokenizer.dump();
    std::ofstream(folder_ / "tokenizer_config.json") << config.dump();
    const auto read = tokenizer_from_folder(folder_);
    EXPECT_TRUE(read.ok()) << (read.ok() ? "" : read.error().message);
    return *read;
  }
  fs::path folder_;
};

TEST_F(TokenizerWriterTest, GivesTheIdsOfTheFile) {
  const GgufFile file = corpus("byte_level.gguf");
  const auto direct = *tokenizer_from_gguf(file);
  const Json json = *tokenizer_json_of(file);
  const Json config = *tokenizer_config_of(file);
  const auto again = written(json, config);
  for (const char* text : {"", "ab", "ab<s>a 12", "<s>b", "b a  ab\n", "<s", "a<s><s>1"}) {
    for (const bool special : {false, true}) {
      for (const bool parse : {false, true}) {
        const EncodeOptions options{.add_special_tokens = special, .parse_special_tokens = parse};
        const auto expected = direct->encode(text, options);
        const auto got = again->encode(text, options);
        ASSERT_EQ(got.ok(), expected.ok()) << text;
        EXPECT_TRUE(!expected.ok() || *got == *expected) << text << " " << special << parse;
      }
    }
  }
  EXPECT_EQ(again->bos_id(), direct->bos_id());
  EXPECT_EQ(config["bos_token"], "<s>");
  // The test can fail: without the post-processor the begin token is missing.
  Json without = json;
  without["post_processor"] = nullptr;
  EXPECT_NE(*written(without, config)->encode("ab", {.add_special_tokens = true}),
            *direct->encode("ab", {.add_special_tokens = true}));
}

TEST_F(TokenizerWriterTest, WhatItCannotSayIsNamed) {
  for (const auto& [name, part] :
       {std::pair{"qwen2.gguf", "\"qwen2\""}, std::pair{"llama3.gguf", "\"llama-bpe\""},
        std::pair{"unknown_pre.gguf", "\"falcon\""}, std::pair{"scores.gguf", "\"llama\""}}) {
    const Result<Json> json = tokenizer_json_of(corpus(name));
    ASSERT_FALSE(json.ok()) << name;
    EXPECT_NE(json.error().message.find(part), std::string::npos) << json.error().message;
    EXPECT_NE(json.error().message.find("tokenizer.json"), std::string::npos);
  }
}

}  // namespace
}  // namespace candor
