#include "lm/support_features.h"

#include <gtest/gtest.h>

namespace candor {
namespace {

float feature(const char* prompt, const char* completion, SupportFeature which) {
  return support_features(prompt, completion)[static_cast<size_t>(which)];
}

constexpr const char* kArticle =
    "The cat of Mayor Jane Smith was found in Leeds on 12 May. It travelled 60 miles under a van.";

TEST(SupportFeatures, CountedByHand) {
  // mayor, jane, smith, travelled, 60, miles: content; "Jane" and "Smith" are names, "Mayor" begins
  // the sentence.
  const char* good = "Mayor Jane Smith's cat travelled 60 miles.";
  EXPECT_EQ(feature(kArticle, good, SupportFeature::kContentShare), 1.0F);
  EXPECT_EQ(feature(kArticle, good, SupportFeature::kNameShare), 1.0F);
  EXPECT_EQ(feature(kArticle, good, SupportFeature::kNumberShare), 1.0F);
  // mayor-jane, jane-smith, travelled-60, 60-mile of six pairs of neighbours.
  EXPECT_EQ(feature(kArticle, good, SupportFeature::kBigramShare), 4.0F / 6);
  EXPECT_EQ(feature(kArticle, good, SupportFeature::kCopiedRun), 3.0F / 7);
  // The run begins with the 4th of 19 words, inside the first fifth.
  EXPECT_EQ(feature(kArticle, good, SupportFeature::kCopiedFromStart), 3.0F / 7);
  EXPECT_EQ(feature(kArticle, good, SupportFeature::kContentDensity), 6.0F / 7);
  EXPECT_EQ(feature(kArticle, good, SupportFeature::kWhole), 1.0F);

  const char* bad = "the dog of Jane Brown travelled 70 miles";
  // jane, brown, travelled, 70, miles: three are there; of the names, one.
  EXPECT_EQ(feature(kArticle, bad, SupportFeature::kContentShare), 3.0F / 5);
  EXPECT_EQ(feature(kArticle, bad, SupportFeature::kNameShare), 0.5F);
  EXPECT_EQ(feature(kArticle, bad, SupportFeature::kNumberShare), 0.0F);
  EXPECT_EQ(feature(kArticle, bad, SupportFeature::kCopiedFromStart), 1.0F / 8);  // "the"
  EXPECT_EQ(feature(kArticle, bad, SupportFeature::kWhole), 0.0F);
}

TEST(SupportFeatures, NothingIsUnsupported) {
  for (const char* completion : {"", "  ", "?!"}) {
    const auto values = support_features(kArticle, completion);
    EXPECT_EQ(values[static_cast<size_t>(SupportFeature::kContentShare)], 1.0F);
    EXPECT_EQ(values[static_cast<size_t>(SupportFeature::kCopiedRun)], 0.0F);
    EXPECT_EQ(values[static_cast<size_t>(SupportFeature::kContentDensity)], 0.0F);
  }
  for (const float value : support_features("", "Anything at all.")) {
    EXPECT_GE(value, 0.0F);
    EXPECT_LE(value, 1.0F);
  }
}

TEST(SupportFeatures, Chunks) {
  EXPECT_EQ(sentences_of("One two. Three!  Four?\nfive 1.5 six"),
            (std::vector<std::string>{"One two.", "Three!", "Four?", "five 1.5 six"}));
  EXPECT_EQ(chunks_of("A b. C d. E f. G.", 3, 9),
            (std::vector<std::string>{"A b. C d.", "E f. G."}));
  EXPECT_EQ(chunks_of("A b. C d. E f. G.", 1, 2), (std::vector<std::string>{"A b.", "C d."}));
  EXPECT_EQ(chunks_of(" \n ", 3, 9), (std::vector<std::string>{""}));
}

}  // namespace
}  // namespace candor
