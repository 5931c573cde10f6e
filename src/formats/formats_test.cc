#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "base/file.h"
#include "base/rng.h"
#include "formats/bpe.h"
#include "formats/chat_template.h"
#include "formats/gguf.h"
#include "formats/records.h"
#include "formats/tokenizer.h"
#include "formats/unicode.h"

namespace candor {
namespace {

namespace fs = std::filesystem;

class FormatsTest : public testing::Test {
 protected:
  FormatsTest() {
    std::string pattern = (fs::temp_directory_path() / "candor-formats-XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
  }
  ~FormatsTest() override { fs::remove_all(folder_); }
  fs::path write(const std::string& name, const std::string& bytes) {
    fs::remove(folder_ / name);                                // mapped files keep their old bytes
    std::ofstream(folder_ / name, std::ios::binary) << bytes;  // no sync: thousands of them
    return folder_ / name;
  }
  fs::path folder_;
};

// Builds GGUF bytes field by field.
class GgufBuilder {
 public:
  template <typename T>
  GgufBuilder& raw(T value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
    return *this;
  }
  GgufBuilder& text(const std::string& value) {
    raw(uint64_t{value.size()});
    bytes_ += value;
    return *this;
  }
  GgufBuilder& header(uint64_t tensors, uint64_t keys) {
    bytes_ = "GGUF";
    return raw(uint32_t{3}).raw(tensors).raw(keys);
  }
  GgufBuilder& data(const std::string& payload) {
    while (bytes_.size() % 32 != 0) bytes_ += '\0';
    bytes_ += payload;
    return *this;
  }
  [[nodiscard]] const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

std::string small_gguf() {
  const std::vector<float> values = {1, 2, 3, 4, 5, 6};
  return GgufBuilder()
      .header(1, 3)
      .text("general.name")
      .raw(uint32_t{8})
      .text("tiny")
      .text("n")
      .raw(uint32_t{4})
      .raw(uint32_t{7})
      .text("list")
      .raw(uint32_t{9})
      .raw(uint32_t{8})
      .raw(uint64_t{2})
      .text("a")
      .text("bc")
      .text("w")
      .raw(uint32_t{2})
      .raw(uint64_t{3})
      .raw(uint64_t{2})
      .raw(uint32_t{0})
      .raw(uint64_t{0})
      .data(std::string(reinterpret_cast<const char*>(values.data()), 24))
      .bytes();
}

TEST_F(FormatsTest, GgufReads) {
  const auto file = GgufFile::open(write("a.gguf", small_gguf()));
  ASSERT_TRUE(file.ok()) << file.error().message;
  EXPECT_EQ(*file->text("general.name"), "tiny");
  EXPECT_EQ(*file->integer("n", 0, 10), 7);
  EXPECT_FALSE(file->integer("n", 0, 6).ok());
  EXPECT_FALSE(file->text("n").ok());
  EXPECT_EQ(file->texts("list")->at(1), "bc");
  EXPECT_EQ(file->tensors().at("w").shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(*file->floats("w"), (std::vector<float>{1, 2, 3, 4, 5, 6}));
  EXPECT_FALSE(file->floats("v").ok());
}

TEST_F(FormatsTest, GgufRefusesLies) {
  const auto refused = [&](const std::string& bytes) {
    return !GgufFile::open(write("b.gguf", bytes)).ok();
  };
  const std::string good = small_gguf();
  for (size_t size = 0; size < good.size(); ++size)
    ASSERT_TRUE(refused(good.substr(0, size))) << size;
  EXPECT_TRUE(refused(GgufBuilder().header(uint64_t{1} << 60, 0).bytes()));
  EXPECT_TRUE(refused(GgufBuilder().header(0, uint64_t{1} << 60).bytes()));
  EXPECT_TRUE(refused(GgufBuilder().header(0, 1).raw(~uint64_t{0}).bytes()));
  EXPECT_TRUE(refused(GgufBuilder()
                          .header(0, 1)
                          .text("k")
                          .raw(uint32_t{9})
                          .raw(uint32_t{4})
                          .raw(~uint64_t{0})
                          .bytes()));
  const auto tensor = [](uint64_t a, uint64_t b, uint64_t offset) {
    return GgufBuilder()
        .header(1, 0)
        .text("w")
        .raw(uint32_t{2})
        .raw(a)
        .raw(b)
        .raw(uint32_t{0})
        .raw(offset)
        .data(std::string(64, '\0'))
        .bytes();
  };
  EXPECT_FALSE(refused(tensor(4, 4, 0)));
  EXPECT_TRUE(refused(tensor(4, 5, 0)));
  EXPECT_TRUE(refused(tensor(uint64_t{1} << 40, uint64_t{1} << 40, 0)));
  EXPECT_TRUE(refused(tensor(1, 1, 3)));
  EXPECT_TRUE(refused(tensor(1, 1, 96)));
  EXPECT_TRUE(refused(tensor(0, 1, 0)));
}

TEST_F(FormatsTest, SurvivesFlippedBytes) {
  const std::string tokenizer = R"({"added_tokens":[{"id":3,"content":"<s>","special":true}],
    "normalizer":null,"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false},
    "model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]}})";
  const std::string csv = "x,y\n1,\"a\"\"b\"\n2,c\n";
  for (const auto& [name, good] : {std::pair<std::string, std::string>{"x.gguf", small_gguf()},
                                   {"x.json", tokenizer},
                                   {"x.csv", csv}}) {
    for (uint32_t trial = 0; trial < 2000; ++trial) {
      RandomStream random({.seed = 3, .prompt = trial});
      std::string bad = good;
      for (int flip = 0; flip < 3; ++flip)
        bad[random.below(bad.size())] ^= static_cast<char>(1 + random.below(255));
      if (trial < good.size()) bad = good.substr(0, trial);
      const fs::path path = write(name, bad);
      if (name == "x.gguf") {
        if (const auto file = GgufFile::open(path); file.ok()) {
          for (const auto& item : file->tensors()) (void)file->floats(item.first).ok();
        }
      } else if (name == "x.json") {
        if (const auto read = tokenizer_from_file(path); read.ok())
          (void)(*read)->encode("ab ba<s>").ok();
      } else {
        (void)read_csv(path).ok();
      }
    }
  }
}

TEST(Dequantize, Blocks) {
  // One block each, by hand: d = 0.5, m = 1; nibbles 0..15 low, 15..0 high.
  std::string q4_1("\x00\x38\x00\x3c", 4);
  std::string q4_0("\x00\x38", 2);
  for (int i = 0; i < 16; ++i) {
    q4_1 += static_cast<char>(i | (15 - i) << 4);
    q4_0 += static_cast<char>(i | (15 - i) << 4);
  }
  const auto one = *dequantize(3, q4_1, 32);
  EXPECT_EQ(one[3], 2.5F);
  EXPECT_EQ(one[16 + 3], 7.0F);
  const auto zero = *dequantize(2, q4_0, 32);
  EXPECT_EQ(zero[3], -2.5F);
  EXPECT_EQ(zero[16 + 3], 2.0F);
  std::string q8("\x00\x38", 2);
  for (int i = 0; i < 32; ++i) q8 += static_cast<char>(i - 16);
  EXPECT_EQ((*dequantize(8, q8, 32))[0], -8.0F);
  EXPECT_FALSE(dequantize(12, q8, 32).ok());
  EXPECT_FALSE(dequantize(8, q8, 64).ok());
}

TEST(Bpe, LongPiecesAreNotQuadratic) {
  std::unordered_map<std::string, int32_t> vocabulary = {{"a", 0}, {"aa", 1}, {"aaaa", 2}};
  const Bpe bpe = *Bpe::from_merges(vocabulary, {{"a", "a"}, {"aa", "aa"}}, {});
  std::vector<int32_t> ids;
  ASSERT_TRUE(bpe.encode(std::string(400003, 'a'), ids).ok());
  EXPECT_EQ(ids.size(), 100000U + 2);  // 100,000 x aaaa, then aa, a
  EXPECT_EQ(ids.back(), 0);
  EXPECT_FALSE(bpe.encode("z", ids).ok());
}

TEST_F(FormatsTest, TokenizerNamesWhatItDoesNotSupport) {
  const std::string base = R"("model":{"type":"BPE","vocab":{"a":0},"merges":[]}})";
  for (const auto& [json, word] :
       {std::pair<std::string, std::string>{R"({"normalizer":{"type":"NFKD"},)" + base, "NFKD"},
        {R"({"pre_tokenizer":{"type":"UnicodeScripts"},)" + base, "UnicodeScripts"},
        {R"({"post_processor":{"type":"RobertaProcessing"},)" + base, "RobertaProcessing"},
        {R"({"model":{"type":"Unigram"}})", "Unigram"}}) {
    const auto tokenizer = tokenizer_from_file(write("t.json", json));
    ASSERT_FALSE(tokenizer.ok());
    EXPECT_NE(tokenizer.error().message.find(word), std::string::npos) << tokenizer.error().message;
  }
}

TEST_F(FormatsTest, LabelledTexts) {
  LabelledTextSource source{.path = write("a.csv", "label,text\n1,\"a, \"\"b\"\"\nc\"\n0,d\n")};
  const auto texts = *read_labelled_texts(source);
  ASSERT_EQ(texts.size(), 2U);
  EXPECT_EQ(texts[0].text, "a, \"b\"\nc");
  EXPECT_EQ(texts[0].label, 1);
  EXPECT_EQ(texts[1].label, 0);
  source.text_field = "txt";
  EXPECT_NE(read_labelled_texts(source).error().message.find("did you mean \"text\""),
            std::string::npos);
  source = {.path = write("a.jsonl",
                          "{\"input\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\","
                          "\"content\":\"u\"}],\"ideal\":\"1\"}\n"),
            .text_field = "input",
            .label_field = "ideal"};
  EXPECT_EQ(read_labelled_texts(source)->at(0).text, "u");
  source.path = write("b.jsonl", "");
  EXPECT_FALSE(read_labelled_texts(source).ok());
  source.path = write("c.jsonl", "{\"input\":\"x\",\"ideal\":1}\n{\"input\":\"y\"\n");
  EXPECT_NE(read_labelled_texts(source).error().message.find("c.jsonl:2"), std::string::npos);
  source.path = write("d.jsonl", "{\"input\":\"x\",\"ideal\":0}\n{\"input\":\"y\",\"ideal\":2}\n");
  EXPECT_FALSE(read_labelled_texts(source).ok()) << "three labels";
}

TEST(ChatTemplate, UnknownIsRefused) {
  EXPECT_NE(ChatTemplate::recognise("{% for m in messages %}").error().message.find("not known"),
            std::string::npos);
}

TEST(Unicode, Utf8) {
  EXPECT_TRUE(is_utf8("a\xc3\xa9"));
  EXPECT_FALSE(is_utf8("a\xc3"));
  EXPECT_EQ(replace_invalid_utf8("a\xff"
                                 "b"),
            "a\xef\xbf\xbd"
            "b");
  EXPECT_EQ(to_nfc("e\xcc\x81"), "\xc3\xa9");
  EXPECT_EQ(bert_normalize("\xc3\x89 A\tB\x01", {}), "e a b");
  EXPECT_EQ(bert_words("don't go"), (std::vector<std::string>{"don", "'", "t", "go"}));
}

}  // namespace
}  // namespace candor
