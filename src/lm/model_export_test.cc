// Folders as `candor lm merge` and full fine-tuning write them, read again by the decoder.
#include "lm/model_export.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "base/file.h"
#include "base/json.h"
#include "base/sha256.h"
#include "formats/half.h"
#include "formats/lora_adapter.h"
#include "formats/safetensors.h"
#include "lm/decoder.h"
#include "lm/language_model.h"
#include "lm/score.h"

namespace candor {
namespace {

namespace fs = std::filesystem;

const fs::path kGolden = fs::path(CANDOR_SOURCE_DIR) / "tests" / "golden";
const fs::path kTiny = kGolden / "tiny_llama";
const std::vector<int32_t> kIds = {5, 98, 17, 44, 2, 99, 61, 30, 12};

class ModelExportTest : public testing::Test {
 protected:
  ModelExportTest() {
    std::string pattern = (fs::temp_directory_path() / "candor-export-XXXXXX").string();
    root_ = ::mkdtemp(pattern.data());
  }
  ~ModelExportTest() override { fs::remove_all(root_); }

  // `model` with its adapters merged, as a folder.
  [[nodiscard]] fs::path merged(const fs::path& model, const std::vector<AdapterChoice>& adapters,
                                Dtype dtype = Dtype::kF32) const {
    std::vector<WeightedAdapter> parts;
    parts.reserve(adapters.size());
    for (const AdapterChoice& choice : adapters) {
      parts.push_back({*load_lora_adapter(choice.folder), choice.weight});
    }
    const LoraAdapter soup = *soup_of(parts);
    const ModelFile file = *ModelFile::open(model);
    fs::path folder = root_ / "folder";
    fs::remove_all(folder);
    fs::create_directories(folder);
    const Status status = write_model_folder(file, merged_weights(file, soup), dtype, folder);
    EXPECT_TRUE(status.ok()) << (status.ok() ? "" : status.error().message);
    return folder;
  }

  fs::path root_;
};

std::vector<float> logits_of(const fs::path& model, const std::vector<int32_t>& ids,
                             const std::vector<AdapterChoice>& adapters = {}) {
  const auto loaded = LanguageModel::load(model, {Dtype::kF32, 2, adapters});
  EXPECT_TRUE(loaded.ok()) << (loaded.ok() ? "" : loaded.error().message);
  return *logits(*loaded, ids);
}

TEST_F(ModelExportTest, AFolderIsTheSameModel) {
  const fs::path folder = merged(kTiny, {});
  EXPECT_EQ(logits_of(folder, kIds), logits_of(kTiny, kIds));
  for (const char* name : {"tokenizer.json", "tokenizer_config.json", "generation_config.json"}) {
    EXPECT_EQ(*read_file(folder / name), *read_file(kTiny / name)) << name;
  }
  const Json config = *read_json_file((folder / "config.json").string());
  EXPECT_EQ(config["torch_dtype"], "float32");
  EXPECT_EQ(config["rope_parameters"]["rope_theta"], 10000.0);
}

TEST_F(ModelExportTest, MergedAdaptersAreTheAdapters) {
  const std::vector<float> base = logits_of(kTiny, kIds);
  for (const double weight : {1.0, 0.4, -0.5}) {
    const std::vector<AdapterChoice> adapter = {{kGolden / "tiny_lora", weight}};
    const std::vector<float> expected = logits_of(kTiny, kIds, adapter);
    EXPECT_EQ(logits_of(merged(kTiny, adapter), kIds), expected) << weight;
    EXPECT_NE(expected, base);
  }
  const fs::path stories = fs::path(CANDOR_SOURCE_DIR) / "examples" / "data" / "stories260k";
  const std::vector<AdapterChoice> soup = {{kGolden / "lora_a", 0.3}, {kGolden / "lora_b", 0.7}};
  const std::vector<float> expected = logits_of(stories, kIds, soup);
  const std::vector<float> got = logits_of(merged(stories, soup), kIds);
  EXPECT_EQ(got, expected);
}

// The same model as a GGUF file, written by the gguf package: its rows of queries and keys lie in
// another order, its tokenizer is no JSON.
TEST_F(ModelExportTest, AGgufFileBecomesTheFolderItWas) {
  const fs::path gguf = kGolden / "tiny_llama.gguf";
  const std::vector<float> expected = logits_of(kTiny, kIds);
  EXPECT_EQ(logits_of(gguf, kIds), expected);
  const fs::path folder = merged(gguf, {});
  EXPECT_EQ(logits_of(folder, kIds), expected);
  const std::string weights = *read_file(folder / "model.safetensors");
  const ModelFile before = *ModelFile::open(kTiny);
  const ModelFile after = *ModelFile::open(folder);
  for (const char* text : {"", "the cat sat on a mat", " then<|endoftext|>the", "a  b!?"}) {
    EXPECT_EQ(*after.tokenizer()->encode(text), *before.tokenizer()->encode(text)) << text;
  }
  EXPECT_EQ(after.tokenizer()->eos_id(), 0);
  const std::vector<AdapterChoice> adapter = {{kGolden / "tiny_lora", 1}};
  const std::vector<float> adapted = logits_of(gguf, kIds, adapter);
  EXPECT_EQ(logits_of(merged(gguf, adapter), kIds), adapted);
  EXPECT_NE(adapted, expected);
  EXPECT_EQ(*read_file(merged(kTiny, {}) / "model.safetensors"), weights);
}

TEST_F(ModelExportTest, Bf16RoundsEveryWeight) {
  const fs::path folder = merged(kTiny, {}, Dtype::kBf16);
  EXPECT_EQ((*read_json_file((folder / "config.json").string()))["torch_dtype"], "bfloat16");
  const SafeTensors before = *SafeTensors::open(kTiny / "model.safetensors");
  const SafeTensors after = *SafeTensors::open(folder / "model.safetensors");
  EXPECT_EQ(after.tensors().size(), before.tensors().size());
  for (const auto& [name, tensor] : after.tensors()) {
    EXPECT_EQ(tensor.dtype, "BF16") << name;
    const std::vector<float> exact = *before.floats(name);
    const std::vector<float> rounded = *after.floats(name);
    ASSERT_EQ(exact.size(), rounded.size());
    for (size_t i = 0; i < exact.size(); ++i) {
      // 8 bits of mantissa, to nearest.
      ASSERT_LE(std::abs(rounded[i] - exact[i]), std::ldexp(std::abs(exact[i]), -8))
          << name << " " << i;
    }
  }
  EXPECT_TRUE(LanguageModel::load(folder, {Dtype::kBf16, 1}).ok());
}

TEST_F(ModelExportTest, Errors) {
  const ModelFile file = *ModelFile::open(kTiny);
  const LoraAdapter none;
  const fs::path absent = root_ / "absent";
  EXPECT_FALSE(write_model_folder(file, merged_weights(file, none), Dtype::kF32, absent).ok());
  // An adapter of another model.
  const LoraAdapter other = *load_lora_adapter(kGolden / "lora_a");
  const fs::path folder = root_ / "other";
  fs::create_directories(folder);
  EXPECT_FALSE(write_model_folder(file, merged_weights(file, other), Dtype::kF32, folder).ok());
  EXPECT_FALSE(fs::exists(folder / "model.safetensors"));
}

// tests/golden/exports.json: what transformers and peft compute from the very files that Candor
// writes (tools/make_training_goldens.py). Where no arithmetic is involved the files are compared,
// by their digests, with those that were loaded then.
class ExportGoldens : public ModelExportTest {
 protected:
  ExportGoldens() : golden_(*read_json_file((kGolden / "exports.json").string())) {}
  void expect_logits(const std::vector<float>& got, const std::string& name,
                     double tolerance) const {
    const auto expected = golden_[name]["logits"].get<std::vector<double>>();
    ASSERT_GE(got.size(), expected.size());
    const size_t begin = got.size() - expected.size();  // of the last position
    for (size_t i = 0; i < expected.size(); ++i) {
      ASSERT_NEAR(got[begin + i], expected[i], tolerance) << name << " " << i;
    }
  }
  void expect_files(const fs::path& folder, const std::string& name) const {
    for (const auto& item : golden_[name]["files"].items()) {
      EXPECT_EQ(*sha256_file(folder / item.key()), item.value().get<std::string>()) << item.key();
    }
  }
  Json golden_;
};

TEST_F(ExportGoldens, TransformersLoadsOurFolders) {
  const auto ids = golden_["ids"].get<std::vector<int32_t>>();
  fs::path folder = merged(kTiny, {});
  expect_files(folder, "plain");
  expect_logits(logits_of(folder, ids), "plain", 1e-4);
  folder = merged(kTiny, {{kGolden / "tiny_lora", 0.7}});
  expect_logits(logits_of(folder, ids), "merged", 1e-4);
  folder = merged(kTiny, {}, Dtype::kBf16);
  expect_files(folder, "bf16");
  expect_logits(logits_of(folder, ids), "bf16", 1e-4);
  // The goldens differ from one another by far more than the tolerance.
  for (const char* name : {"merged", "bf16"}) {
    const auto a = golden_["plain"]["logits"].get<std::vector<double>>();
    const auto b = golden_[name]["logits"].get<std::vector<double>>();
    double moved = 0;
    for (size_t i = 0; i < a.size(); ++i) moved = std::max(moved, std::abs(a[i] - b[i]));
    EXPECT_GT(moved, 1e-3) << name;
  }
}

TEST_F(ExportGoldens, PeftLoadsOurAdapters) {
  const auto ids = golden_["ids"].get<std::vector<int32_t>>();
  const LoraAdapter adapter = *load_lora_adapter(kGolden / "tiny_lora");
  const fs::path folder = root_ / "soup";
  fs::create_directories(folder);
  ASSERT_TRUE(write_lora_adapter(*soup_of({{adapter, 0.5}, {adapter, -1.25}}), folder).ok());
  expect_files(folder, "soup");
  expect_logits(logits_of(kTiny, ids, {{folder, 1}}), "soup", 1e-4);
}

}  // namespace
}  // namespace candor
