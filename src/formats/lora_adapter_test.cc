#include "formats/lora_adapter.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include "base/rng.h"
#include "formats/safetensors.h"

namespace candor {
namespace {

namespace fs = std::filesystem;

class LoraAdapterTest : public testing::Test {
 protected:
  LoraAdapterTest() {
    std::string pattern = (fs::temp_directory_path() / "candor-lora-XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
  }
  ~LoraAdapterTest() override { fs::remove_all(folder_); }

  fs::path folder(const std::string& config, const std::vector<NamedFloats>& tensors) {
    fs::path path = folder_ / std::to_string(++count_);
    fs::create_directory(path);
    std::ofstream(path / "adapter_config.json") << config;
    std::ofstream(path / "adapter_model.safetensors", std::ios::binary)
        << float_safetensors_bytes(tensors);
    return path;
  }
  fs::path folder_;
  int count_ = 0;
};

LoraAdapter random_adapter(uint64_t seed, int64_t rank, const std::vector<std::string>& modules) {
  RandomStream random({.seed = seed, .stream = 7});
  LoraAdapter out{.rank = rank, .scale = 0.5 + random.uniform(), .base_model = {}, .modules = {}};
  for (const std::string& module : modules) {
    LoraFactors& factors = out.modules[module];
    factors.inputs = 5;
    factors.outputs = 4;
    for (int64_t i = 0; i < rank * 5; ++i) {
      factors.a.push_back(static_cast<float>(random.normal()));
    }
    for (int64_t i = 0; i < rank * 4; ++i) {
      factors.b.push_back(static_cast<float>(random.normal()));
    }
  }
  return out;
}

// scale x b a at [output, input], by its definition; 0 where the adapter leaves the weight alone.
double change(const LoraAdapter& adapter, const std::string& module, size_t output, size_t input) {
  const auto found = adapter.modules.find(module);
  if (found == adapter.modules.end()) return 0;
  const auto rank = static_cast<size_t>(adapter.rank);
  double total = 0;
  for (size_t r = 0; r < rank; ++r) {
    total += double{found->second.b[output * rank + r]} * found->second.a[r * 5 + input];
  }
  return adapter.scale * total;
}

// MATH 8: the soup's change is the weighted sum of the adapters' changes, whatever their ranks,
// scales and weights; averaging the factors is not.
TEST_F(LoraAdapterTest, ASoupIsTheSumOfTheChanges) {
  const LoraAdapter left = random_adapter(1, 2, {"x", "y"});
  const LoraAdapter right = random_adapter(2, 3, {"y", "z"});
  const LoraAdapter soup = *soup_of({{left, 0.3}, {right, -1.7}});
  EXPECT_EQ(soup.rank, 5);
  for (const char* module : {"x", "y", "z"}) {
    for (size_t output = 0; output < 4; ++output) {
      for (size_t input = 0; input < 5; ++input) {
        const double expected =
            0.3 * change(left, module, output, input) - 1.7 * change(right, module, output, input);
        EXPECT_NEAR(change(soup, module, output, input), expected, 1e-5) << module;
      }
    }
  }
  LoraAdapter narrow = right;
  narrow.modules["y"].inputs = 4;
  narrow.modules["y"].a.resize(12);
  EXPECT_NE(soup_of({{left, 1}, {narrow, 1}}).error().message.find("disagree about the shape"),
            std::string::npos);
  EXPECT_FALSE(soup_of({{left, std::nan("")}}).ok());
}

TEST_F(LoraAdapterTest, WrittenAndReadAgain) {
  LoraAdapter adapter = random_adapter(3, 2, {"model.layers.0.mlp.up_proj", "lm_head"});
  adapter.base_model = "base";
  const fs::path path = folder_ / "written";
  fs::create_directory(path);
  ASSERT_TRUE(write_lora_adapter(adapter, path).ok());
  const LoraAdapter again = *load_lora_adapter(path);
  EXPECT_EQ(again.rank, 2);
  EXPECT_DOUBLE_EQ(again.scale, adapter.scale);
  EXPECT_EQ(again.base_model, "base");
  for (const auto& [module, factors] : adapter.modules) {
    EXPECT_EQ(again.modules.at(module).a, factors.a);
    EXPECT_EQ(again.modules.at(module).b, factors.b);
  }
}

// Of a reward model: the head beside the factors, and nothing else that is saved whole.
TEST_F(LoraAdapterTest, ClassifiersHaveOneHead) {
  const NamedFloats a{"base_model.model.x.lora_A.weight", {2, 3}, std::vector<float>(6, 1.0F)};
  const NamedFloats b{"base_model.model.x.lora_B.weight", {4, 2}, std::vector<float>(8, 1.0F)};
  NamedFloats score{"base_model.model.score.weight", {1, 3}, {0.5F, -1.0F, 2.0F}};
  const auto config = [](const std::string& modules) {
    return R"({"peft_type":"LORA","r":2,"lora_alpha":4,"modules_to_save":)" + modules + "}";
  };
  const std::string good = config(R"(["classifier","score"])");
  const ClassifierAdapter adapter = *load_classifier_adapter(folder(good, {a, b, score}));
  EXPECT_EQ(adapter.score, score.values);
  EXPECT_EQ(adapter.lora.modules.size(), 1U);
  const fs::path path = folder_ / "classifier";
  fs::create_directory(path);
  ASSERT_TRUE(write_classifier_adapter(adapter, path).ok());
  EXPECT_EQ(load_classifier_adapter(path)->score, adapter.score);
  const auto refused = [](const auto& loaded, const std::string& part) {
    ASSERT_FALSE(loaded.ok());
    EXPECT_NE(loaded.error().message.find(part), std::string::npos) << loaded.error().message;
  };
  refused(load_lora_adapter(path), "$.modules_to_save");
  refused(load_classifier_adapter(folder(config(R"(["lm_head"])"), {a, b, score})),
          "$.modules_to_save");
  refused(load_classifier_adapter(folder(good, {a, b})), "score.weight");
  score.shape = {3, 1};
  refused(load_classifier_adapter(folder(good, {a, b, score})), "has 3 rows");
  score.shape = {1, 3};
  score.values[1] = std::nanf("");
  refused(load_classifier_adapter(folder(good, {a, b, score})), "not finite");
}

TEST_F(LoraAdapterTest, WhatWouldComputeSomethingElseIsRefused) {
  const std::string good = R"({"peft_type":"LORA","r":2,"lora_alpha":4,"use_rslora":true})";
  const NamedFloats a{"base_model.model.x.lora_A.weight", {2, 3}, std::vector<float>(6, 1.0F)};
  const NamedFloats b{"base_model.model.x.lora_B.weight", {4, 2}, std::vector<float>(8, 1.0F)};
  EXPECT_DOUBLE_EQ(load_lora_adapter(folder(good, {a, b}))->scale, 4 / std::sqrt(2.0));
  const auto message = [&](const std::string& config, const std::vector<NamedFloats>& tensors) {
    const auto loaded = load_lora_adapter(folder(config, tensors));
    return loaded.ok() ? std::string("accepted") : loaded.error().message;
  };
  const auto expect = [&](const std::string& text, const std::string& part) {
    EXPECT_NE(text.find(part), std::string::npos) << text;
  };
  const auto with = [&](const std::string& more) {
    return good.substr(0, good.size() - 1) + "," + more + "}";
  };
  expect(message(with(R"("use_dora":true)"), {a, b}), "$.use_dora: found true");
  expect(message(with(R"("bias":"all")"), {a, b}), "$.bias: found \"all\"");
  expect(message(with(R"("modules_to_save":["lm_head"])"), {a, b}), "$.modules_to_save");
  expect(message(with(R"("rank_pattern":{"x":8})"), {a, b}), "$.rank_pattern");
  expect(message(R"({"peft_type":"IA3","r":2,"lora_alpha":4})", {a, b}), "$.peft_type");
  expect(message(R"({"peft_type":"LORA","r":0,"lora_alpha":4})", {a, b}), "$.r");
  expect(message(good, {a}), "lora_B.weight");
  expect(message(good, {}), "holds no factors");
  expect(message(R"({"peft_type":"LORA","r":3,"lora_alpha":4})", {a, b}), "of rank 2 and 2");
  NamedFloats other = a;
  other.name = "base_model.model.x.lora_embedding_A";
  expect(message(good, {a, b, other}), "lora_embedding_A");
  for (const char* name : {"base_model.model.lora_A.weight", "base_model.model..lora_A.weight",
                           ".lora_A.weight", "base_model.model."}) {
    other.name = name;  // prefix and suffix may overlap: no module is between them
    expect(message(good, {a, b, other}), "expected base_model.model.MODULE");
  }
  expect(message(with(R"("init_lora_weights":"pissa_niter_4")"), {a, b}), "$.init_lora_weights");
  EXPECT_EQ(message(with(R"("init_lora_weights":"gaussian")"), {a, b}), "accepted");
  NamedFloats broken = a;
  broken.values[3] = INFINITY;
  expect(message(good, {broken, b}), "not finite");
}

}  // namespace
}  // namespace candor
