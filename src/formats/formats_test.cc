#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>

#include "base/file.h"
#include "base/rng.h"
#include "base/strings.h"
#include "formats/bpe.h"
#include "formats/chat_template.h"
#include "formats/gguf.h"
#include "formats/npy.h"
#include "formats/records.h"
#include "formats/safetensors.h"
#include "formats/splitter.h"
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
  EXPECT_FALSE(refused(tensor(4, 2, 32)));
  EXPECT_TRUE(refused(tensor(4, 3, 32)));
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
  bpe.encode(std::string(400003, 'a'), ids);
  EXPECT_EQ(ids.size(), 100000U + 2);  // 100,000 x aaaa, then aa, a
  EXPECT_EQ(ids.back(), 0);
  ids.clear();
  bpe.encode("azzaa", ids);  // left out, like the reference library: its neighbours may join
  EXPECT_EQ(ids, (std::vector<int32_t>{1, 0}));
}

TEST_F(FormatsTest, TokenizerNamesWhatItDoesNotSupport) {
  const std::string base = R"("model":{"type":"BPE","vocab":{"a":0},"merges":[]}})";
  for (const auto& [json, word] :
       {std::pair<std::string, std::string>{R"({"normalizer":{"type":"Nmt"},)" + base, "Nmt"},
        {R"({"pre_tokenizer":{"type":"UnicodeScripts"},)" + base, "UnicodeScripts"},
        {R"({"post_processor":{"type":"FancyProcessing"},)" + base, "FancyProcessing"},
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

TEST(Csv, LinesAndLies) {
  const auto error = [](const std::string& bytes) {
    const auto table = parse_csv(bytes, "t.csv");
    return table.ok() ? "" : table.error().message;
  };
  const auto table = *parse_csv("\xef\xbb\xbfx,y\r\n1,\"a\nb\"\r\n\r\n2,\r\n", "t.csv");
  EXPECT_EQ(table.header, (std::vector<std::string>{"x", "y"}));
  EXPECT_EQ(table.rows[0][1], "a\nb");
  EXPECT_EQ(table.rows[1], (std::vector<std::string>{"2", ""}));
  EXPECT_EQ(table.lines, (std::vector<size_t>{2, 5}));
  EXPECT_NE(error("x,y\n1,2\n1\n").find("t.csv:3: has 1 cells"), std::string::npos);
  EXPECT_NE(error("x,y\n1,\"a\"b\n").find("t.csv:2"), std::string::npos);
  EXPECT_NE(error("x,y\n1,\"a\n\n").find("never closed"), std::string::npos);
  EXPECT_NE(error("x,x\n").find("occurs twice"), std::string::npos);
  EXPECT_NE(error("x\n\xff\n").find("not UTF-8"), std::string::npos);
  EXPECT_NE(error("").find("is empty"), std::string::npos);
}

TEST(Splitter, OnigurumaInPcre2) {
  // U+180E was a space once: for PCRE2 it still is.
  const auto splitter = RegexSplitter::compile("\\s+|[^\\s\\p{L}]");
  ASSERT_TRUE(splitter.ok());
  EXPECT_EQ(*splitter->split("a\xe1\xa0\x8e b"),
            (std::vector<std::string_view>{"a", "\xe1\xa0\x8e", " ", "b"}));
  EXPECT_EQ(*pcre2_from_oniguruma("(?i:'s)|\\p{N}{1,3}?|[\\r\\n\\]]?\\S"),
            "(?i:'s)|\\p{N}{1,3}?|[\\r\\n\\]]?[^\\t-\\r\\x{85}\\p{Z}]");
  for (const char* pattern :
       {"\\w", "\\bx", "\\h", "^a", "a$", "[a-z&&b]", "[[:alpha:]]", "[^\\S]", "(?<n>a)", "(*FAIL)",
        "a{,3}", "a{1,3}+", "\\", "\\p", "(?i)a", "[]a]"}) {
    EXPECT_FALSE(pcre2_from_oniguruma(pattern).ok()) << pattern;
  }
  const auto removed = RegexSplitter::compile(", ?", RegexSplitter::Behavior::kRemoved);
  EXPECT_EQ(*removed->split("a, b,c"), (std::vector<std::string_view>{"a", "b", "c"}));
  const auto plain = RegexSplitter::compile(pattern_of_text("a.b(\xc3\xa9"));
  EXPECT_EQ(plain->split("xa.b(\xc3\xa9")->size(), 2U);
  EXPECT_EQ(plain->split("xaxb(\xc3\xa9")->size(), 1U);
}

TEST_F(FormatsTest, VocabTxtFollowsItsFolder) {
  write("vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nhi\nHi\n##gh\n");
  const std::vector<int32_t> lower = {2, 5, 3};
  const std::vector<int32_t> cased = {2, 6, 3};
  const EncodeOptions options{.add_special_tokens = true};
  EXPECT_EQ(*(*tokenizer_from_folder(folder_))->encode("Hi", options), lower);
  write("tokenizer_config.json", R"({"do_lower_case": false})");
  EXPECT_EQ(*(*tokenizer_from_folder(folder_))->encode("Hi", options), cased);
  EXPECT_EQ(*(*tokenizer_from_folder(folder_))->decode({6, 7}), "High");
  write("tokenizer_config.json", R"({"do_lower_case": "no"})");
  EXPECT_FALSE(tokenizer_from_folder(folder_).ok());
  write("vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nhi\nhi\n");
  EXPECT_NE(tokenizer_from_file(folder_ / "vocab.txt").error().message.find("vocab.txt:7"),
            std::string::npos);
}

// The fuzz targets' corpus: what is right is read, what lies is refused.
TEST(FuzzCorpus, RightIsReadAndWrongIsRefused) {
  const fs::path corpus = fs::path(CANDOR_SOURCE_DIR) / "fuzz" / "corpus";
  const auto read = [&](const fs::path& path) {
    const std::string parser = path.parent_path().filename();
    const std::string bytes = *read_file(path);
    if (parser == "gguf") return GgufFile::open(path).ok();
    if (parser == "safetensors") return SafeTensors::open(path).ok();
    if (parser == "npy") return NpyFile::open(path).ok();
    if (parser == "tokenizer_json") return tokenizer_from_file(path).ok();
    if (parser == "jsonl") return parse_jsonl(bytes, "x").ok();
    if (parser == "csv") return parse_csv(bytes, "x").ok();
    return ChatTemplate::recognise(bytes).ok();
  };
  const std::set<std::string> right = {"byte_level.gguf",
                                       "version2.gguf",
                                       "scores.gguf",
                                       "qwen2.gguf",
                                       "llama3.gguf",
                                       "two.safetensors",
                                       "f64.safetensors",
                                       "empty.safetensors",
                                       "f8.npy",
                                       "f4.npy",
                                       "i8.npy",
                                       "byte_level.json",
                                       "split.json",
                                       "word_piece.json",
                                       "byte_fallback.json",
                                       "metaspace.json",
                                       "records.jsonl",
                                       "chat.jsonl",
                                       "quoted.csv",
                                       "mark.csv",
                                       "chatml.jinja",
                                       "smollm2.jinja",
                                       "smollm2_lines.jinja",
                                       "unknown_pre.gguf"};
  size_t count = 0;
  for (const auto& entry : fs::recursive_directory_iterator(corpus)) {
    if (!entry.is_regular_file()) continue;
    EXPECT_EQ(read(entry.path()), right.contains(entry.path().filename())) << entry.path();
    ++count;
  }
  EXPECT_GT(count, 40U);
  const auto gguf = GgufFile::open(corpus / "gguf" / "unknown_pre.gguf");
  EXPECT_NE(tokenizer_from_gguf(*gguf).error().message.find("falcon"), std::string::npos);
}

// GGUF tokenizers, by hand.
TEST(GgufTokenizer, ByHand) {
  const fs::path corpus = fs::path(CANDOR_SOURCE_DIR) / "fuzz" / "corpus" / "gguf";
  const auto merged = *tokenizer_from_gguf(*GgufFile::open(corpus / "byte_level.gguf"));
  EXPECT_EQ(*merged->encode("ab<s>a 12", {.add_special_tokens = true}),
            (std::vector<int32_t>{0, 3, 0, 1, 4, 5, 6}));
  EXPECT_EQ(*merged->encode("<s>b", {.parse_special_tokens = false}), (std::vector<int32_t>{2}));
  EXPECT_EQ(*merged->decode({0, 3, 4, 5}), "ab 1");
  EXPECT_EQ(*merged->decode({0, 3, 4, 5}, true), "<s>ab 1");
  EXPECT_FALSE(merged->decode({7}).ok());
  EXPECT_FALSE(merged->decode({-1}).ok());
  const auto scored = *tokenizer_from_gguf(*GgufFile::open(corpus / "scores.gguf"));
  // A space in front, "ab" joined by its score, a byte, an unknown character.
  EXPECT_EQ(*scored->encode("ab\nz", {.add_special_tokens = true}),
            (std::vector<int32_t>{1, 4, 7, 3, 0}));
  EXPECT_EQ(*scored->decode({1, 4, 7, 3}), "ab\n");
  EXPECT_EQ(scored->id_of("ab"), 7);
  EXPECT_EQ(scored->eos_id(), 2);
  EXPECT_EQ(scored->vocabulary_size(), 8);
}

// Ids and texts of the reference library for a tokenizer of every supported component.
TEST_F(FormatsTest, ComponentsAsTheReferenceLibrary) {
  const Json golden =
      *read_json_file(std::string(CANDOR_SOURCE_DIR) + "/tests/golden/tokenizer_components.json");
  ASSERT_GT(golden["tokenizers"].size(), 10U);
  for (const Json& item : golden["tokenizers"]) {
    const auto name = item["name"].get<std::string>();
    const auto tokenizer = tokenizer_from_file(write("t.json", to_text(item["tokenizer"])));
    ASSERT_TRUE(tokenizer.ok()) << name << ": " << tokenizer.error().message;
    for (const Json& example : item["texts"]) {
      const auto text = example["text"].get<std::string>();
      EXPECT_EQ(*(*tokenizer)->encode(text, {.add_special_tokens = true}),
                example["ids"].get<std::vector<int32_t>>())
          << name << ": " << quote(text);
    }
    if (name == "no_strip") {
      EXPECT_EQ(*(*tokenizer)->decode(*(*tokenizer)->encode(" a b")), " a b");
    }
    for (const Json& example : item["decoded"]) {
      EXPECT_EQ(*(*tokenizer)->decode(example["ids"].get<std::vector<int32_t>>()),
                example["text"].get<std::string>())
          << name;
    }
  }
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
  EXPECT_EQ(to_normal_form("e\xcc\x81", NormalForm::kC), "\xc3\xa9");
  EXPECT_EQ(bert_normalize("\xc3\x89 A\tB\x01", {}), "e a b");
  EXPECT_EQ(bert_words("don't go"), (std::vector<std::string>{"don", "'", "t", "go"}));
}

}  // namespace
}  // namespace candor
